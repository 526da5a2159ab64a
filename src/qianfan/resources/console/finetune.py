"""Fine-tuning. Mind the names: a V1 *task* is a V2 *job* (the container), a V1 *job* a V2 *task* (one run)."""

from __future__ import annotations

from typing import Any

from qianfan.contract import routes
from qianfan.contract.enums import TrainMode, TrainParameterScale
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .utils import console_call


class FineTune:
    """Fine-tuning, V1. Each method sends one request; `await FineTune.get_job.aio(...)` does so for asyncio.

    Further keywords go into the body; ids may be int or text."""

    class V2:
        """Fine-tuning, V2. Statuses are `Running`, `Done`, `Fail`, `Stopped`."""

        @classmethod
        def base_api_route(cls) -> str:
            """The path of all calls of this class; what they do is in the query, `?Action=`."""
            return routes.FINETUNE_V2_PATH

        @console_call
        def create_job(
            cls,
            /,
            name: str,
            model: str,
            train_mode: str | TrainMode,
            description: str | None = None,
            **kwargs: Any,
        ) -> Call:
            """Create a container for runs. Its id is at `result.jobId`.

            model: the base, e.g. "ERNIE-Speed". train_mode: "SFT", "PostPretrain" or "DPO", in any case.
            parameterScale and hyperParameterConfig among the keywords hold for runs that say nothing of their own."""
            if not isinstance(train_mode, str):
                raise TypeError(f"train_mode must be a text or a TrainMode, not {type(train_mode).__name__}")
            return Call(
                routes.FINETUNE_V2_CREATE_JOB,
                {**kwargs, "name": name, "model": model, "trainMode": train_mode, "description": description},
                creates=True,
            )

        @console_call
        def create_task(
            cls,
            /,
            job_id: str,
            params_scale: str | TrainParameterScale,
            hyper_params: dict[str, Any],
            dataset_config: dict[str, Any],
            incrementTaskId: str | None = None,
            *,
            increment_task_id: str | None = None,
            increment_checkpoint_step: int | None = None,
            **kwargs: Any,
        ) -> Call:
            """Create a run, which starts at once. Its id is at `result.taskId`.

            hyper_params: keys as on the wire, e.g. {"epoch": 1, "learningRate": 0.0003}; {} for the defaults.
            dataset_config: {"sourceType": "Platform", "versions": [{"versionId": "ds-…"}], "splitRatio": 20}.
            incrementTaskId: the run to go on from; increment_task_id is its later name.
            increment_checkpoint_step: which of its checkpoints. resourceConfig, modelConfig and corpusConfig may
            be among the keywords."""
            if not dataset_config:
                raise ValueError("dataset_config is missing: a run needs at least one dataset version")
            if hyper_params is None:
                hyper_params = {}
            return Call(
                routes.FINETUNE_V2_CREATE_TASK,
                {
                    **kwargs,
                    "jobId": job_id,
                    "parameterScale": params_scale,
                    "hyperParameterConfig": hyper_params,
                    "datasetConfig": dataset_config,
                    "incrementTaskId": increment_task_id or incrementTaskId,
                    "incrementCheckpointStep": increment_checkpoint_step,
                },
                creates=True,
            )

        @console_call
        def job_list(
            cls,
            /,
            train_model: str | TrainMode | None = None,
            marker: str | None = None,
            max_keys: int | None = None,
            page_reverse: bool | None = None,
            *,
            train_mode: str | TrainMode | None = None,
            **kwargs: Any,
        ) -> Call:
            """List containers, newest first: `result.jobList`, `result.pageInfo`.

            train_model: despite its name a train mode, e.g. "SFT"; train_mode is taken, too. marker, text or int:
            `pageInfo.nextMarker` of the page before. max_keys: 1 to 100. model: only this one's, as a keyword."""
            body = {
                "trainModel": train_mode or train_model,
                "trainMode": train_mode or train_model,
                **_page(marker, max_keys, page_reverse),
            }
            return Call(routes.FINETUNE_V2_JOB_LIST, {**kwargs, **body})

        @console_call
        def task_list(
            cls,
            /,
            job_id: str,
            marker: str | None = None,
            max_keys: int | None = None,
            page_reverse: bool | None = None,
            **kwargs: Any,
        ) -> Call:
            """List the runs of a container: `result.taskList`, `result.pageInfo`."""
            body = {"jobId": job_id, **_page(marker, max_keys, page_reverse)}
            return Call(routes.FINETUNE_V2_TASK_LIST, {**kwargs, **body})

        @console_call
        def task_detail(cls, /, task_id: str, **kwargs: Any) -> Call:
            """One run: `result.runStatus`, `result.runProgress` such as "37%", `result.checkpointList`.

            Of this platform: `result.progressDetail`, where the run stands, what it waits for and what it was told.
            Of the cloud: `result.metrics`, BLEU and ROUGE as texts."""
            return Call(routes.FINETUNE_V2_TASK_DETAIL, {**kwargs, "taskId": task_id})

        @console_call
        def stop_task(cls, /, task_id: str, **kwargs: Any) -> Call:
            """Stop a run for good. `result` is True when it was running."""
            return Call(routes.FINETUNE_V2_STOP_TASK, {**kwargs, "taskId": task_id})

        @console_call
        def delete_task(cls, /, task_id: str, **kwargs: Any) -> Call:
            """Delete a run that has ended. `result` is True."""
            return Call(routes.FINETUNE_V2_DELETE_TASK, {**kwargs, "taskId": task_id})

        @console_call
        def delete_job(cls, /, job_id: str, **kwargs: Any) -> Call:
            """Delete a container and its runs, which must have ended. `result` is True."""
            return Call(routes.FINETUNE_V2_DELETE_JOB, {**kwargs, "jobId": job_id})

        @console_call
        def supported_models(cls, /, **kwargs: Any) -> Call:
            """What can be trained, by mode and method, and with which hyper-parameters; `result` is a list."""
            return Call(routes.FINETUNE_V2_SUPPORT_MODELS, kwargs)

        @console_call
        def task_log(cls, /, task_id: str | int, after: int = 0, **kwargs: Any) -> Call:
            """Lines of a run's log from number `after` on: `result.lines`, `metrics`, `ledger`, `next`.

            Of this platform only."""
            return Call(routes.FINETUNE_V2_TASK_LOG, {**kwargs, "taskId": task_id, "after": after})

        @console_call
        def task_ledger(
            cls,
            /,
            task_id: str | int,
            marker: str | int | None = None,
            max_keys: int | None = None,
            what: str | None = None,
            **kwargs: Any,
        ) -> Call:
            """What became of every sample of a run: `result.samples`, `result.pageInfo`, `result.ledger`.

            marker: the sample to begin with. max_keys: 1 to 1000. what: only those that were "kept",
            "truncated", "split", "dropped" or "refused". Of this platform only."""
            body = {**kwargs, "taskId": task_id, "marker": marker, "maxKeys": max_keys, "what": what}
            return Call(routes.FINETUNE_V2_TASK_LEDGER, body)

        @console_call
        def task_sample(cls, /, task_id: str | int, sample: int, **kwargs: Any) -> Call:
            """One sample as the trainer reads it: its text, its tokens, and which of them are learned.

            sample: its number in the ledger, from 1. Of this platform only."""
            return Call(routes.FINETUNE_V2_TASK_SAMPLE, {**kwargs, "taskId": task_id, "sample": sample})

    @console_call
    def create_task(
        cls,
        /,
        name: str,
        base_train_type: str | None = None,
        train_type: str | None = None,
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Create a container for runs. Its id is at `result.id` (int) and `result.uuid` (`job-…`).

        name: 2 to 20 characters on the cloud, unique. base_train_type, train_type: e.g. "ERNIE-Bot-turbo" and
        "ERNIE-Bot-turbo-0725"; may be left to `create_job`."""
        return Call(
            routes.FINETUNE_CREATE_TASK,
            {
                **kwargs,
                "name": name,
                "baseTrainType": base_train_type,
                "trainType": train_type,
                "description": description,
            },
            creates=True,
        )

    @console_call
    def create_job(cls, /, job: dict[str, Any], **kwargs: Any) -> Call:
        """Create a run, which starts at once. Its id is at `result.id` (int) and `result.uuid` (`task-…`).

        job: taskId, baseTrainType, trainType, trainMode, peftType, trainConfig, trainset, trainsetRate; to go on
        from a finished run also jobRunType 1 and increConfig {taskId, jobId}."""
        if not isinstance(job, dict):
            raise InvalidArgumentError(
                f"job must be a dictionary, not {type(job).__name__}",
                advice='as in FineTune.create_job({"taskId": 1, "trainType": "ERNIE-Bot-turbo-0725", …})',
            )
        return Call(routes.FINETUNE_CREATE_JOB, {**job, **kwargs}, creates=True)

    @console_call
    def get_job(cls, /, task_id: int | str, job_id: int | str, **kwargs: Any) -> Call:
        """One run: `result.trainStatus` is `RUNNING`, `FINISH`, `FAIL` or `STOP`; `result.progress` 0 to 100."""
        return Call(routes.FINETUNE_JOB_DETAIL, {**kwargs, "taskId": task_id, "jobId": job_id})

    @console_call
    def stop_job(cls, /, task_id: int | str, job_id: int | str, **kwargs: Any) -> Call:
        """Stop a run for good. `result` is True."""
        return Call(routes.FINETUNE_STOP_JOB, {**kwargs, "taskId": task_id, "jobId": job_id})


def _page(marker: str | None, max_keys: int | None, page_reverse: bool | None) -> dict[str, Any]:
    """Paging as every generation spells it: `maker` is the older spelling of `marker`."""
    return {"marker": marker, "maker": marker, "maxKeys": max_keys, "pageReverse": page_reverse}
