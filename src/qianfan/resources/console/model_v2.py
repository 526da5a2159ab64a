"""Models in the words of the V2 interface: sets of models, their models, exports and compressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qianfan.contract import routes
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .utils import console_call


class ModelV2:
    """The registry in the words of V2: a model of V1 is a *model set* (`am-…`), a version a *model* (`amv-…`).

    Further keywords go into the body."""

    @classmethod
    def base_api_route(cls) -> str:
        """The path of all calls of this class; what they do is in the query, `?Action=`."""
        return routes.MODEL_V2_SET.path

    @console_call
    def create_custom_model_set(
        cls,
        /,
        model_set_name: str,
        model_type: str = "Text2Text",
        labels: list[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Create an empty set; its id is at `result.modelSetId`. labels: free words."""
        body = {**kwargs, "modelSetName": model_set_name, "modelType": model_type, "labels": labels}
        return Call(routes.MODEL_V2_CREATE_SET, body, creates=True)

    @console_call
    def describe_system_model_sets(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        **kwargs: Any,
    ) -> Call:
        """The platform's own sets: `result.systemModelSetList`, `result.pageInfo`."""
        return Call(routes.MODEL_V2_SYSTEM_SETS, {**kwargs, **_page(marker, max_keys, page_reverse)})

    @console_call
    def describe_custom_model_sets(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        **kwargs: Any,
    ) -> Call:
        """Your sets: `result.customModelSetList`, `result.pageInfo`."""
        return Call(routes.MODEL_V2_CUSTOM_SETS, {**kwargs, **_page(marker, max_keys, page_reverse)})

    @console_call
    def describe_model_set(
        cls, /, model_set_id: str | None = None, model_set_name: str | None = None, **kwargs: Any
    ) -> Call:
        """One set, by id or by name: `result.modelIds`, newest first."""
        if model_set_id is None and model_set_name is None:
            raise InvalidArgumentError("a set is named by an id or a name", advice="give model_set_id")
        body = {**kwargs, "modelSetId": model_set_id, "modelSetName": model_set_name}
        return Call(routes.MODEL_V2_SET, body)

    @console_call
    def delete_model_set(cls, /, model_set_id: str, **kwargs: Any) -> Call:
        """Delete a set and its models."""
        return Call(routes.MODEL_V2_DELETE_SET, {**kwargs, "modelSetId": model_set_id})

    @console_call
    def create_custom_model(
        cls,
        /,
        model_set_id: str,
        source_type: str,
        train_meta: dict[str, Any] | None = None,
        import_meta: dict[str, Any] | None = None,
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Make a model of a training run or of imported weights; its id is at `result.modelId`.

        source_type: "Train", with train_meta {"jobId", "taskId"}, or "Import", with import_meta."""
        body = {
            **kwargs,
            "modelSetId": model_set_id,
            "sourceType": source_type,
            "trainMeta": train_meta,
            "importMeta": import_meta,
            "description": description,
        }
        return Call(routes.MODEL_V2_CREATE, body, creates=True)

    @console_call
    def describe_model(cls, /, model_id: str, **kwargs: Any) -> Call:
        """One model (`amv-…`)."""
        return Call(routes.MODEL_V2_DETAIL, {**kwargs, "modelId": model_id})

    @console_call
    def delete_model(cls, /, model_id: str, **kwargs: Any) -> Call:
        """Delete a model (`amv-…`) that no service serves."""
        return Call(routes.MODEL_V2_DELETE, {**kwargs, "modelId": model_id})

    @console_call
    def create_model_export_task(cls, /, model_id: str, **kwargs: Any) -> Call:
        """Write a model's files: `result.exportTaskId` here. Keywords of this platform: format, merged, dtype."""
        return Call(routes.MODEL_V2_EXPORT, {**kwargs, "modelId": model_id}, creates=True)

    @console_call
    def describe_model_export_task(cls, /, model_id: str | None = None, **kwargs: Any) -> Call:
        """How far an export is, and where its file lies. exportTaskId may be given as a keyword instead."""
        return Call(routes.MODEL_V2_EXPORT_INFO, {**kwargs, "modelId": model_id})

    @console_call
    def describe_model_system_advanced_conf(
        cls, /, model_application_type: str, model_format: str = "HuggingFace.Transformers", **kwargs: Any
    ) -> Call:
        """The cloud's choices for the import of a model."""
        body = {**kwargs, "modelApplicationType": model_application_type, "modelFormat": model_format}
        return Call(routes.MODEL_V2_SYSTEM_ADVANCED_CONF, body)

    @console_call
    def describe_model_custom_advanced_conf(cls, /, model_id: str, **kwargs: Any) -> Call:
        """What was chosen for the import of a model."""
        return Call(routes.MODEL_V2_CUSTOM_ADVANCED_CONF, {**kwargs, "modelId": model_id})

    @console_call
    def create_model_comp_task(
        cls,
        /,
        name: str,
        source_model_id: str,
        model_set_id: str,
        config: dict[str, Any],
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Compress a model; `result` is the task's id."""
        body = {
            **kwargs,
            "name": name,
            "sourceModelId": source_model_id,
            "modelSetId": model_set_id,
            "config": config,
            "description": description,
        }
        return Call(routes.MODEL_V2_CREATE_COMPRESSION, body, creates=True)

    @console_call
    def describe_model_comp_tasks(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        source_model_id: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """List compressions."""
        body = {**kwargs, **_page(marker, max_keys, page_reverse), "sourceModelId": source_model_id}
        return Call(routes.MODEL_V2_COMPRESSIONS, body)

    @console_call
    def describe_model_comp_task(cls, /, model_comp_task_id: str, **kwargs: Any) -> Call:
        """One compression: `result.status` is creating, running, succeeded, failed or stopping."""
        return Call(routes.MODEL_V2_COMPRESSION, {**kwargs, "modelCompTaskId": model_comp_task_id})

    @console_call
    def cancel_model_comp_task(cls, /, model_comp_task_id: str, **kwargs: Any) -> Call:
        """Stop a compression."""
        return Call(routes.MODEL_V2_CANCEL_COMPRESSION, {**kwargs, "modelCompTaskId": model_comp_task_id})

    @console_call
    def delete_model_comp_task(cls, /, model_comp_task_id: str, **kwargs: Any) -> Call:
        """Delete a compression."""
        return Call(routes.MODEL_V2_DELETE_COMPRESSION, {**kwargs, "modelCompTaskId": model_comp_task_id})

    @console_call
    def set_model_gate(
        cls, /, model_set_id: int | str, baseline: int | str, at: Sequence[str] = ("deploy",), **kwargs: Any
    ) -> Call:
        """What a version must be shown to be before it is deployed, or published into this set. Of this platform only.

        baseline: a version or a preset, by id or name. at: deploy, publish, or both. Keywords: rule (`better`, `not
        worse`), metric, margin, confidence, fewest (rows), datasetId."""
        body = {**kwargs, "modelSetId": model_set_id, "baseline": baseline, "at": list(at)}
        return Call(routes.MODEL_GATE_SET, body)

    @console_call
    def describe_model_gate(cls, /, model_set_id: int | str, **kwargs: Any) -> Call:
        """`result.gate` of a set, null when it has none. Of this platform only."""
        return Call(routes.MODEL_GATE_DESCRIBE, {**kwargs, "modelSetId": model_set_id})

    @console_call
    def delete_model_gate(cls, /, model_set_id: int | str, **kwargs: Any) -> Call:
        """Take the gate of a set away. Of this platform only."""
        return Call(routes.MODEL_GATE_DELETE, {**kwargs, "modelSetId": model_set_id})


def _page(marker: str | None, max_keys: int | None, page_reverse: bool | None) -> dict[str, Any]:
    return {"marker": marker, "maxKeys": max_keys, "pageReverse": page_reverse}
