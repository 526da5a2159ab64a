"""Batch inference: a model answers every line of a file, on the platform."""

from __future__ import annotations

from typing import Any

from qianfan.contract import routes
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .utils import console_call


class BatchInference:
    """Tasks of batch inference. Further keywords go into the body.

    A dataset on the platform is answered by `qianfan.model.Model.batch_run_on_qianfan` instead."""

    @classmethod
    def base_api_route(cls) -> str:
        """The path of all calls of this class; what they do is in the query, `?Action=`."""
        return routes.BATCH_CREATE.path

    @console_call
    def create(
        cls,
        /,
        name: str,
        inference_params: dict[str, Any] | None = None,
        input_bos_uri: str | None = None,
        output_bos_uri: str | None = None,
        model_id: int | str | None = None,
        endpoint: str | None = None,
        afs_config: dict[str, Any] | None = None,
        description: str | None = None,
        completion_window: Any = None,
        **kwargs: Any,
    ) -> Call:
        """Begin one; its id is at `result.taskId`.

        input_bos_uri: JSON Lines; on this platform the path that `Files.upload` answers, or one in a connected
        bucket. output_bos_uri: a folder; `bos:/local/` leaves the output with this platform. Both, or afs_config
        (InvalidArgumentError). model_id: a version (`amv-…`); or endpoint (InvalidArgumentError without either).
        inference_params: such as {"temperature": 0.1, "max_output_tokens": 512}."""
        if afs_config is None and not (input_bos_uri and output_bos_uri):
            raise InvalidArgumentError(
                "a batch needs its input and a place for its output",
                advice='give input_bos_uri and output_bos_uri ("bos:/local/" here), or afs_config',
            )
        if model_id is None and not endpoint:
            raise InvalidArgumentError("nobody is to answer", advice="give model_id or endpoint")
        body = {
            **kwargs,
            "name": name,
            "inferenceParams": inference_params or {},
            "inputBosUri": input_bos_uri,
            "outputBosUri": output_bos_uri,
            "afsConfig": afs_config,
            "modelId": model_id,
            "endpoint": endpoint,
            "description": description,
            "completion_window": completion_window,
        }
        return Call(routes.BATCH_CREATE, body, creates=True, headers={"Referer": "infer"})

    @console_call
    def detail(cls, /, task_id: str, **kwargs: Any) -> Call:
        """One task: `result.runStatus` is Running, Done, Failed, Stopping or Stopped; `result.progress` in percent.

        When it is Done, the output lies at `result.outputDir`; here `result.downloadUrl` leads to it."""
        return Call(routes.BATCH_DETAIL, {**kwargs, "taskId": task_id})

    @console_call
    def list(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        run_status: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Your tasks, newest first: `result.taskList`, `result.pageInfo`."""
        body = {
            **kwargs,
            "marker": marker,
            "maxKeys": max_keys,
            "pageReverse": page_reverse,
            "runStatus": run_status,
        }
        return Call(routes.BATCH_LIST, body)

    @console_call
    def stop(cls, /, task_id: str, **kwargs: Any) -> Call:
        """Stop a task; there is no output."""
        return Call(routes.BATCH_STOP, {**kwargs, "taskId": task_id})
