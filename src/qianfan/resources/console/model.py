"""Models, their versions, and their evaluation. Ids may be int or text."""

from __future__ import annotations

import builtins
from typing import Any

from qianfan.contract import routes
from qianfan.contract.enums import (
    DataStorageType,
    EvaluationResultExportDestinationType,
    EvaluationResultExportField,
    EvaluationResultExportRange,
)
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .model_v2 import ModelV2
from .utils import console_call

COMPUTE = {"vmType": 1, "vmNumber": 8}  # what an evaluation asks for on the cloud


class Model:
    """The registry of models. Further keywords of list, detail and publish go into the body."""

    V2 = ModelV2

    @console_call
    def list(cls, /, model_id: int | str, **kwargs: Any) -> Call:
        """One model and its versions, newest first, at `result.modelVersionList`.

        All models: `user_list` and `preset_list`."""
        return Call(routes.MODEL_DETAIL, {**kwargs, "modelId": model_id})

    @console_call
    def detail(cls, /, model_version_id: int | str, **kwargs: Any) -> Call:
        """One version: `result.state` is `Creating`, `Ready` or `Fail`."""
        return Call(routes.MODEL_VERSION_DETAIL, {**kwargs, "modelVersionId": model_version_id})

    @console_call
    def publish(
        cls,
        /,
        is_new: bool,
        version_meta: dict[str, Any],
        model_name: str | None = None,
        model_id: int | str | None = None,
        tags: builtins.list[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Make a model version of a training run. Ids at `result.modelId`, `result.versionId`, `…IdStr`.

        is_new: a new model, which needs model_name; else a version of model_id. version_meta:
        {"taskId": container, "iterationId": run}."""
        if is_new and not model_name:
            raise InvalidArgumentError("a new model needs a name", advice="give model_name")
        if not is_new and model_id is None:
            raise InvalidArgumentError("a new version needs its model", advice="give model_id")
        return Call(
            routes.MODEL_PUBLISH,
            {
                **kwargs,
                "isNewModel": is_new,
                "versionMeta": version_meta,
                "modelName": model_name,
                "modelId": model_id,
                "tags": tags,
            },
            creates=True,
        )

    @console_call
    def user_list(
        cls,
        /,
        name_filter: str | None = None,
        model_type: str | int | builtins.list[int] | None = None,
        order_by: str | None = None,
        order: str | None = None,
        page_no: int = 1,
        page_size: int = 20,
        **kwargs: Any,
    ) -> Call:
        """Your models: `result.items`, `result.total`. order_by: e.g. `create_time`; order: asc or desc."""
        body = {
            "pageNo": page_no,
            "pageSize": page_size,
            "nameFilter": name_filter,
            "modelType": model_type,
            "orderBy": order_by,
            "order": order,
        }
        return Call(routes.MODEL_USER_LIST, body)

    @console_call
    def preset_list(
        cls,
        /,
        name_filter: str | None = None,
        model_type: str | int | builtins.list[int] | None = None,
        model_version_vendor: builtins.list[str] | None = None,
        model_advantage: builtins.list[str] | None = None,
        page_no: int = 1,
        page_size: int = 20,
        *,
        ctx_length: builtins.list[str] | None = None,
        language_support: builtins.list[str] | None = None,
        expansion: builtins.list[str] | None = None,
        order_by: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Models of the platform: `result.items`, `result.total`.

        Each list keeps the models that have one of its values. ctx_length: such as ["8k"]. model_type: 0 texts,
        1 pictures, 4 vectors, 5 pictures to text, 6 industries."""
        body = {
            "pageNo": page_no,
            "pageSize": page_size,
            "nameFilter": name_filter,
            "modelType": model_type,
            "modelVersionVendor": model_version_vendor,
            "modelAdvantage": model_advantage,
            "ctxLength": ctx_length,
            "languageSupport": language_support,
            "expansion": expansion,
            "orderBy": order_by,
        }
        return Call(routes.MODEL_PRESET_LIST, body)

    @console_call
    def batch_delete_model(cls, /, model_ids: builtins.list[Any], **kwargs: Any) -> Call:
        """Delete models. Ids all int, or all text."""
        return Call(routes.MODEL_BATCH_DELETE, {"modelIDs": builtins.list(model_ids)})

    @console_call
    def batch_delete_model_version(cls, /, model_version_ids: builtins.list[Any], **kwargs: Any) -> Call:
        """Delete model versions. Ids all int, or all text."""
        return Call(routes.MODEL_VERSION_BATCH_DELETE, {"modelVersionIds": builtins.list(model_version_ids)})

    @console_call
    def evaluable_model_list(cls, /, **kwargs: Any) -> Call:
        """Models that can be evaluated; `result` is a list."""
        return Call(routes.MODEL_EVALUABLE_LIST)

    @console_call
    def create_evaluation_task(
        cls,
        /,
        name: str,
        version_info: builtins.list[dict[str, Any]],
        dataset_id: int | str,
        eval_config: dict[str, Any],
        description: str | None = None,
        pending_eval_id: int | str | None = None,
        result_dataset_storage_type: DataStorageType = DataStorageType.PublicBos,
        result_dataset_storage_id: str | None = None,
        result_dataset_raw_path: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Evaluate models on a dataset. Ids at `result.evalId`, `result.evalIdStr`.

        version_info: [{"modelId": …, "modelVersionId": …}], at most 5. eval_config: {"evalMode": "rule", …}.
        pending_eval_id: an evaluation that has not started, to change and start it. With PrivateBos, the
        bucket and a path are needed (ValueError)."""
        body: dict[str, Any] = {
            "id": pending_eval_id,
            "name": name,
            "versionEvalInfo": version_info,
            "datasetId": dataset_id,
            "evalStandardConf": eval_config,
            "computeResourceConf": COMPUTE,
            "resultDatasetStorageType": result_dataset_storage_type,
            "description": description or None,
        }
        if result_dataset_storage_type == DataStorageType.PrivateBos:
            if not result_dataset_storage_id or not result_dataset_raw_path:
                raise InvalidArgumentError(
                    "results in your own BOS need a place there",
                    advice="give result_dataset_storage_id (the bucket) and result_dataset_raw_path",
                )
            body["resultDatasetStorageId"] = result_dataset_storage_id
            body["resultDatasetRawPath"] = result_dataset_raw_path
        return Call(routes.EVAL_CREATE, body, creates=True)

    @console_call
    def get_evaluation_info(cls, /, eval_id: int | str, **kwargs: Any) -> Call:
        """One evaluation: `result.state`."""
        return Call(routes.EVAL_DETAIL, {"id": eval_id})

    @console_call
    def get_evaluation_result(cls, /, eval_id: int | str, **kwargs: Any) -> Call:
        """Metrics: a list with one entry per model version."""
        return Call(routes.EVAL_REPORT, {"id": eval_id})

    @console_call
    def get_evaluation_result_list(
        cls, /, id: int | str, page_no: int = 1, page_size: int = 20, **kwargs: Any
    ) -> Call:
        """Single answers with their scores. Keywords go into the body: modelVersionIds, orderBy, order, and
        bounds such as rouge_l={"min": 0.5}."""
        return Call(routes.EVAL_RESULT_LIST, {**kwargs, "id": id, "pageNo": page_no, "pageSize": page_size})

    @console_call
    def batch_delete_evaluation_result(cls, /, eval_ids: builtins.list[Any], **kwargs: Any) -> Call:
        """Delete evaluations. Ids all int, or all text."""
        return Call(routes.EVAL_DELETE, {"evalIds": builtins.list(eval_ids)})

    @console_call
    def evaluation_list(cls, /, marker: str | None = None, max_keys: int = 20, **kwargs: Any) -> Call:
        """Your evaluations, newest first: `result.evalTaskList`, each as `get_evaluation_info` has it.

        marker: `result.pageInfo.nextMarker` of the page before."""
        return Call(routes.EVAL_LIST, {**kwargs, "marker": marker, "maxKeys": max_keys})

    @console_call
    def stop_evaluation_task(cls, /, eval_id: int | str, **kwargs: Any) -> Call:
        """Stop an evaluation."""
        return Call(routes.EVAL_CANCEL, {"id": eval_id})

    @console_call
    def create_evaluation_result_export_task(
        cls,
        /,
        eval_id: int | str,
        export_destination_type: EvaluationResultExportDestinationType | None = None,
        export_range: EvaluationResultExportRange = EvaluationResultExportRange.Total,
        export_field: builtins.list[EvaluationResultExportField] | None = None,
        bos_bucket_id: str | None = None,
        result_ids: builtins.list[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Export what the models answered. Ids at `result.exportID`, `result.exportIDStr`.

        Defaults: to the platform, all results, all four fields. PrivateBos needs bos_bucket_id, Part needs
        result_ids (ValueError)."""
        target = export_destination_type or EvaluationResultExportDestinationType.PublicBos
        to_bos = target == EvaluationResultExportDestinationType.PrivateBos
        in_part = export_range == EvaluationResultExportRange.Part
        if to_bos and not bos_bucket_id:
            raise InvalidArgumentError(
                "an export to your own BOS needs a bucket", advice="give bos_bucket_id"
            )
        if in_part and not result_ids:
            raise InvalidArgumentError("a partial export needs its results", advice="give result_ids")
        body = {
            "id": eval_id,
            "exportType": target,
            "exportOpt": export_range,
            "exportContent": export_field or builtins.list(EvaluationResultExportField),
            "volumeId": bos_bucket_id if to_bos else None,
            "resultIds": result_ids if in_part else None,
        }
        return Call(routes.EVAL_EXPORT, body)

    @console_call
    def get_evaluation_result_export_task_status(cls, /, export_task_id: int | str, **kwargs: Any) -> Call:
        """One export: `result.state`, and `result.downloadUrl` when it is `Done`.

        Keywords go into the body: format="jsonl" or "csv" on this platform."""
        return Call(routes.EVAL_EXPORT_INFO, {**kwargs, "exportID": export_task_id})
