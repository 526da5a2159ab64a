"""The fine-tuning interface, V1 and V2: two views of the same containers and runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qianfan.contract import bodies, lifecycle, routes
from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.times import plain, zulu
from qianfan.contract.train_types import table as train_types
from qianfan_platform.store import utc_now
from qianfan_platform.training.words import in_words
from qianfan_platform.web import Call, Router, Source

from . import operations
from .hyper import V2_METHODS
from .tables import TrainRun, TrainTask

router = Router(
    aliases={
        "baseTraintype": "baseTrainType",
        "traintype": "trainType",
        "pefttype": "peftType",
        "trainmode": "trainMode",
        "maker": "marker",
        "trainModel": "trainMode",
    }
)

POLL_AFTER_S = 0.3
V2_WORDS = {v1: v2 for v2, v1 in V2_METHODS.items()}


def progress_detail(look: operations.Look) -> dict[str, Any]:
    """What the run does now, beyond what the cloud tells."""
    run, live = look.run, look.run.live
    step, plan, done = live.get("step", {}), live.get("plan", {}), live.get("finished", {})
    over = run.status != TrainStatus.Running
    return {
        "pollAfter": POLL_AFTER_S,
        "phase": run.phase,
        "note": live.get("note", "") if run.phase == "preparing" else "",
        "waiting": look.waiting,
        "step": step.get("step", 0),
        "steps": step.get("steps") or plan.get("steps", 0),
        "epoch": step.get("epoch", 0.0),
        "loss": step.get("loss"),
        "evalLoss": live.get("eval", {}).get("loss"),
        "learningRate": step.get("learning_rate"),
        "tokensPerSecond": done.get("tokens_per_second") if over else step.get("tokens_per_second"),
        "secondsLeft": 0.0 if over else step.get("seconds_left"),
        "seconds": done.get("seconds") or step.get("seconds"),
        "memoryMiB": step.get("memory_mib", 0),
        "estimate": plan.get("estimate"),
        "ledger": live.get("ledger"),
        "warnings": run.warnings,
        "reason": run.reason,
        "entry": run.entry,
    }


def percent(run: TrainRun) -> int:
    """0–100; 100 only when the run is finished."""
    if run.status == TrainStatus.Finish:
        return 100
    step = run.live.get("step", {})
    steps = step.get("steps", 0)
    return min(99, int(100 * step.get("step", 0) / steps)) if steps else 0


def _seconds(run: TrainRun) -> int:
    if run.started_at is None:
        return 0
    return max(0, int(((run.finished_at or utc_now()) - run.started_at).total_seconds()))


@router.v1(routes.FINETUNE_CREATE_TASK, bodies.CreateTask)
async def create_task(call: Call) -> Any:
    task = await operations.create_task(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {
        "id": task.id,
        "uuid": task.public_id,
        "name": task.name,
        "description": task.description,
        "createTime": plain(task.created_at),
    }


@router.v1(routes.FINETUNE_CREATE_JOB, bodies.CreateRun)
async def create_job(call: Call) -> Any:
    run = await operations.create_run(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"id": run.id, "uuid": run.public_id}


@router.v1(routes.FINETUNE_JOB_DETAIL, bodies.RunRef, write=False)
async def job_detail(call: Call) -> Any:
    look = await operations.look(call.tx, call.owner, call.body.get("taskId"), call.body.get("jobId"))
    run, task = look.run, look.task
    return {
        "id": run.id,
        "uuid": run.public_id,
        "description": run.description,
        "taskId": task.id,
        "taskName": task.name,
        "version": run.ordinal,
        "jobRunType": 0,
        "trainType": run.train_type,
        "baseTrainType": run.base_train_type,
        "trainMode": run.train_mode,
        "peftType": run.peft_type,
        "trainStatus": lifecycle.V1_WORD[TrainStatus(run.status)].value,
        "progress": percent(run),
        "runTime": _seconds(run),
        "trainTime": int(run.live.get("step", {}).get("seconds") or 0),
        "startTime": plain(run.started_at),
        "finishTime": plain(run.finished_at),
        "vdlLink": f"{call.base_url}/runs/{run.public_id}",
        "progressDetail": progress_detail(look),
    }


@router.v1(routes.FINETUNE_STOP_JOB, bodies.RunRef)
async def stop_job(call: Call) -> Any:
    await operations.stop(call.tx, call.owner, call.body.get("taskId"), call.body.get("jobId"))
    return True


@router.v2(routes.FINETUNE_V2_CREATE_JOB, bodies.V2CreateJob)
async def v2_create_job(call: Call) -> Any:
    body = call.body
    task = await operations.create_task(
        call.tx,
        call.owner,
        {"name": body["name"], "description": body.get("description", ""), "trainType": body["model"]},
    )
    task.train_mode = body["trainMode"]
    return {"jobId": task.public_id}


@router.v2(routes.FINETUNE_V2_CREATE_TASK, bodies.V2CreateTask)
async def v2_create_task(call: Call) -> Any:
    body = call.body
    data = body["datasetConfig"]
    if data["sourceType"] != "Platform" or any("versionId" not in item for item in data["versions"]):
        raise Fault(
            CONSOLE_PARAMETER,
            "param[datasetConfig.sourceType] invalid: this platform has no object store connected",
            "import the data into a dataset and send sourceType Platform with versionId",
        )
    task = await operations.task(call.tx, call.owner, body["jobId"])
    run = await operations.create_run(
        call.platform,
        call.tx,
        call.owner,
        {
            "taskId": task.id,
            "peftType": body.get("parameterScale", "LoRA"),
            "trainConfig": body.get("hyperParameterConfig", {}),
            "trainset": [{"type": 1, "id": item["versionId"]} for item in data["versions"]],
            "trainsetRate": data.get("splitRatio", operations.DEFAULT_HELD_OUT),
            "jobRunType": 1 if body.get("incrementTaskId") else 0,
        },
    )
    return {"jobId": task.public_id, "taskId": run.public_id}


def _v2_word(run: TrainRun, source: Source) -> str:
    """Python clients before 0.4.3 know `Fail`; all others of that time and later know `Failed`."""
    if run.status != TrainStatus.Fail:
        return run.status
    old = not source.language or (source.language == "python" and source.version < (0, 4, 3))
    return "Fail" if old else "Failed"


def _v2_view(run: TrainRun, task: TrainTask, source: Source) -> dict[str, Any]:
    return {
        "taskId": run.public_id,
        "jobId": task.public_id,
        "jobName": task.name,
        "jobDescription": task.description,
        "model": run.train_type,
        "trainMode": run.train_mode,
        "parameterScale": V2_WORDS.get(run.peft_type, run.peft_type),
        "runStatus": _v2_word(run, source),
        "createDate": zulu(run.created_at),
        "finishDate": zulu(run.finished_at),
    }


@router.v2(routes.FINETUNE_V2_TASK_DETAIL, bodies.V2TaskRef, write=False)
async def v2_task_detail(call: Call) -> Any:
    look = await operations.look(call.tx, call.owner, call.body["taskId"])
    return {
        **_v2_view(look.run, look.task, call.source),
        "runProgress": f"{percent(look.run)}%" if look.run.status == TrainStatus.Running else "100%",
        "vdlLink": f"{call.base_url}/runs/{look.run.public_id}",
        "progressDetail": progress_detail(look),
    }


@router.v2(routes.FINETUNE_V2_STOP_TASK, bodies.V2TaskRef)
async def v2_stop_task(call: Call) -> Any:
    run = await operations.run_of(call.tx, call.owner, call.body["taskId"])
    if run.status != TrainStatus.Running:
        return False
    await operations.stop(call.tx, call.owner, run.id)
    return True


def _page(call: Call) -> tuple[str | None, int, bool]:
    return call.body.get("marker"), min(call.body.get("maxKeys", 10), 100), bool(call.body.get("pageReverse"))


def _page_info(call: Call, following: str | None) -> dict[str, Any]:
    marker, size, _ = _page(call)
    info: dict[str, Any] = {"marker": marker or "", "maxKeys": size, "isTruncated": following is not None}
    return {**info, "nextMarker": following} if following else info


@router.v2(routes.FINETUNE_V2_JOB_LIST, bodies.V2Page, write=False)
async def v2_job_list(call: Call) -> Any:
    marker, size, oldest_first = _page(call)
    tasks, following = await operations.page(
        call.tx, call.owner, TrainTask, marker, size, oldest_first, mode=call.body.get("trainMode")
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
async def v2_task_list(call: Call) -> Any:
    marker, size, oldest_first = _page(call)
    if "jobId" not in call.body:
        raise Fault(CONSOLE_PARAMETER, "param[jobId] invalid: it is missing", "send the id of the job")
    task = await operations.task(call.tx, call.owner, call.body["jobId"])
    runs, following = await operations.page(
        call.tx, call.owner, TrainRun, marker, size, oldest_first, task_id=task.id
    )
    return {
        "taskList": [_v2_view(run, task, call.source) for run in runs],
        "pageInfo": _page_info(call, following),
    }


@router.v2(routes.FINETUNE_V2_TASK_LOG, bodies.V2TaskRef, write=False)
async def v2_task_log(call: Call) -> Any:
    """Of this platform only: the log and the metrics of a run after line `after`."""
    after = call.body.get("after", 0)
    run = await operations.run_of(call.tx, call.owner, call.body["taskId"])
    report = await operations.report(call.tx, call.owner, run.id, after)
    told = [(line, *in_words(line.event)) for line in report]
    lines = [{"n": line.n, "time": zulu(line.at), "level": level, "text": text} for line, level, text in told]
    return {
        "taskId": run.public_id,
        "runStatus": run.status,
        "lines": lines,
        "metrics": _metrics(line.event for line in report),
        "ledger": run.live.get("ledger"),
        "next": report[-1].n if report else after,
    }


def _metrics(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps and evaluations once each: after a crash those since the last checkpoint are told again."""
    found = {
        (event["kind"], event.get("step")): event
        for event in events
        if event.get("kind") in ("step", "eval", "finished")
    }
    return list(found.values())


