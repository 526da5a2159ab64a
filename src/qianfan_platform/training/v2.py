"""The fine-tuning interface of the second generation: the container is a job, the run a task."""

from __future__ import annotations

from typing import Any

from qianfan.contract import bodies, routes, train_types
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainDatasetSourceType, TrainMode, TrainStatus
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.times import zulu
from qianfan_platform.datasets.pinned import InBucket
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import creation, deletion, hyper, operations, supported, views
from .creation import Order
from .increments import From
from .tables import TrainRun, TrainTask

router = Router(aliases={"maker": "marker", "trainModel": "trainMode"})
MOST_KEYS = 100  # of a page; more is treated as this
# What the cloud has and this platform has not, and what that means here.
NO_CORPUS = "corpusConfig is kept, and has no effect: this platform has no corpus to mix in, only your data"
NO_RESOURCES = "resourceConfig has no effect: runs share this machine, one after another"
NO_MODEL = "modelConfig has no effect: the job names the model that is trained"


@router.v2(routes.FINETUNE_V2_CREATE_JOB, bodies.V2CreateJob)
async def create_job(call: Call) -> Any:
    body = call.body
    mode = hyper.mode_of(body["trainMode"])
    config, method = body.get("hyperParameterConfig"), body.get("parameterScale")
    creation.check_preset(call.platform, body["model"], mode, method, config)
    task = await creation.create_task(
        call.tx,
        call.owner,
        name=body["name"],
        description=body.get("description", ""),
        train_type=body["model"],
        train_mode=mode.value,
        preset={"method": method, "config": config or {}} if method or config else None,
    )
    return {"jobId": task.public_id}


@router.v2(routes.FINETUNE_V2_CREATE_TASK, bodies.V2CreateTask)
async def create_task(call: Call) -> Any:
    body = call.body
    data = body["datasetConfig"]
    task = await operations.task(call.tx, call.owner, body["jobId"], lock=True)
    start, step = body.get("incrementTaskId"), body.get("incrementCheckpointStep")
    if step is not None and not start:
        raise Fault(
            CONSOLE_PARAMETER,
            "param[incrementCheckpointStep] invalid: it is a checkpoint of no run",
            "send incrementTaskId as well, or leave both out",
        )
    corpus = body.get("corpusConfig") or data.get("corpusProportion")
    hyper.must_be_small(corpus, "corpusConfig")
    without = (
        (NO_CORPUS, corpus),
        (NO_RESOURCES, body.get("resourceConfig")),
        (NO_MODEL, body.get("modelConfig")),
    )
    order = Order(
        task=task,
        sets=[_dataset(data["sourceType"], item) for item in data["versions"]],
        method=body.get("parameterScale"),
        config=body.get("hyperParameterConfig", {}),
        held_out=data.get("splitRatio", creation.DEFAULT_HELD_OUT),
        start=From(start, step) if start else None,
        corpus=corpus,
        notes=[note for note, said in without if said],
        v2=True,
    )
    run = await creation.create_run(call.platform, call.tx, call.owner, order)
    return {"jobId": task.public_id, "taskId": run.public_id}


def _dataset(source: str, item: dict[str, Any]) -> tuple[Id | InBucket, float]:
    rate = item.get("samplingRate", 1.0)
    if source == TrainDatasetSourceType.PrivateBos.value and item.get("versionBosUri"):
        return InBucket(item["versionBosUri"]), rate
    if source != TrainDatasetSourceType.Platform.value or "versionId" not in item:
        raise Fault(
            CONSOLE_PARAMETER,
            f"param[datasetConfig.versions] invalid: an item does not fit sourceType {source}",
            "send sourceType Platform with versionId, or Bos with versionBosUri",
        )
    return item["versionId"], rate


@router.v2(routes.FINETUNE_V2_TASK_DETAIL, bodies.V2TaskRef, write=False)
async def task_detail(call: Call) -> Any:
    return views.v2_detail(call, await operations.look(call.tx, call.owner, call.body["taskId"]))


@router.v2(routes.FINETUNE_V2_STOP_TASK, bodies.V2TaskRef)
async def stop_task(call: Call) -> Any:
    """False for a run that is over already."""
    run = await operations.run_of(call.tx, call.owner, call.body["taskId"])
    if run.status != TrainStatus.Running:
        return False
    await operations.stop(call.tx, call.owner, run.id)
    return True


@router.v2(routes.FINETUNE_V2_DELETE_TASK, bodies.V2TaskRef)
async def delete_task(call: Call) -> Any:
    await deletion.delete_run(call.platform, call.tx, call.owner, call.body["taskId"])
    return True


@router.v2(routes.FINETUNE_V2_DELETE_JOB, bodies.V2JobRef)
async def delete_job(call: Call) -> Any:
    await deletion.delete_task(call.platform, call.tx, call.owner, call.body["jobId"])
    return True


def _page(call: Call) -> tuple[Id | None, int, bool]:
    body = call.body
    return body.get("marker"), min(body.get("maxKeys", 10), MOST_KEYS), bool(body.get("pageReverse"))


def _page_info(call: Call, following: str | None) -> dict[str, Any]:
    marker, size, _ = _page(call)
    return page_info(marker, size, following)


def _filter(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Mode and model to filter by. Clients call the mode trainModel, so that some send a model by that name."""
    word, model = body.get("trainMode"), body.get("model")
    if not word:
        return None, model
    try:
        return TrainMode(word).value, model
    except ValueError:
        if model is None and train_types.find(word) is not None:
            return None, word
        return word, model  # a mode that nobody trains here fits nothing


@router.v2(routes.FINETUNE_V2_JOB_LIST, bodies.V2Page, write=False)
async def job_list(call: Call) -> Any:
    mode, model = _filter(call.body)
    tasks, following = await operations.page(
        call.tx, call.owner, TrainTask, *_page(call), train_mode=mode, train_type=model
    )
    rows = [
        {
            "jobId": task.public_id,
            "name": task.name,
            "description": task.description,
            "model": task.train_type,
            "trainMode": task.train_mode,
            "createDate": zulu(task.created_at),
        }
        for task in tasks
    ]
    return {"jobList": rows, "pageInfo": _page_info(call, following)}


@router.v2(routes.FINETUNE_V2_TASK_LIST, bodies.V2Page, write=False)
async def task_list(call: Call) -> Any:
    if "jobId" not in call.body:
        raise Fault(CONSOLE_PARAMETER, "param[jobId] invalid: it is missing", "send the id of the job")
    task = await operations.task(call.tx, call.owner, call.body["jobId"])
    runs, following = await operations.page(call.tx, call.owner, TrainRun, *_page(call), task_id=task.id)
    return {
        "taskList": [views.v2(run, task, call.source) for run in runs],
        "pageInfo": _page_info(call, following),
    }


@router.v2(routes.FINETUNE_V2_SUPPORT_MODELS, bodies.Empty, write=False)
async def supported_models(call: Call) -> Any:
    """Every train type, with what this platform's trainer takes."""
    return supported.models(call.platform.catalogue)
