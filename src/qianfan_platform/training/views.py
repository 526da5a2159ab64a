"""What the routes show of a run, in the words of each generation."""

from __future__ import annotations

import math
from typing import Any, Final

from qianfan.contract import lifecycle
from qianfan.contract.enums import TrainDatasetSourceType, TrainDatasetType, TrainMode, TrainStatus
from qianfan.contract.times import plain, zulu
from qianfan_platform.datasets import links
from qianfan_platform.store import utc_now
from qianfan_platform.web import Call, Source

from . import hyper, places
from .hyper import V2_METHODS
from .operations import Look
from .tables import TrainRun, TrainTask

POLL_AFTER_S: Final = 0.3
V2_WORDS: Final = {v1: v2 for v2, v1 in V2_METHODS.items()}
EXAMPLE: Final = ("sample", "question", "wanted", "before", "after")
NEW_WORDS: Final = (0, 4, 3)  # the Python client that knows Failed and Waiting


def progress_detail(look: Look) -> dict[str, Any]:
    """What the run does now, and how it ended, beyond what the cloud tells."""
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
        "happened": run.happened,
        "ledger": live.get("ledger"),
        "report": after_run(run) if over else None,
        "warnings": run.warnings,
        "reason": run.reason,
        "entry": run.entry,
        "hyperParameters": {**hyper.told(run.hyper, run.train_mode, run.peft_type), "seed": run.seed},
        "threads": run.threads,
        "dtype": run.dtype,
        "resumes": run.resumes,
        "startsFrom": look.start.public_id if look.start else None,
    }


def after_run(run: TrainRun) -> dict[str, Any] | None:
    """What a run that is over has done: tokens, steps, how far the losses went, and what it answered to a few
    samples before and after. None: no step was made."""
    live, ledger = run.live, run.live.get("ledger", {})
    first, last = live.get("first_step"), live.get("step")
    if not first or not last:
        return None
    begun, ended = live.get("first_eval", {}), live.get("eval", {})
    before, after = begun.get("loss"), ended.get("loss")
    preferred = {"accuracyBefore": begun.get("accuracy"), "accuracyAfter": ended.get("accuracy")}  # of DPO
    return {
        "steps": last.get("step"),
        "epochs": last.get("epoch"),
        "samples": ledger.get("training"),
        "tokensRead": last.get("tokens"),
        "tokensTrained": round((ledger.get("trained_tokens") or 0) * (last.get("epoch") or 0)),
        "lossFirst": first.get("loss"),
        "lossLast": last.get("loss"),
        "lossChange": _change(first.get("loss"), last.get("loss")),
        "evalLossBefore": before,
        "evalLossAfter": after,
        "evalLossChange": _change(before, after),
        **(preferred if run.train_mode == TrainMode.DPO.value else {}),
        "seconds": last.get("seconds"),
        "examples": [
            {**{name: one.get(name) for name in EXAMPLE}, "heldOut": one.get("held_out")}
            for one in (live.get("finished") or {}).get("examples") or ()
        ],
    }


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(after - before, 6)


def percent(run: TrainRun) -> int:
    """0–100; 100 only when the run is finished."""
    if run.status == TrainStatus.Finish:
        return 100
    step = run.live.get("step", {})
    steps = step.get("steps", 0)
    return min(99, int(100 * step.get("step", 0) / steps)) if steps else 0


def seconds(run: TrainRun) -> int:
    """Wall time since it began to work."""
    if run.started_at is None:
        return 0
    return max(0, int(((run.finished_at or utc_now()) - run.started_at).total_seconds()))


def page_link(call: Call, run: TrainRun) -> str:
    """The page of a run with its curve and its log, good for a day without a signature."""
    return f"{call.base_url}/runs/{run.public_id}?{links.make(call.platform.link_key, run.public_id)}"