_KEYS: dict[str, tuple[str, str]] = {
    "epoch": ("int", "passes over the data"),
    "batchSize": ("int", "samples a step"),
    "learningRate": ("float", "highest learning rate"),
    "maxSeqLen": ("int", "longest sample, tokens"),
    "warmupRatio": ("float", "share of the steps in which the learning rate rises"),
    "weightDecay": ("float", "weight decay"),
    "loraRank": ("int", "rank of the adapter"),
    "loraAlpha": ("int", "scale of the adapter"),
    "loraDropout": ("float", "dropout of the adapter"),
}
_DEFAULTS: dict[str, Any] = {
    "epoch": 3, "batchSize": 8, "learningRate": 1e-3, "maxSeqLen": 512, "warmupRatio": 0.05,
    "weightDecay": 0.0, "loraRank": 16, "loraAlpha": 32, "loraDropout": 0.0,
}  # fmt: skip
_RANGES: dict[str, list[float]] = {
    "epoch": [1, 1000], "batchSize": [1, 512], "learningRate": [1e-12, 1.0], "maxSeqLen": [16, 1048576],
    "warmupRatio": [0, 0.9], "weightDecay": [0, 1], "loraRank": [1, 512], "loraAlpha": [1, 4096],
    "loraDropout": [0, 0.9],
}  # fmt: skip


@router.v2(routes.FINETUNE_V2_SUPPORT_MODELS, bodies.Empty, write=False)
async def v2_supported_models(call: Call) -> Any:
    """Every train type, with what this platform's trainer takes."""
    answer = []
    for row in train_types().values():
        if call.platform.catalogue.trains(row.name) is None:
            continue
        scales = []
        for method in row.peft:
            if method == "P-tuning":
                continue
            keys = [key for key in _KEYS if method == "LoRA" or not key.startswith("lora")]
            scales.append(
                {
                    "parameterScale": V2_WORDS[method],
                    "supportHyperParameterConfig": [
                        {
                            "key": key,
                            "name": key,
                            "type": _KEYS[key][0],
                            "description": _KEYS[key][1],
                            "checkType": "range",
                            "checkValue": _RANGES[key],
                            "default": row.defaults.get(key, _DEFAULTS[key]),
                        }
                        for key in keys
                    ],
                }
            )
        answer.append(
            {
                "model": row.name,
                "baseModel": row.base,
                "modelType": "text2text",
                "supportTrainMode": [{"trainMode": "SFT", "supportParameterScale": scales}],
            }
        )
    return answer
