"""The dataset interface of V2: a V1 group is a dataset here, a V1 dataset is one of its versions."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import datasets_v2 as words
from qianfan.contract import errors, routes
from qianfan.contract.bodies import CreateDataset
from qianfan.contract.enums import (
    DataExportDestinationType,
    DataExportStatus,
    DataImportStatus,
    DataReleaseStatus,
    DataSourceType,
    DataStorageType,
)
from qianfan.contract.errors import Fault
from qianfan.contract.times import zulu
from qianfan_platform.files.objects import parse
from qianfan_platform.jobs import Job, JobState
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import buckets, links, operations, verdicts, versions
from .tables import Dataset, DatasetGroup

router = Router(aliases={"maker": "marker"})
PAGE: Final = 10
MOST: Final = 100
POLL_AFTER_S: Final = 0.3
_UNDER_WAY: Final = (JobState.Waiting, JobState.Running)


@router.v2(routes.DATASET_V2_CREATE, words.CreateDatasetV2)
async def create(call: Call) -> Any:
    """A dataset with its first version, which is empty."""
    body = call.body
    template = versions.template_of(body["dataFormat"], words.FORMATS, words.OTHER_FORMATS)
    spec: CreateDataset = {
        "name": body["datasetName"],
        "dataType": words.kind_of(template).value,
        "projectType": template.value // 100,
        "templateType": template.value,
        **_place(body),  # type: ignore[typeddict-item]
    }
    row = await operations.create(call.tx, call.owner, spec, call.platform.objects)
    row.description = body.get("description", "")
    return await _version(call, row)


def _place(body: dict[str, Any]) -> dict[str, str]:
    """Where V1 would be told to keep it."""
    if body.get("storageType", words.PLATFORM) == words.PLATFORM:
        return {"storageType": DataStorageType.PublicBos.value}
    path = _bucket_path(body)
    return {
        "storageType": DataStorageType.PrivateBos.value,
        "storageId": path.bucket,
        "rawStoragePath": f"/{path.key.strip('/')}/",
    }


def _bucket_path(body: dict[str, Any]) -> Any:
    path = parse(body.get("storagePath", ""))
    if path is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[storagePath] invalid: {body.get('storagePath', '')[:200]!a} names no bucket",
            "send a path such as bos:/bucket/folder/, or storageType sysStorage",
        )
    return path


@router.v2(routes.DATASET_V2_LIST, words.ListDatasetsV2, write=False)
async def describe_all(call: Call) -> Any:
    """Newest first, unless pageReverse is sent."""
    wanted = call.body.get("filter") or {}
    word = wanted.get("dataFormat")
    template = versions.template_of(word, words.FORMATS, words.OTHER_FORMATS).value if word else 0
    rows, after = await versions.groups(
        call.tx, call.owner, *_page(call), name=wanted.get("datasetName", ""), template=template
    )
    return {
        "datasetList": [await _dataset(call, row) for row in rows],
        "pageInfo": page_info(call.body.get("marker"), _page(call)[1], after),
    }


def _page(call: Call) -> tuple[str | None, int, bool]:
    body = call.body
    return body.get("marker"), min(body.get("maxKeys", PAGE), MOST), bool(body.get("pageReverse"))


async def _dataset(call: Call, row: DatasetGroup) -> dict[str, Any]:
    newest, count = await versions.newest(call.tx, row)
    return {
        "datasetId": row.public_id,
        "datasetName": row.name,
        "dataFormat": words.FORMAT_OF.get(newest.template_type, "") if newest else "",
        **(_storage(call, newest) if newest else {}),
        "versionCount": count,
        "latestVersionId": newest.public_id if newest else "",
        "latestVersionNumber": newest.version if newest else 0,
        "createTime": zulu(row.created_at),
        "modifyTime": zulu((newest.content_at if newest else None) or row.created_at),
    }


def _storage(call: Call, row: Dataset) -> dict[str, str]:
    shown = buckets.storage(call.platform.objects, row)
    private = buckets.is_private(row)
    return {
        "storageType": words.BUCKET if private else words.PLATFORM,
        "storagePath": f"bos:/{row.storage_id}{shown['rawStoragePath']}" if private else shown["storagePath"],
    }


@router.v2(routes.DATASET_V2_DELETE, words.DatasetRefV2)
async def delete(call: Call) -> Any:
    """A dataset with all its versions."""
    return {"versionCount": await versions.delete_group(call.tx, call.owner, call.body["datasetId"])}


# ── versions ─────────────────────────────────────────────────────────────────────────────────────


@router.v2(routes.DATASET_V2_CREATE_VERSION, words.CreateVersionV2)
async def create_version(call: Call) -> Any:
    """A new, empty version of a dataset."""
    body = call.body
    row = await versions.add_version(call.tx, call.owner, body["datasetId"], body.get("description", ""))
    return await _version(call, row)


@router.v2(routes.DATASET_V2_VERSIONS, words.ListVersionsV2, write=False)
async def describe_versions(call: Call) -> Any:
    """Newest first, unless pageReverse is sent."""
    of = await versions.group(call.tx, call.owner, call.body["datasetId"])
    rows, after = await versions.versions(call.tx, of, *_page(call), _release(call.body.get("filter") or {}))
    return {
        "versionList": [await _version(call, row) for row in rows],
        "pageInfo": page_info(call.body.get("marker"), _page(call)[1], after),
    }


def _release(wanted: dict[str, Any]) -> DataReleaseStatus | None:
    word = wanted.get("publishStatus")
    if not word:
        return None
    for status, name in words.PUBLISH_WORDS.items():
        if name == word:
            return status
    known = ", ".join(words.PUBLISH_WORDS.values())
    raise Fault(
        errors.CONSOLE_PARAMETER, f"param[filter.publishStatus] invalid: {word[:60]!r}", f"use {known}"
    )


@router.v2(routes.DATASET_V2_VERSION, words.VersionRefV2, write=False)
async def describe_version(call: Call) -> Any:
    return await _version(call, await operations.get(call.tx, call.owner, call.body["versionId"]))


async def _version(call: Call, row: Dataset) -> dict[str, Any]:
    of = await operations.group_of(call.tx, row)
    busy = 1 in (row.import_status, row.release_status, row.export_status)
    return {
        "datasetId": of.public_id,
        "versionId": row.public_id,
        "versionNumber": row.version,
        "datasetName": of.name,
        "dataFormat": words.FORMAT_OF.get(row.template_type, ""),
        "description": row.description,
        **_storage(call, row),
        "importStatus": words.IMPORT_WORDS[DataImportStatus(row.import_status)],
        "importProgress": row.import_progress,
        "importErrorInfo": verdicts.error_info(row),
        "publishStatus": words.PUBLISH_WORDS[DataReleaseStatus(row.release_status)],
        "sampleCount": row.entity_count,
        "annotatedSampleCount": row.annotated_count,
        "characterCount": row.character_count,
        "sizeMB": round(row.size_bytes / 1e6, 6),
        "createTime": zulu(row.created_at),
        "modifyTime": zulu(row.content_at or row.created_at),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if busy else {},
    }


@router.v2(routes.DATASET_V2_DELETE_VERSION, words.VersionRefV2)
async def delete_version(call: Call) -> Any:
    """`versionCount` are left."""
    return {"versionCount": await operations.delete(call.tx, call.owner, call.body["versionId"])}


@router.v2(routes.DATASET_V2_PUBLISH, words.VersionRefV2)
async def publish(call: Call) -> Any:
    """Freeze a version, so that it can be trained on. Once more is no error."""
    await operations.release(call.tx, call.owner, call.body["versionId"])
    return await _version(call, await operations.get(call.tx, call.owner, call.body["versionId"]))


# ── tasks ────────────────────────────────────────────────────────────────────────────────────────


@router.v2(routes.DATASET_V2_IMPORT, words.CreateImportV2)
async def create_import(call: Call) -> Any:
    """Import files into a version; DescribeImportTask tells how it goes."""
    files = call.body["files"]
    links_among = [file for file in files if file.split("://")[0].lower() in ("http", "https")]
    if links_among and len(links_among) != len(files):
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[files] invalid: paths and addresses stand side by side",
            "import them one after the other",
        )
    source = DataSourceType.SharedZipUrl if links_among else DataSourceType.PrivateBos
    objects = call.platform.objects
    await operations.start_import(call.tx, call.owner, call.body["versionId"], source.value, files, objects)
    row = await versions.task_just_made(call.tx, call.owner, versions.IMPORT)
    return {"taskId": row.public_id}


@router.v2(routes.DATASET_V2_IMPORT_INFO, words.DataTaskRef, write=False)
async def describe_import(call: Call) -> Any:
    row = await versions.task(call.tx, call.owner, call.body["taskId"], versions.IMPORT)
    dataset = await versions.dataset_of(call.tx, row)
    status = _status(row, DataImportStatus.Running, DataImportStatus.Finished, DataImportStatus.Failed)
    return {
        **_task(row, dataset),
        "status": words.IMPORT_WORDS[status],
        "progress": _progress(row, dataset.import_progress if dataset else 0),
        "files": row.args.get("files", []),
        "sampleCount": dataset.entity_count if dataset else 0,
    }


@router.v2(routes.DATASET_V2_EXPORT, words.CreateExportV2)
async def create_export(call: Call) -> Any:
    """Pack a version, on the platform or into a bucket; DescribeExportTask tells how it goes."""
    body, objects, bucket = call.body, call.platform.objects, ""
    if body.get("storageType", words.PLATFORM) == words.BUCKET:
        to = DataExportDestinationType.PrivateBos.value
        path = _bucket_path(body)
        bucket = f"{buckets.export_bucket(objects, call.owner, to, path.bucket)}/{path.key}"
    await operations.start_export(call.tx, call.owner, body["versionId"], bucket)
    row = await versions.task_just_made(call.tx, call.owner, versions.EXPORT)
    return {"taskId": row.public_id}


@router.v2(routes.DATASET_V2_EXPORT_INFO, words.DataTaskRef, write=False)
async def describe_export(call: Call) -> Any:
    """`downloadUrl` is good for a day."""
    row = await versions.task(call.tx, call.owner, call.body["taskId"], versions.EXPORT)
    dataset = await versions.dataset_of(call.tx, row)
    status = _status(row, DataExportStatus.Running, DataExportStatus.Finished, DataExportStatus.Failed)
    record = next((one for one in (dataset.exports if dataset else ()) if one.get("job") == row.id), None)
    shown: dict[str, Any] = {
        **_task(row, dataset),
        "exportStatus": words.EXPORT_WORDS[status],
        "progress": _progress(row, 0),
        "storageType": words.BUCKET if row.args.get("bucket") else words.PLATFORM,
        "storagePath": "",
        "sizeMB": 0.0,
        "sampleCount": 0,
        "downloadUrl": "",
    }
    if record is None:
        return shown
    link = links.make(call.platform.link_key, record["file"])
    return {
        **shown,
        "storagePath": f"bos:/{record['bucket']}/{record['key']}" if "key" in record else "",
        "sizeMB": round(record["size"] / 1e6, 6),
        "sampleCount": record["records"],
        "downloadUrl": f"{call.base_url}/v2/files/{record['file']}?{link}",
    }


def _task(row: Job, dataset: Dataset | None) -> dict[str, Any]:
    return {
        "taskId": row.public_id,
        "versionId": dataset.public_id if dataset else "",
        "reason": row.error,
        "createTime": zulu(row.created_at),
        "finishTime": zulu(row.finished_at),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if row.state in _UNDER_WAY else {},
    }


def _status(row: Job, running: Any, finished: Any, failed: Any) -> Any:
    if row.state in _UNDER_WAY:
        return running
    return finished if row.state == JobState.Done else failed


def _progress(row: Job, percent: int) -> int:
    return 100 if row.state == JobState.Done else percent
