"""Batch inference of V2: HTTP in, HTTP out."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import batch, routes
from qianfan.contract.enums import BatchInferenceStatus
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.times import zulu
from qianfan_platform.datasets import links
from qianfan_platform.datasets.operations import LOCAL_PREFIX
from qianfan_platform.models import presets
from qianfan_platform.models.tables import ModelVersion
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import operations
from .tables import BatchTask

router = Router(aliases={"maker": "marker"})
PAGE: Final = 10
POLL_AFTER_S: Final = 0.3
_BUSY: Final = (BatchInferenceStatus.Running, BatchInferenceStatus.Stopping)


@router.v2(routes.BATCH_CREATE, batch.CreateBatchInference)
async def create(call: Call) -> Any:
    row = await operations.create(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"taskId": row.public_id}


@router.v2(routes.BATCH_DETAIL, batch.BatchInferenceRef, write=False)
async def describe(call: Call) -> Any:
    return await view(call, await operations.get(call.tx, call.owner, call.body["taskId"]))


@router.v2(routes.BATCH_LIST, batch.ListBatchInference, write=False)
async def describe_all(call: Call) -> Any:
    """The account's tasks, newest first."""
    body = call.body
    asked = body.get("runStatus") or []
    states = [asked] if isinstance(asked, str) else list(asked)
    known = [state.value for state in BatchInferenceStatus]
    for state in states:
        if state not in known:
            raise Fault(
                CONSOLE_PARAMETER,
                f"param[runStatus] invalid: {state[:40]!r}",
                f"use some of {', '.join(known)}",
            )
    size, marker = body.get("maxKeys", PAGE), body.get("marker")
    rows, following = await operations.page(
        call.tx, call.owner, marker, size, bool(body.get("pageReverse")), states
    )
    return {
        "taskList": [await view(call, row) for row in rows],
        "pageInfo": page_info(marker, size, following),
    }


@router.v2(routes.BATCH_STOP, batch.BatchInferenceRef)
async def stop(call: Call) -> Any:
    await operations.stop(call.tx, call.owner, call.body["taskId"])
    return True


async def view(call: Call, row: BatchTask) -> dict[str, Any]:
    """A task. total, done, failed, outputFile, downloadUrl and reason are of this platform."""
    done = await operations.done(call.tx, row)
    busy = row.status in _BUSY
    output: dict[str, Any] = {"outputDir": "", "outputFile": "", "downloadUrl": ""}
    if row.output_file is not None:
        link = links.make(call.platform.link_key, row.output_file)
        folder = f"{row.output_path.rstrip('/')}/{row.public_id}"
        path = f"{LOCAL_PREFIX}{row.output_file}"
        output = {
            "outputDir": path if operations.stays_here(row.output_path) else folder,
            "outputFile": path,
            "downloadUrl": f"{call.base_url}/v2/files/{row.output_file}?{link}",
        }
    return {
        "taskId": row.public_id,
        "name": row.name,
        "description": row.description,
        "modelId": await _version(call, row),
        "endpoint": row.endpoint,
        "modelName": row.model_name,
        "runStatus": row.status,
        "inferenceParams": row.params,
        "inputBosUri": row.input_path,
        "outputBosUri": row.output_path,
        **output,
        "progress": int(100 * done / row.total) if row.total else 0,
        "total": row.total,
        "done": done,
        "failed": row.total - row.answered if row.output_file else 0,
        "reason": row.reason,
        "createTime": zulu(row.created_at),
        "finishTime": zulu(row.finished_at) if row.finished_at else "",
        "progressDetail": {"done": done, "total": row.total, **({"pollAfter": POLL_AFTER_S} if busy else {})},
    }


async def _version(call: Call, row: BatchTask) -> str:
    if row.version_id is None:
        return ""
    preset = presets.find(call.platform.catalogue, row.version_id)
    if preset is not None:
        return preset.version_public_id
    version = await call.tx.maybe(ModelVersion, ModelVersion.id == row.version_id)
    return version.public_id if version else ""
