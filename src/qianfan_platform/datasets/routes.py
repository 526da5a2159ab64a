"""The Data interface: HTTP in, HTTP out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.responses import Response, StreamingResponse

from qianfan.contract import bodies, routes
from qianfan.contract.enums import DataStorageType
from qianfan.contract.times import plain
from qianfan_platform.web import Call, Router, Visit

from . import links, operations
from .tables import Dataset, DatasetGroup

router = Router()
POLL_AFTER_S = 0.2
UPLOAD_LIMIT = 5 * 1024**3  # bytes, as the cloud allows for an archive
NEVER = -1


def _storage(dataset: Dataset) -> dict[str, Any]:
    path = f"/local/{dataset.public_id}"
    return {
        "storageId": dataset.storage_id or "local",
        "storageName": dataset.storage_id or "local",
        "storagePath": path,
        "rawStoragePath": dataset.raw_path or f"{path}/",
        "region": "local",
    }


def _version_info(dataset: Dataset, group: DatasetGroup) -> dict[str, Any]:
    busy = 1 in (dataset.import_status, dataset.release_status, dataset.export_status)
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
        "storage": _storage(dataset),
        "importStatus": dataset.import_status,
        "importProgress": dataset.import_progress,
        "importRecordCount": dataset.import_count,
        "importErrorInfo": dataset.import_problems or None,
        "exportStatus": dataset.export_status,
        "exportProgress": 100 if dataset.export_status == 2 else 0,
        "exportRecordCount": len(dataset.exports),
        "releaseStatus": dataset.release_status,
        "releaseProgress": 100 if dataset.release_status == 2 else 0,
        "releaseErrCode": 0,
        "releaseStoragePath": f"/local/{dataset.public_id}/jsonl" if dataset.release_status == 2 else "",
        "entityCount": dataset.entity_count,
        "annotatedEntityCount": dataset.annotated_count,
        "labelCount": 0,
        "characterCount": dataset.character_count,
        "memorySize": round(dataset.size_bytes / 1e6, 6),
        "createTime": plain(dataset.created_at),
        "modifyTime": plain(dataset.content_at or dataset.created_at),
        "remark": "",
        "bmlDatasetId": "",
        "userId": dataset.owner_id,
        "errCode": None,
        "uniqueType": 0,
        "isEnhancing": False,
        "enhanceStatus": NEVER,
        "hasEnhance": False,
        "isSelfInstructEnhance": False,
        "etlStatus": 0,
        "hasEtl": False,
        "isPipelineEtl": False,
        "teamAnnoStatus": NEVER,
        "hasTeamAnno": False,
        "interAnnoRunning": False,
        "hardSampleCount": 0,
        "promptOptimizeStatus": 0,
        "demandStatus": 0,
        "progressDetail": {"pollAfter": POLL_AFTER_S} if busy else {},
    }


@router.v1(routes.DATASET_CREATE, bodies.CreateDataset)
async def create(call: Call) -> Any:
    dataset = await operations.create(call.tx, call.owner, call.body)  # type: ignore[arg-type]
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
        "storageInfo": _storage(dataset),
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
    await operations.start_import(call.tx, call.owner, body["datasetId"], body["importFrom"], body["files"])
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
        "versionInfo": _version_info(dataset, group),
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
            "exportProgress": 100 if dataset.export_status == 2 else 0,
            "enhanceStatus": NEVER,
            "etlStatus": 0,
            "importErrorInfo": dataset.import_problems or None,
            "entityCount": dataset.entity_count,
            "annotatedEntityCount": dataset.annotated_count,
            "qcLabelErrStatus": False,
            "characterCount": dataset.character_count,
            "modifyTime": plain(dataset.content_at or dataset.created_at),
        }
    return answer


@router.v1(routes.DATASET_EXPORT, bodies.ExportDataset)
async def start_export(call: Call) -> Any:
    await operations.start_export(call.tx, call.owner, call.body["datasetId"])
    return True


@router.v1(routes.DATASET_EXPORT_RECORD, bodies.DatasetRef, write=False)
async def export_records(call: Call) -> Any:
    dataset = await operations.get(call.tx, call.owner, call.body["datasetId"])
    key: bytes = call.platform.link_key
    return [
        {
            "id": record["id"],
            "creatorName": "",
            "storageId": "local",
            "storagePath": f"/local/{record['file']}",
            "size": round(record["size"] / 1e6, 6),
            "exportFormat": 0,
            "exportType": 1,
            "exportTo": 0,
            "status": 2,
            "recordNum": record["records"],
            "downloadUrl": f"{call.base_url}/v2/files/{record['file']}?{links.make(key, record['file'])}",
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
    wanted = call.body.get("errCode")
    content = [
        {
            "sequence": number,
            "sampleFileName": problem["source"],
            "sampleName": problem["source"],
            "textLocation": f"line {problem['line']}",
            "textContent": problem["what"],
        }
        for number, problem in enumerate(dataset.import_problems, 1)
        if wanted is None or problem["code"] == wanted
    ]
    return {
        "dataType": "file",
        "downloadUrl": "",
        "isZip": 0,
        "projectType": dataset.project_type,
        "content": content,
    }


@router.raw("/v2/files", methods=["POST"])
async def upload(visit: Visit) -> Any:
    """Take a file as the raw body; answer the path that the dataset import takes."""
    kept = await visit.platform.files.put(
        visit.request.stream(),
        name=visit.query.get("name", "")[:200],
        limit=UPLOAD_LIMIT,
        owner=visit.owner,
    )
    return {
        "path": f"{operations.LOCAL_PREFIX}{kept.id}",
        "id": kept.id,
        "size": kept.size,
        "sha256": kept.sha256,
    }


@router.raw("/v2/files/{file_id}", methods=["GET"], public=True)
async def download(visit: Visit) -> Response:
    """Give a file to whoever holds a link that this server made."""
    file_id, query, platform = visit.request.path_params["file_id"], visit.query, visit.platform
    if not links.holds(platform.link_key, file_id, query.get("until", ""), query.get("mark", "")):
        return Response("this link is not valid, or its time is over: ask for the export records again", 403)
    ref = await platform.files.info(file_id)
    return StreamingResponse(
        platform.files.read(file_id),
        media_type="application/octet-stream",
        headers={"Content-Length": str(ref.size), "Content-Disposition": "attachment"},
    )