def v1(call: Call, look: Look) -> dict[str, Any]:
    """jobDetail."""
    run, task = look.run, look.task
    increment = (
        {"increConfig": {"taskId": look.start.task_id, "jobId": look.start.id}}
        if look.start is not None
        else {}
    )
    return {
        "id": run.id,
        "uuid": run.public_id,
        "description": run.description,
        "taskId": task.id,
        "taskName": task.name,
        "version": run.ordinal,
        "jobRunType": 0 if run.starts_from is None else 1,
        **increment,
        "trainType": run.train_type,
        "baseTrainType": run.base_train_type,
        "trainMode": run.train_mode,
        "peftType": run.peft_type,
        "trainConfig": run.train_config,
        "trainset": [
            {"type": TrainDatasetType.Platform.value, "id": ident, "samplingRate": rate}
            for ident, rate in data(run)
        ],
        "trainsetRate": run.trainset_rate,
        "trainStatus": lifecycle.V1_WORD[TrainStatus(run.status)].value,
        "progress": percent(run),
        "runTime": seconds(run),
        "trainTime": int(run.live.get("step", {}).get("seconds") or 0),
        "startTime": plain(run.started_at),
        "finishTime": plain(run.finished_at),
        "vdlLink": page_link(call, run),
        "progressDetail": progress_detail(look),
    }


def v2(run: TrainRun, task: TrainTask, source: Source) -> dict[str, Any]:
    """An item of DescribeFineTuningTasks, and the beginning of DescribeFineTuningTask."""
    return {
        "taskId": run.public_id,
        "jobId": task.public_id,
        "jobName": task.name,
        "jobDescription": task.description,
        "model": run.train_type,
        "trainMode": run.train_mode,
        "parameterScale": V2_WORDS.get(run.peft_type, run.peft_type),
        "runStatus": v2_word(run, source),
        "createDate": zulu(run.created_at),
        "finishDate": zulu(run.finished_at),
    }


def v2_detail(call: Call, look: Look) -> dict[str, Any]:
    """DescribeFineTuningTask. runProgress is there in every state: 0.3.0 reads it on every look."""
    run = look.run
    start = {"incrementTaskId": look.start.public_id} if look.start is not None else {}
    return {
        **v2(run, look.task, call.source),
        **start,
        "hyperParameterConfig": run.train_config,
        "datasetConfig": {
            "sourceType": TrainDatasetSourceType.Platform.value,
            "versions": [
                {"versionId": look.datasets.get(ident, str(ident)), "samplingRate": rate}
                for ident, rate in data(run)
            ],
            "splitRatio": run.trainset_rate,
        },
        "runProgress": f"{percent(run)}%" if run.status == TrainStatus.Running else "100%",
        "vdlLink": page_link(call, run),
        "checkpointList": checkpoints(run),
        "progressDetail": progress_detail(look),
    }


def data(run: TrainRun) -> list[tuple[int, float]]:
    """The datasets of a run by number, and how much of each it draws."""
    return list(zip(run.trainset, run.rates or [1.0] * len(run.trainset), strict=True))


def checkpoints(run: TrainRun) -> list[dict[str, Any]]:
    """The weights of a finished run that can be published or trained further: its end, and what it kept before.

    perplexity: of the held-out part where there is one, else of the step; a preference has none."""
    done = run.live.get("finished")
    if run.status != TrainStatus.Finish or not done:
        return []
    found = []
    for step in places.steps_of(run) or [done.get("step")]:
        at_end = step == done.get("step")
        loss = (done if at_end else run.live.get("checkpoints", {}).get(str(step), {})).get("loss")
        held_out = done.get("eval_loss") if at_end else None
        measured = loss if held_out is None else held_out
        speaks = measured is not None and run.train_mode != TrainMode.DPO.value
        perplexity = round(math.exp(min(measured, 700)), 4) if speaks else None
        found.append({"step": step, "trainingLoss": loss, "perplexity": perplexity})
    return found


def v2_word(run: TrainRun, source: Source) -> str:
    """The state in the words this client knows: Fail and Running before Python's 0.4.3, Failed and Waiting since.

    Whoever does not say who it is gets the documented words, the older ones."""
    new = bool(source.language) and (source.language != "python" or source.version >= NEW_WORDS)
    if run.status == TrainStatus.Fail:
        return "Failed" if new else "Fail"
    return "Waiting" if new and run.status == TrainStatus.Running and run.phase == "waiting" else run.status
