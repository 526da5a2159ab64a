"""The fine-tuning interface of the first generation: the container is a task, the run a job."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import bodies, errors, routes
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainDatasetType
from qianfan.contract.errors import Fault
from qianfan.contract.times import plain
from qianfan_platform.datasets.pinned import InBucket
from qianfan_platform.web import Call, Router

from . import creation, keys, operations, views
from .creation import Order
from .increments import From

# Names are matched in any case: the documentation itself spells some of them in two ways.
MEMBERS: Final = (
    "taskId",
    "jobId",
    "name",
    "description",
    "baseTrainType",
    "trainType",
    "trainMode",
    "peftType",
    "trainConfig",
    "trainset",
    "trainsetRate",
    "jobRunType",
    "increConfig",
    "type",
    "id",
    "bosPath",
    "versionBosUri",
    *keys.BY_NAME,
)
router = Router(aliases={name.lower(): name for name in MEMBERS})


@router.v1(routes.FINETUNE_CREATE_TASK, bodies.CreateTask)
async def create_task(call: Call) -> Any:
    body = call.body
    task = await creation.create_task(
        call.tx,
        call.owner,
        name=body["name"],
        description=body.get("description", ""),
        base_train_type=body.get("baseTrainType", ""),
        train_type=body.get("trainType", ""),
    )
    return {
        "id": task.id,
        "uuid": task.public_id,
        "name": task.name,
        "description": task.description,
        "createTime": plain(task.created_at),
    }


@router.v1(routes.FINETUNE_CREATE_JOB, bodies.CreateRun)
async def create_job(call: Call) -> Any:
    body = call.body
    order = Order(
        task=await operations.task(call.tx, call.owner, body["taskId"], lock=True),
        sets=[_dataset(item) for item in body["trainset"]],
        train_type=body.get("trainType"),
        base_train_type=body.get("baseTrainType"),
        mode=body.get("trainMode"),
        method=body.get("peftType"),
        config=body.get("trainConfig", {}),
        held_out=body.get("trainsetRate", creation.DEFAULT_HELD_OUT),
        description=body.get("description", ""),
        start=await _start(call),
        notes=_notes(body),
    )
    run = await creation.create_run(call.platform, call.tx, call.owner, order)
    return {"id": run.id, "uuid": run.public_id}


def _dataset(item: dict[str, Any]) -> tuple[Id | InBucket, float]:
    rate, path = item.get("samplingRate", 1.0), item.get("bosPath") or item.get("versionBosUri")
    if item.get("type", 1) == TrainDatasetType.PrivateBos.value and path:
        return InBucket(path), rate
    if item.get("type", 1) != TrainDatasetType.Platform.value or "id" not in item:
        raise Fault(
            errors.BAD_DATASET,
            "a training set names no data",
            "send {'type': 1, 'id': …} for a dataset, or {'type': 2, 'bosPath': 'bos:/bucket/folder'}",
        )
    return item["id"], rate


def _notes(body: dict[str, Any]) -> list[str]:
    if body.get("increConfig") and body.get("jobRunType", 0) != 1:
        return ["increConfig has no effect: only jobRunType 1 trains a run further; this one begins anew"]
    return []


async def _start(call: Call) -> From | None:
    """The run that this one trains further: jobRunType 1 with increConfig."""
    config = call.body.get("increConfig")
    if call.body.get("jobRunType", 0) != 1:
        return None
    if not config or "jobId" not in config:
        raise Fault(
            errors.NO_INCREMENT,
            "jobRunType 1 names no run to train further",
            "send increConfig {taskId, jobId}",
        )
    run = await operations.run_of(call.tx, call.owner, config.get("taskId"), config["jobId"])
    return From(run.id)


@router.v1(routes.FINETUNE_JOB_DETAIL, bodies.RunRef, write=False)
async def job_detail(call: Call) -> Any:
    look = await operations.look(call.tx, call.owner, call.body.get("taskId"), call.body.get("jobId"))
    return views.v1(call, look)


@router.v1(routes.FINETUNE_STOP_JOB, bodies.RunRef)
async def stop_job(call: Call) -> Any:
    await operations.stop(call.tx, call.owner, call.body.get("taskId"), call.body.get("jobId"))
    return True
