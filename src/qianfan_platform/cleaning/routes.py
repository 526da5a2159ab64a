"""The cleaning part of the Data interface: HTTP in, HTTP out."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import cleaning, routes
from qianfan.contract.enums import ETLTaskStatus
from qianfan.contract.times import china, plain
from qianfan.dataset.operators import STAGES
from qianfan_platform.web import Call, Router

from . import operations
from .tables import CleaningTask

router = Router()
PAGE: Final = 10
MOST: Final = 20
TEXTS: Final = 2  # entityType
POLL_AFTER_S: Final = 0.3
_LEGACY: Final = (
    "remove_emoji", "remove_url", "trad_to_simp", "remove_id_card", "remove_phone_number", "remove_exception_char",
    "replace_sim2trad", "replace_trad2sim", "replace_upper2lower",
)  # fmt: skip


def _result(row: CleaningTask, *, stages: bool) -> dict[str, Any]:
    finished = row.status == ETLTaskStatus.Finished
    of = {work["name"]: work for work in row.funnel}
    legacy = {name: {"processed_entity": of.get(name, {}).get("changed", 0)} for name in _LEGACY}
    legacy["trad_to_simp"] = {
        "processed_entity": of.get("replace_traditional_chinese_to_simplified", {}).get("changed", 0)
    }
    return {
        "RET_OK": 0,
        "pipeline_stage_result": _stages(row) if stages else None,
        "export_entity_num": row.remaining,
        "remaining_entity": row.remaining,
        "unprocessed_entity": 0 if finished else max(0, row.entity_count - row.done),
        "failReason": row.reason,
        "pauseReason": "",
        **legacy,
        "cut": {"remaining_entity": row.remaining, "unprocessed_entity": 0},
    }


def _stages(row: CleaningTask) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stage in STAGES:
        works = [work for work in row.funnel if work["stage"] == stage]
        if works:
            found[stage] = {
                "status": "Success",
                "operator_count": len(works),
                "entity_match_count": sum(work["changed"] + work["dropped"] for work in works),
                "each_operator_result": [
                    {
                        "name": work["name"],
                        "remaining_count": work["remaining"],
                        "drop_count": work["dropped"],
                        "change_count": work["changed"],
                    }
                    for work in works
                ],
            }
    return found


def _asked(row: CleaningTask) -> dict[str, list[dict[str, Any]]]:
    """The stages as they were sent; each that is used ends with the step that keeps its result."""
    return {
        stage: [*items, {"name": f"save_pipeline_{stage}", "args": {}}] if items else []
        for stage in STAGES
        for items in [row.stages.get(stage) or []]
    }


@router.v1(routes.ETL_CREATE, cleaning.CreateCleaning)
async def create(call: Call) -> Any:
    row = await operations.create(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return row.public_id


@router.v1(routes.ETL_DETAIL, cleaning.CleaningRef, write=False)
async def detail(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, call.body["etlId"])
    source, target = await operations.names(call.tx, row)
    running = row.status == ETLTaskStatus.Running
    return {
        "id": row.id,
        "taskId": row.public_id,
        "name": row.name,
        "processStatus": row.status,
        "sourceDatasetStrId": source.public_id if source else "",
        "sourceDatasetName": source.name if source else "",
        "destDatasetStrId": target.public_id if target else "",
        "destDatasetName": target.name if target else "",
        "userId": row.owner_id,
        "creatorName": "",
        "entityCount": row.entity_count,
        "entityType": TEXTS,
        "remainingEntity": row.remaining,
        "operationsV2": _asked(row),
        "result": _result(row, stages=True),
        "status": 0,
        "createTime": china(row.created_at),
        "finishTime": china(row.finished_at) if row.finished_at else "",
        "startTime": plain(row.created_at),
        "endTime": plain(row.finished_at) if row.finished_at else "",
        "modifyTime": plain(row.modified_at),
        "etlResult": "",
        "exceptionResult": row.reason,
        "logPath": "",
        "progressDetail": {"pollAfter": POLL_AFTER_S, "done": row.done, "of": row.entity_count}
        if running
        else {},
    }


@router.v1(routes.ETL_LIST, cleaning.ListCleaning, write=False)
async def list_tasks(call: Call) -> Any:
    size = min(call.body.get("pageSize", PAGE), MOST)
    rows, total, running = await operations.page(call.tx, call.owner, call.body.get("offset", 0), size)
    items = []
    for row in rows:
        source, target = await operations.names(call.tx, row)
        items.append(
            {
                "etlId": row.id,
                "etlStrId": row.public_id,
                "name": row.name,
                "startTime": plain(row.created_at),
                "sourceDatasetName": source.name if source else "",
                "destDatasetName": target.name if target else "",
                "operatorNameList": [
                    item["name"] for stage in STAGES for item in row.stages.get(stage) or []
                ],
                "sourceDatasetStrId": source.public_id if source else "",
                "destDatasetStrId": target.public_id if target else "",
                "entityCount": row.entity_count,
                "entityType": TEXTS,
                "result": _result(row, stages=False),
                "processStatus": row.status,
                "status": 0,
                "errCode": 0,
                "errMsg": row.reason,
                "createTime": china(row.created_at),
                "finishTime": china(row.finished_at) if row.finished_at else "0001-01-01T00:00:00Z",
                "modifyTime": china(row.modified_at),
            }
        )
    return {"processingCount": running, "total": total, "items": items}


@router.v1(routes.ETL_DELETE, cleaning.DeleteCleaning)
async def delete(call: Call) -> Any:
    await operations.delete(call.tx, call.owner, call.body["etlIds"])
    return True
