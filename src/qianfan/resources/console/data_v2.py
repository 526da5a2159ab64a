"""Datasets in the words of the V2 interface: datasets, their versions, and tasks of import and export."""

from __future__ import annotations

from typing import Any

from qianfan.contract import routes
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .utils import console_call


class DataV2:
    """Datasets as `dg-…`, their versions as `ds-…`; a version is what V1 calls a dataset.

    Further keywords go into the body."""

    @classmethod
    def base_api_route(cls) -> str:
        """The path of all calls of this class; what they do is in the query, `?Action=`."""
        return routes.DATASET_V2_CREATE.path

    @console_call
    def create_dataset(
        cls,
        /,
        dataset_name: str,
        data_format: str,
        storage_type: str = "sysStorage",
        storage_path: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Create a dataset with an empty first version: `result.datasetId`, `result.versionId`.

        data_format: PromptResponse, PromptSortedresponses, DPO_PromptChosenRejected, Text, Prompt, PromptImage.
        storage_type: sysStorage, or BOS with a storage_path (`bos:/bucket/folder/`; ValueError without)."""
        body = {**kwargs, "datasetName": dataset_name, "dataFormat": data_format}
        return Call(routes.DATASET_V2_CREATE, {**body, **_place(storage_type, storage_path)}, creates=True)

    @console_call
    def describe_datasets(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        filter: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Your datasets, newest first: `result.datasetList`, `result.pageInfo`.

        filter: {"datasetName": part of a name, "dataFormat": …}."""
        page = _page(marker, max_keys, page_reverse)
        return Call(routes.DATASET_V2_LIST, {**kwargs, **page, "filter": filter})

    @console_call
    def delete_dataset(cls, /, dataset_id: int | str, **kwargs: Any) -> Call:
        """Delete a dataset with all its versions."""
        return Call(routes.DATASET_V2_DELETE, {**kwargs, "datasetId": dataset_id})

    @console_call
    def create_dataset_version(
        cls, /, dataset_id: int | str, description: str | None = None, **kwargs: Any
    ) -> Call:
        """Create a new, empty version: `result.versionId`."""
        body = {**kwargs, "datasetId": dataset_id, "description": description}
        return Call(routes.DATASET_V2_CREATE_VERSION, body, creates=True)

    @console_call
    def describe_dataset_versions(
        cls,
        /,
        dataset_id: int | str,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        filter: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Call:
        """The versions of a dataset, newest first: `result.versionList`, `result.pageInfo`.

        filter: {"publishStatus": Unpublished, Publishing, Published or PublishFailed}."""
        body = {**kwargs, "datasetId": dataset_id, **_page(marker, max_keys, page_reverse), "filter": filter}
        return Call(routes.DATASET_V2_VERSIONS, body)

    @console_call
    def describe_dataset_version(cls, /, version_id: int | str, **kwargs: Any) -> Call:
        """One version: `result.importStatus`, `result.publishStatus`, `result.sampleCount`."""
        return Call(routes.DATASET_V2_VERSION, {**kwargs, "versionId": version_id})

    @console_call
    def delete_dataset_version(cls, /, version_id: int | str, **kwargs: Any) -> Call:
        """Delete one version."""
        return Call(routes.DATASET_V2_DELETE_VERSION, {**kwargs, "versionId": version_id})

    @console_call
    def publish_dataset_version(cls, /, version_id: int | str, **kwargs: Any) -> Call:
        """Freeze a version for training; look until `result.publishStatus` is Published."""
        return Call(routes.DATASET_V2_PUBLISH, {**kwargs, "versionId": version_id})

    @console_call
    def create_import_task(cls, /, version_id: int | str, files: list[str], **kwargs: Any) -> Call:
        """Import files: paths such as `bos:/bucket/file.jsonl`, or addresses of archives. Its id is at `result.taskId`."""
        if not files:
            raise InvalidArgumentError("files is empty", advice="as in ['bos:/bucket/folder/data.jsonl']")
        body = {**kwargs, "versionId": version_id, "files": list(files)}
        return Call(routes.DATASET_V2_IMPORT, body, creates=True)

    @console_call
    def describe_import_task(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """An import: `result.status` is Importing, ImportFinished or ImportFailed."""
        return Call(routes.DATASET_V2_IMPORT_INFO, {**kwargs, "taskId": task_id})

    @console_call
    def create_export_task(
        cls,
        /,
        version_id: int | str,
        storage_type: str = "sysStorage",
        storage_path: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Export a version; its id is at `result.taskId`."""
        body = {**kwargs, "versionId": version_id, **_place(storage_type, storage_path)}
        return Call(routes.DATASET_V2_EXPORT, body, creates=True)

    @console_call
    def describe_export_task(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """An export: `result.exportStatus` is Exporting, ExportFinished or ExportFailed; `result.downloadUrl`."""
        return Call(routes.DATASET_V2_EXPORT_INFO, {**kwargs, "taskId": task_id})


def _place(storage_type: str, storage_path: str | None) -> dict[str, Any]:
    if storage_type == "BOS" and not storage_path:
        raise InvalidArgumentError(
            "storage in a bucket needs storage_path", advice="as in bos:/bucket/folder/"
        )
    path = f"{storage_path.rstrip('/')}/" if storage_path else None
    return {"storageType": storage_type, "storagePath": path}


def _page(marker: str | None, max_keys: int | None, page_reverse: bool | None) -> dict[str, Any]:
    return {"marker": marker, "maxKeys": max_keys, "pageReverse": page_reverse}
