"""Datasets: their life cycle, their entities, cleaning and augmentation. Ids may be int or text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qianfan.contract import routes
from qianfan.contract.enums import (
    DataExportDestinationType,
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataStorageType,
    DataTemplateType,
    EntityListingType,
)
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .data_v2 import DataV2
from .utils import console_call

TEXT_ENTITIES = 2  # entityType of a cleaning task


class Data:
    """Datasets of the platform. Each method sends one request; `await Data.method.aio(...)` for asyncio.

    Extra keywords are for the transport (`ak`, `sk`, `retry_count`, …); none goes into the body."""

    V2 = DataV2

    @console_call
    def create_bare_dataset(
        cls,
        /,
        name: str,
        data_set_type: DataSetType,
        project_type: DataProjectType,
        template_type: DataTemplateType,
        storage_type: DataStorageType = DataStorageType.PublicBos,
        storage_id: str | None = None,
        storage_path: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Create an empty dataset. Its ids are at `result.datasetId` (`ds-…`) and `result.id` (int).

        The template belongs to the project (2000 to 20, 40100 to 401, …). With PrivateBos, storage_id is the
        bucket and storage_path a folder in it. Raises ValueError where these do not fit together."""
        project, template, kind = _number(project_type), _number(template_type), _number(data_set_type)
        if not str(template).startswith(str(project)):
            raise InvalidArgumentError(
                f"template {template} does not belong to project type {project}",
                advice="as in DataProjectType.Conversation with DataTemplateType.NonSortedConversation",
            )
        is_image = project == DataProjectType.Text2Image.value
        if is_image != (kind == DataSetType.MultiModel.value):
            raise InvalidArgumentError(
                f"data type {kind} does not fit project type {project}",
                advice="MultiModel (7) goes with Text2Image, TextOnly (4) with all others",
            )
        body: dict[str, Any] = {
            "name": name,
            "versionId": 1,
            "projectType": project,
            "templateType": template,
            "dataType": kind,
            "storageType": storage_type,
        }
        if storage_type == DataStorageType.PrivateBos:
            if not storage_id or not storage_path:
                raise InvalidArgumentError(
                    "a dataset in your own BOS needs a place there",
                    advice="give storage_id (the bucket) and storage_path (a folder)",
                )
            body["storageId"] = storage_id
            body["rawStoragePath"] = f"{storage_path.rstrip('/')}/"
        return Call(routes.DATASET_CREATE, body, creates=True)

    @console_call
    def create_data_import_task(
        cls,
        /,
        dataset_id: int | str,
        is_annotated: bool,
        import_source: DataSourceType,
        file_url: str | Sequence[str],
        **kwargs: Any,
    ) -> Call:
        """Import a file; look at `get_dataset_info` until `result.versionInfo.importStatus` is 2.

        file_url: `bos:/bucket/path` (PrivateBos), or the address of an archive (SharedZipUrl); or up to 100. bad_share (a further
        keyword, of this platform only): 0 to 1, the share of bad records up to which the others are taken."""
        if not file_url:
            raise InvalidArgumentError("file_url is empty", advice="as in bos:/bucket/folder/data.jsonl")
        body = {
            "datasetId": dataset_id,
            "annotated": is_annotated,
            "importFrom": import_source,
            "files": [file_url] if isinstance(file_url, str) else list(file_url),
        }
        if (share := kwargs.get("bad_share")) is not None:
            _within("bad_share", share, 0, 1)
            body["badShare"] = share
        return Call(routes.DATASET_IMPORT, body, creates=True)

    @console_call
    def release_dataset(cls, /, dataset_id: int | str, **kwargs: Any) -> Call:
        """Release a dataset for training; its content is fixed from then on."""
        return Call(routes.DATASET_RELEASE, {"datasetId": dataset_id})

    @console_call
    def delete_dataset(cls, /, dataset_id: int | str, **kwargs: Any) -> Call:
        """Delete one version; `result.versionCount` are left."""
        return Call(routes.DATASET_DELETE, {"datasetId": dataset_id})

    @console_call
    def get_dataset_info(cls, /, dataset_id: int | str, **kwargs: Any) -> Call:
        """All about a dataset; its states are in `result.versionInfo`."""
        return Call(routes.DATASET_INFO, {"datasetId": dataset_id})

    @console_call
    def get_dataset_status_in_batch(cls, /, dataset_id_list: list[Any], **kwargs: Any) -> Call:
        """States of several datasets: `result` by id."""
        return Call(routes.DATASET_STATUS_LIST, {"datasetIds": list(dataset_id_list)})

    @console_call
    def create_dataset_export_task(
        cls,
        /,
        dataset_id: int | str,
        export_destination_type: DataExportDestinationType,
        storage_id: str | None = None,
        is_export_with_annotation: bool = True,
        **kwargs: Any,
    ) -> Call:
        """Export a dataset; look at `get_dataset_export_records` for the address.

        storage_id: the bucket, needed for PrivateBos (ValueError)."""
        to_bos = _number(export_destination_type) == DataExportDestinationType.PrivateBos.value
        if to_bos and not storage_id:
            raise InvalidArgumentError("an export to your own BOS needs a bucket", advice="give storage_id")
        body = {
            "datasetId": dataset_id,
            "exportFormat": 0,
            "exportType": 1 if is_export_with_annotation else 2,
            "exportTo": export_destination_type,
            "storageId": storage_id,
        }
        return Call(routes.DATASET_EXPORT, body)

    @console_call
    def get_dataset_export_records(cls, /, dataset_id: int | str, **kwargs: Any) -> Call:
        """Exports so far: a list with `downloadUrl`, `finishTime`, `status`."""
        return Call(routes.DATASET_EXPORT_RECORD, {"datasetId": dataset_id})

    @console_call
    def get_dataset_import_error_detail(
        cls, /, dataset_id: int | str, error_code: int, **kwargs: Any
    ) -> Call:
        """Why an import failed: the records that have `error_code`."""
        return Call(routes.DATASET_IMPORT_ERROR_DETAIL, {"datasetId": dataset_id, "errCode": error_code})

    @console_call
    def annotate_an_entity(
        cls,
        /,
        entity_id: str,
        dataset_id: int | str,
        content: list[dict[str, Any]] | None = None,
        labels: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Annotate one record: `content` for a conversation, `labels` for an image; content wins."""
        body: dict[str, Any] = {"id": entity_id, "datasetId": dataset_id}
        if content:
            body["content"] = content
        elif labels:
            body["labels"] = labels
        return Call(routes.ENTITY_ANNOTATE, body)

    @console_call
    def delete_an_entity(cls, /, entity_ids: list[Any], dataset_id: int | str, **kwargs: Any) -> Call:
        """Delete records; those that could not be are in `result.failedOnes`."""
        return Call(routes.ENTITY_DELETE, {"id": list(entity_ids), "datasetId": dataset_id})

    @console_call
    def list_all_entity_in_dataset(
        cls,
        /,
        dataset_id: int | str,
        offset: int = 0,
        page_size: int = 20,
        import_time_closure: list[int] | None = None,
        annotating_time_closure: list[int] | None = None,
        listing_type: EntityListingType = EntityListingType.All,
        label_id_str: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """List records: `result.items`, `result.total`.

        page_size: 1 to 30. The closures are [from, to] in milliseconds (ValueError when not two)."""
        for what, closure in (
            ("import_time_closure", import_time_closure),
            ("annotating_time_closure", annotating_time_closure),
        ):
            if closure and len(closure) != 2:
                raise InvalidArgumentError(
                    f"{what} has {len(closure)} times", advice="give [from, to], in milliseconds"
                )
        body = {
            "datasetId": dataset_id,
            "offset": offset,
            "pageSize": page_size,
            "tabType": listing_type,
            "importTime": import_time_closure,
            "annoTime": annotating_time_closure,
            "labelId": label_id_str,
        }
        return Call(routes.ENTITY_LIST, body)

    @console_call
    def create_dataset_etl_task(
        cls,
        /,
        source_dataset_id: int | str,
        destination_dataset_id: int | str,
        operations: dict[str, list[dict[str, Any]]],
        **kwargs: Any,
    ) -> Call:
        """Clean a generic-text dataset into another one.

        operations: {"clean": […], "filter": […], "deduplication": […], "desensitization": […]}, each item
        {"name": …, "args": {…}}."""
        body = {
            "sourceDatasetId": source_dataset_id,
            "destDatasetId": destination_dataset_id,
            "entityType": TEXT_ENTITIES,
            "operationsV2": operations,
        }
        return Call(routes.ETL_CREATE, body, creates=True)

    @console_call
    def get_dataset_etl_task_info(cls, /, etl_id: int | str, **kwargs: Any) -> Call:
        """One cleaning task: `result.processStatus`."""
        return Call(routes.ETL_DETAIL, {"etlId": etl_id})

    @console_call
    def get_dataset_etl_task_list(cls, /, page_size: int = 10, offset: int = 0, **kwargs: Any) -> Call:
        """List cleaning tasks: `result.items`."""
        return Call(routes.ETL_LIST, {"offset": offset, "pageSize": page_size})

    @console_call
    def delete_dataset_etl_task(cls, /, etl_ids: list[Any], **kwargs: Any) -> Call:
        """Delete cleaning tasks; the datasets stay."""
        return Call(routes.ETL_DELETE, {"etlIds": list(etl_ids)})

    @console_call
    def create_dataset_augmenting_task(
        cls,
        /,
        name: str,
        source_dataset_id: int | str,
        destination_dataset_id: int | str,
        service_name: str,
        service_url: str,
        app_id: int,
        num_seed_fewshot: int,
        num_instances_to_generate: int,
        similarity_threshold: float,
        **kwargs: Any,
    ) -> Call:
        """Have a model write more records after the pattern of a dataset; the id of the task is at `result`.

        service_url: the endpoint of your own service, or a model's. num_seed_fewshot: 1 to 10 samples shown at
        once. num_instances_to_generate: 1 to 5000. similarity_threshold: 0 to 1, a new record must be less like
        the others. ValueError outside. dev_api_id (a further keyword): the number of a model, as published clients
        from 0.3.12 on send it in place of service_name and service_url."""
        _within("num_seed_fewshot", num_seed_fewshot, 1, 10)
        _within("num_instances_to_generate", num_instances_to_generate, 1, 5000)
        _within("similarity_threshold", similarity_threshold, 0, 1)
        body = {
            "name": name,
            "isSelfInstruct": True,
            "sourceDatasetId": source_dataset_id,
            "destDatasetId": destination_dataset_id,
            "serviceName": service_name,
            "serviceUrl": service_url,
            "appId": app_id,
            "numSeedFewshot": num_seed_fewshot,
            "numInstancesToGenerate": num_instances_to_generate,
            "similarityThreshold": similarity_threshold,
        }
        if (number := kwargs.get("dev_api_id")) is not None:
            body = {name: value for name, value in body.items() if name not in ("serviceName", "serviceUrl")}
            body["devApiId"] = number
        return Call(routes.ENHANCE_CREATE, body, creates=True)

    @console_call
    def get_dataset_aug_task_list(
        cls,
        /,
        keyword: str | None = None,
        sorted_by_start_time_asc: bool | None = None,
        page_size: int = 10,
        offset: int = 0,
        **kwargs: Any,
    ) -> Call:
        """List augmentation tasks; by start time, oldest first (True) or newest first (False), else by id."""
        body: dict[str, Any] = {
            "isSelfInstruct": True,
            "offset": offset,
            "pageSize": page_size,
            "word": keyword,
        }
        if sorted_by_start_time_asc is not None:
            body["sortField"] = "startTime"
            body["sortBy"] = "asc" if sorted_by_start_time_asc else "desc"
        return Call(routes.ENHANCE_LIST, body)

    @console_call
    def get_dataset_augmenting_task_info(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """One augmentation task: `result.status`."""
        return Call(routes.ENHANCE_DETAIL, {"taskId": task_id})

    @console_call
    def stop_dataset_augmenting_task(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """Stop an augmentation task; its destination stays as it was. Of this platform only."""
        return Call(routes.ENHANCE_STOP, {"taskId": task_id})

    @console_call
    def delete_dataset_augmenting_task(cls, /, task_ids: list[Any], **kwargs: Any) -> Call:
        """Delete augmentation tasks; the datasets stay."""
        return Call(routes.ENHANCE_DELETE, {"taskIds": list(task_ids)})


def _number(value: Any) -> int:
    return int(getattr(value, "value", value))


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidArgumentError(f"{name} is {value}", advice=f"it must be {low} to {high}")
