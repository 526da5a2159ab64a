"""The augmentation part of the Data interface, V1 and V2: HTTP in, HTTP out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.responses import Response, StreamingResponse

from qianfan.contract import augmentation, routes
from qianfan.contract.augmentation import MOST_IN_PAGE, SEEDS, THRESHOLD
from qianfan.contract.enums import AugmentationStatus
from qianfan.contract.times import plain, zulu
from qianfan_platform.datasets import links
from qianfan_platform.web import Call, Router, Visit
from qianfan_platform.web.pages import page_info

from . import operations
from .keeping import MEANINGS
from .tables import AugmentTask

router = Router(aliases={"maker": "marker"})
PAGE: Final = 10
MOST_KEYS: Final = 100
POLL_AFTER_S: Final = 0.3
CONVERSATION: Final = 20  # projectType
SAMPLES: Final = "/v2/dataprocessing/samples/{task_id}"
STATES: Final = {
    AugmentationStatus.Created: "Running",
    AugmentationStatus.Running: "Running",
    AugmentationStatus.Terminated: "Stopped",
    AugmentationStatus.Finished: "Succeeded",
    AugmentationStatus.Failed: "Failed",
}


@router.v1(routes.ENHANCE_CREATE, augmentation.CreateAugmentation)
async def create(call: Call) -> Any:
    row = await operations.create(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return row.public_id


@router.v1(routes.ENHANCE_DETAIL, augmentation.AugmentationRef, write=False)
async def detail(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, call.body["taskId"])
    return {
        **await _datasets(call, row),
        "id": row.id,
        "taskId": row.public_id,
        "name": row.name,
        "labelIds": "",
        "status": row.status,
        "area": 0,
        "strategy": 0,
        "operations": "",
        "isSelfInstruct": True,
        "entityCount": row.entity_count,
        "retStr": row.reason,
        "startTime": plain(row.created_at),
        "finishTime": plain(row.finished_at) if row.finished_at else "",
        "serviceName": row.asked.get("serviceName") or row.service,
        "serviceUrl": row.asked.get("serviceUrl") or row.service,
        "endpoint": row.service,
        "appId": row.asked.get("appId", 0),
        "appName": "",
        "userName": "",
        "numSeedFewshot": row.few,
        "numInstancesToGenerate": row.wanted,
        "similarityThreshold": row.threshold,
        "progressDetail": await _progress(call, row),
        "provenance": await _provenance(call, row),
    }


async def _datasets(call: Call, row: AugmentTask) -> dict[str, Any]:
    source, target = await operations.both(call.tx, row)
    return {
        "sourceDatasetStrId": source.public_id if source else "",
        "sourceDatasetName": source.name if source else "",
        "destDatasetStrId": target.public_id if target else "",
        "destDatasetName": target.name if target else "",
    }


def _runs(row: AugmentTask) -> bool:
    return row.status in (AugmentationStatus.Created, AugmentationStatus.Running)


async def _progress(call: Call, row: AugmentTask) -> dict[str, Any]:
    shown: dict[str, Any] = {"done": row.kept, "of": row.wanted, "tries": row.tries}
    if _runs(row):
        shown["pollAfter"] = POLL_AFTER_S
        if why := await operations.waiting(call.tx, row):
            shown["waiting"] = why
    return shown


async def _provenance(call: Call, row: AugmentTask) -> dict[str, Any]:
    """Where the samples came from: counts here, every try with what was read in it behind the link."""
    path = SAMPLES.format(task_id=row.public_id)
    key: bytes = call.platform.link_key
    return {
        "tries": row.tries,
        "kept": row.kept,
        "dropped": await operations.dropped(call.tx, row),
        "meanings": MEANINGS,
        "lastDropped": [operations.shown(one) for one in await operations.examples(call.tx, row)],
        "downloadUrl": f"{call.base_url}{path}?{links.make(key, row.public_id)}",
    }


@router.v1(routes.ENHANCE_LIST, augmentation.ListAugmentations, write=False)
async def list_tasks(call: Call) -> Any:
    body = call.body
    rows, total = await operations.page(
        call.tx,
        call.owner,
        word=body.get("word", ""),
        order=(body.get("sortBy") or "asc") if body.get("sortField") else "",
        offset=body.get("offset", 0),
        size=min(body.get("pageSize", PAGE), MOST_IN_PAGE),
    )
    return {
        "total": total,
        "items": [
            {
                **await _datasets(call, row),
                "id": row.id,
                "taskId": row.public_id,
                "projectType": CONVERSATION,
                "area": 0,
                "status": row.status,
                "strategy": 0,
                "operations": "",
                "startTime": plain(row.created_at),
                "finishTime": plain(row.finished_at) if row.finished_at else "",
                "failReason": row.reason if row.status == AugmentationStatus.Failed else "",
                "isSelfInstruct": True,
                "name": row.name,
                "modelName": row.asked.get("serviceName") or row.service,
            }
            for row in rows
        ],
    }


@router.v1(routes.ENHANCE_STOP, augmentation.AugmentationRef)
async def stop(call: Call) -> Any:
    await operations.stop(call.tx, call.owner, call.body["taskId"])
    return True


@router.v1(routes.ENHANCE_DELETE, augmentation.DeleteAugmentations)
async def delete(call: Call) -> Any:
    await operations.delete(call.tx, call.owner, call.body["taskIds"])
    return True


@router.raw(SAMPLES, methods=["GET"], public=True)
async def samples(visit: Visit) -> Response:
    """Every try of a task as JSONL, for whoever holds a link that this server made."""
    ident, query, platform = visit.request.path_params["task_id"], visit.query, visit.platform
    if not links.holds(platform.link_key, ident, query.get("until", ""), query.get("mark", "")):
        return Response("this link is not valid, or its time is over: look at the task again", 403)
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, ident)

    async def lines() -> AsyncIterator[bytes]:
        async for one in operations.provenance(platform, row.id):
            yield orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


# ── V2 ───────────────────────────────────────────────────────────────────────────────────────────


@router.v2(routes.AUGMENT_V2_CREATE, augmentation.CreateTextAugmentTask)
async def create_v2(call: Call) -> Any:
    """The same in the words of V2: versions of datasets, and one endpoint."""
    body = call.body
    row = await operations.create(
        call.platform,
        call.tx,
        call.owner,
        {
            "name": body["name"],
            "sourceDatasetId": body["sourceVersionId"],
            "destDatasetId": body["destVersionId"],
            "serviceUrl": body["endpoint"],
            "numSeedFewshot": body.get("numSeedFewshot", SEEDS),
            "numInstancesToGenerate": body["numInstancesToGenerate"],
            "similarityThreshold": body.get("similarityThreshold", THRESHOLD),
        },
    )
    return {"taskId": row.public_id}


@router.v2(routes.AUGMENT_V2_DETAIL, augmentation.AugmentationRef, write=False)
async def describe(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, call.body["taskId"])
    progress = await _progress(call, row)
    return {**await _v2(call, row), "progressDetail": progress, "provenance": await _provenance(call, row)}


async def _v2(call: Call, row: AugmentTask) -> dict[str, Any]:
    named = await _datasets(call, row)
    return {
        "taskId": row.public_id,
        "name": row.name,
        "runStatus": STATES[AugmentationStatus(row.status)],
        "sourceVersionId": named["sourceDatasetStrId"],
        "sourceDatasetName": named["sourceDatasetName"],
        "destVersionId": named["destDatasetStrId"],
        "destDatasetName": named["destDatasetName"],
        "endpoint": row.service,
        "numSeedFewshot": row.few,
        "numInstancesToGenerate": row.wanted,
        "similarityThreshold": row.threshold,
        "generatedCount": row.kept,
        "reason": row.reason,
        "createTime": zulu(row.created_at),
        "finishTime": zulu(row.finished_at),
    }


@router.v2(routes.AUGMENT_V2_LIST, augmentation.ListTextAugmentTasks, write=False)
async def describe_all(call: Call) -> Any:
    """Newest first, unless pageReverse is sent."""
    body = call.body
    size, marker = min(body.get("maxKeys", PAGE), MOST_KEYS), body.get("marker")
    rows, after = await operations.following(call.tx, call.owner, marker, size, bool(body.get("pageReverse")))
    return {
        "taskList": [await _v2(call, row) for row in rows],
        "pageInfo": page_info(marker, size, after),
    }


@router.v2(routes.AUGMENT_V2_STOP, augmentation.AugmentationRef)
async def stop_v2(call: Call) -> Any:
    """False for a task that is over already."""
    row = await operations.get(call.tx, call.owner, call.body["taskId"])
    if not _runs(row):
        return False
    await operations.stop(call.tx, call.owner, row.id)
    return True


@router.v2(routes.AUGMENT_V2_DELETE, augmentation.AugmentationRef)
async def delete_v2(call: Call) -> Any:
    await operations.delete(call.tx, call.owner, [call.body["taskId"]])
    return True
