"""The Data interface: HTTP in, HTTP out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.responses import FileResponse, Response

from qianfan.contract import bodies, routes
from qianfan.contract.enums import DataStorageType
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.times import plain
from qianfan_platform.web import Call, Router, Visit

from . import buckets, links, operations, verdicts
from .tables import Dataset, DatasetGroup

router = Router()
POLL_AFTER_S = 0.2
UPLOAD_LIMIT = 5 * 1024**3  # bytes, as the cloud allows for an archive
NEVER = -1


def _version_info(call: Call, dataset: Dataset, group: DatasetGroup) -> dict[str, Any]:
    storage = buckets.storage(call.platform.objects, dataset)
    return {
        "id": dataset.id,
        "groupId": group.id,
        "groupPK": group.public_id,
        "datasetId": dataset.id,
        "datasetPK": dataset.public_id,
        "versionId": dataset.version,
        "displayName": dataset.name,
        "dataType": dataset.data_type,
        "projectType": dataset.project_type,
        "templateType": dataset.template_type,
        "storageType": dataset.storage_type or DataStorageType.PublicBos.value,
        "storage": storage,
        "importStatus": dataset.import_status,
        "importProgress": dataset.import_progress,
        "importRecordCount": dataset.import_count,
        "importErrorInfo": verdicts.error_info(dataset),
        "exportStatus": dataset.export_status,
        "exportProgress": 100 if dataset.export_status == 2 else dataset.export_progress,
        "exportRecordCount": len(dataset.exports),
        "releaseStatus": dataset.release_status,
        "releaseProgress": 100 if dataset.release_status == 2 else 0,
        "releaseErrCode": 0,
        "releaseStoragePath": f"{storage['storagePath']}/jsonl" if dataset.release_status == 2 else "",
        "entityCount": dataset.entity_count,
        "annotatedEntityCount": dataset.annotated_count,
        "labelCount": dataset.label_count,
        "characterCount": dataset.character_count,
        "memorySize": round(dataset.size_bytes / 1e6, 6),
        "createTime": plain(dataset.created_at),
        "modifyTime": plain(dataset.content_at or dataset.created_at),
        "remark": dataset.description,
        "bmlDatasetId": "",
        "userId": dataset.owner_id,
        "errCode": None,
        "uniqueType": 0,
        "isEnhancing": dataset.enhance_status in (0, 1),
        "enhanceStatus": dataset.enhance_status,
        "hasEnhance": dataset.enhanced,
        "isSelfInstructEnhance": dataset.enhance_status != NEVER,
        "etlStatus": 0,
        "hasEtl": False,
        "isPipelineEtl": False,
        "teamAnnoStatus": NEVER,
        "hasTeamAnno": False,
        "interAnnoRunning": False,
        "hardSampleCount": 0,
        "promptOptimizeStatus": 0,
        "demandStatus": 0,
        "progressDetail": _progress(dataset),
    }


def _progress(dataset: Dataset) -> dict[str, Any]:
    told = verdicts.progress(dataset)
    if 1 in (dataset.import_status, dataset.release_status, dataset.export_status):
        return {**told, "pollAfter": POLL_AFTER_S}
    return {**told, "reason": dataset.failure} if dataset.failure else told


@router.v1(routes.DATASET_CREATE, bodies.CreateDataset)
async def create(call: Call) -> Any:
    dataset = await operations.create(call.tx, call.owner, call.body, call.platform.objects)  # type: ignore[arg-type]
    group = await operations.group_of(call.tx, dataset)
    return {
        "id": dataset.id,
        "groupId": group.id,
        "groupPK": group.public_id,
        "datasetId": dataset.public_id,
        "versionId": dataset.version,
        "groupName": group.name,
        "displayName": dataset.name,
        "createFrom": 0,
        "bmlDatasetId": "",
        "userId": call.owner,
        "dataType": dataset.data_type,
        "projectType": dataset.project_type,
        "templateType": dataset.template_type,
        "remark": "",
        "storageInfo": buckets.storage(call.platform.objects, dataset),
        "importStatus": dataset.import_status,
        "importProgress": 0,
        "exportStatus": dataset.export_status,
        "releaseStatus": dataset.release_status,
        "ShouldHide": False,
        "status": 0,
        "isUnique": 0,
        "errCode": None,
        "createTime": dataset.created_at.isoformat(),
        "modifyTime": dataset.created_at.isoformat(),
    }


@router.v1(routes.DATASET_IMPORT, bodies.ImportDataset)
async def start_import(call: Call) -> Any:
    body = call.body
    objects = call.platform.objects
    await operations.start_import(
        call.tx,
        call.owner,
        body["datasetId"],
        body["importFrom"],
        body["files"],
        objects,
        annotated=body.get("annotated", False),
        bad_share=body.get("badShare", call.platform.settings.bad_share),
    )
    return True


@router.v1(routes.DATASET_RELEASE, bodies.DatasetRef)
async def release(call: Call) -> Any:
    await operations.release(call.tx, call.owner, call.body["datasetId"])
    return True


@router.v1(routes.DATASET_INFO, bodies.DatasetRef, write=False)
async def info(call: Call) -> Any:
    dataset = await operations.get(call.tx, call.owner, call.body["datasetId"])
    group = await operations.group_of(call.tx, dataset)
    return {
        "groupId": group.id,
        "groupPK": group.public_id,
        "name": group.name,
        "dataType": dataset.data_type,
        "isPublic": False,
        "versionInfo": _version_info(call, dataset, group),
    }


@router.v1(routes.DATASET_STATUS_LIST, bodies.DatasetRefs, write=False)
async def status_list(call: Call) -> Any:
    answer: dict[str, Any] = {}
    for ident in call.body["datasetIds"]:
        dataset = await operations.get(call.tx, call.owner, ident)
        answer[str(ident)] = {
            "importStatus": dataset.import_status,
            "importProgress": dataset.import_progress,
            "releaseStatus": dataset.release_status,
            "releaseProgress": 100 if dataset.release_status == 2 else 0,
            "exportStatus": 255 if dataset.export_status == NEVER else dataset.export_status,
            "exportProgress": 100 if dataset.export_status == 2 else dataset.export_progress,
            "enhanceStatus": dataset.enhance_status,
            "etlStatus": 0,
            "importErrorInfo": verdicts.error_info(dataset),
            "entityCount": dataset.entity_count,
            "annotatedEntityCount": dataset.annotated_count,
            "labelCount": dataset.label_count,
            "qcLabelErrStatus": False,
            "characterCount": dataset.character_count,
            "modifyTime": plain(dataset.content_at or dataset.created_at),
        }
    return answer


@router.v1(routes.DATASET_EXPORT, bodies.ExportDataset)
async def start_export(call: Call) -> Any:
    body, objects = call.body, call.platform.objects
    bucket = buckets.export_bucket(objects, call.owner, body.get("exportTo", 0), body.get("storageId"))
    await operations.start_export(call.tx, call.owner, body["datasetId"], bucket, body.get("exportType", 1))
    return True


@router.v1(routes.DATASET_EXPORT_RECORD, bodies.DatasetRef, write=False)
async def export_records(call: Call) -> Any:
    dataset = await operations.get(call.tx, call.owner, call.body["datasetId"])
    return [
        {
            "id": record["id"],
            "creatorName": "",
            "storageId": record.get("bucket", "local"),
            "storagePath": f"/{record['key']}" if "key" in record else f"/local/{record['file']}",
            "size": round(record["size"] / 1e6, 6),
            "exportFormat": 0,
            "exportType": record.get("kind", 1),
            "exportTo": 1 if "key" in record else 0,
            "status": 2,
            "recordNum": record["records"],
            "downloadUrl": _link(call, record["file"]),
            "startTime": plain(datetime.fromisoformat(record["started"])),
            "finishTime": plain(datetime.fromisoformat(record["finished"])),
        }
        for record in dataset.exports
    ]


@router.v1(routes.DATASET_DELETE, bodies.DatasetRef)
async def delete(call: Call) -> Any:
    return {"versionCount": await operations.delete(call.tx, call.owner, call.body["datasetId"])}


@router.v1(routes.DATASET_IMPORT_ERROR_DETAIL, bodies.ImportErrorRef, write=False)
async def import_error_detail(call: Call) -> Any:
    dataset = await operations.get(call.tx, call.owner, call.body["datasetId"])
    kept = verdicts.quarantine(dataset)
    return {
        "dataType": "file",
        "downloadUrl": _link(call, kept) if kept else "",
        "isZip": 0,
        "projectType": dataset.project_type,
        "content": verdicts.content(dataset, call.body.get("errCode")),
    }


def _link(call: Call, file_id: str) -> str:
    """Where the file can be had for a day, without a signature."""
    return f"{call.base_url}/v2/files/{file_id}?{links.make(call.platform.link_key, file_id)}"


@router.raw("/v2/files", methods=["POST"])
async def upload(visit: Visit) -> Any:
    """Take a file as the raw body; answer the path that the dataset import takes.

    once=1: the import that takes it removes it when it has ended; others stay, to be imported again."""
    kept = await visit.platform.files.put(
        visit.request.stream(),
        name=visit.query.get("name", "")[:200],
        limit=UPLOAD_LIMIT,
        owner=visit.owner,
        once=visit.query.get("once") == "1",
    )
    return {
        "path": f"{operations.LOCAL_PREFIX}{kept.id}",
        "id": kept.id,
        "size": kept.size,
        "sha256": kept.sha256,
    }


@router.raw("/v2/files/{file_id}", methods=["GET"], public=True)
async def download(visit: Visit) -> Response:
    """Give a file, or a range of it, to whoever holds a link that this server made."""
    file_id, query, platform = visit.request.path_params["file_id"], visit.query, visit.platform
    if not links.holds(platform.link_key, file_id, query.get("until", ""), query.get("mark", "")):
        return Response("this link is not valid, or its time is over: ask for the export records again", 403)
    path = await platform.files.local(file_id)
    if path.is_dir():
        raise Fault(CONSOLE_PARAMETER, f"{file_id} is a folder, not a file")
    return FileResponse(
        path, media_type="application/octet-stream", headers={"Content-Disposition": "attachment"}
    )
