"""What can be done with fine-tuning: make a container, start a run, look at it, stop it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from qianfan.contract import errors, train_types
from qianfan.contract.bodies import CreateRun, CreateTask, Id
from qianfan.contract.enums import TrainMode, TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import TRAIN_RUN
from qianfan_platform import jobs
from qianfan_platform.catalogue.catalogue import Trained
from qianfan_platform.datasets import operations as datasets
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now
from qianfan_platform.trainers.run import missing

from . import hyper
from .tables import TrainLine, TrainRun, TrainTask

DEFAULT_HELD_OUT: Final = 20  # percent, as documented
SEED: Final = 7


async def create_task(tx: Tx, owner: int, spec: CreateTask) -> TrainTask:
    """A container for runs. Names may repeat: published clients make random ones, people do not."""
    return await tx.add(
        TrainTask(
            owner_id=owner,
            name=spec["name"],
            description=spec.get("description", ""),
            base_train_type=spec.get("baseTrainType", ""),
            train_type=spec.get("trainType", ""),
        )
    )


async def task(tx: Tx, owner: int, ident: Id) -> TrainTask:
    """The container, by either id."""
    return await tx.one(TrainTask, ident, owner=owner, missing=errors.TASK_NOT_FOUND, noun="training task")


async def run_of(tx: Tx, owner: int, *idents: Id | None) -> TrainRun:
    """The run that the ids name. Clients of some generations swap container and run: a `task-` id in any
    position wins; otherwise the last id given is the run's."""
    given = [ident for ident in idents if ident is not None]
    for ident in given:
        if isinstance(ident, str) and ident.startswith("task-"):
            return await _run(tx, owner, ident)
    if not given:
        raise Fault(errors.RUN_NOT_FOUND, "no id of a run was given", "send jobId")
    return await _run(tx, owner, given[-1])


async def _run(tx: Tx, owner: int, ident: Id) -> TrainRun:
    return await tx.one(TrainRun, ident, owner=owner, missing=errors.RUN_NOT_FOUND, noun="training run")


def _train_type(platform: Platform, name: str) -> tuple[train_types.TrainType, Trained]:
    """What was asked for, and what trains for it here. An operator's own entry is a train type as well."""
    trained = platform.catalogue.trains(name)
    row = train_types.find(name)
    if row is None and trained is not None:
        row = train_types.TrainType(name, trained.entry.name, ("ALL", "LoRA"), {"peftType": "LoRA"})
    if row is None or trained is None:
        known = ", ".join(sorted(train_types.table()))
        raise Fault(errors.BAD_TRAIN_CONFIG, f"train type {name!r} is unknown here", f"known are: {known}")
    return row, trained


async def create_run(platform: Platform, tx: Tx, owner: int, spec: CreateRun) -> TrainRun:
    """Check everything that can be checked now, then enqueue the run. All refusals come from here."""
    container = await task(tx, owner, spec["taskId"])
    name = spec.get("trainType") or container.train_type
    if not name:
        raise Fault(errors.BAD_TRAIN_CONFIG, "no trainType was given", "send the trainType of the run")
    train_type, trained = _train_type(platform, name)
    mode = spec.get("trainMode", container.train_mode)
    if mode != TrainMode.SFT.value:
        raise Fault(errors.BAD_TRAIN_CONFIG, f"trainMode {mode!r} is not built yet", "use SFT")
    if spec.get("jobRunType", 0) == 1:
        raise Fault(errors.NO_INCREMENT, "incremental training is not built yet", "send jobRunType 0")
    absent = missing()
    if absent:
        raise Fault(
            errors.MISSING_EXTRA, f"this server cannot train: {absent}", "pip install 'open-qianfan[train]'"
        )

    sets = [await _trainset(tx, owner, dict(item)) for item in spec["trainset"]]
    records = sum(dataset.entity_count for dataset in sets)
    plan = hyper.resolve(
        train_type,
        spec.get("peftType"),
        spec.get("trainConfig", {}),
        context=trained.entry.context,
        records=records,
    )
    warnings = list(plan.warnings)
    if trained.stand_in:
        warnings.insert(0, trained.note)
    if records < datasets.FEW_RECORDS:
        warnings.append(f"{records} records are few; the cloud asks for at least {datasets.FEW_RECORDS}")

    held_out = round(spec.get("trainsetRate", DEFAULT_HELD_OUT))
    dataset_ids = [dataset.id for dataset in sets]
    fingerprint = _fingerprint(name, plan, dataset_ids, held_out, trained.entry.name)
    before = await _stopped_before(tx, container, fingerprint)
    if before:
        warnings.append(f"goes on from the last checkpoint of run {before.ordinal} of this task")
    run = await tx.add(
        TrainRun(
            owner_id=owner,
            task_id=container.id,
            ordinal=1 + await tx.count(TrainRun, TrainRun.task_id == container.id),
            description=spec.get("description", ""),
            base_train_type=spec.get("baseTrainType") or container.base_train_type or train_type.base,
            train_type=name,
            train_mode=mode,
            peft_type=plan.method,
            train_config=spec.get("trainConfig", {}),
            trainset=dataset_ids,
            trainset_rate=held_out,
            entry=trained.entry.name,
            hyper=hyper.as_json(plan.hyper),
            checkpoint_steps=plan.checkpoint_steps,
            seed=before.seed if before else SEED,
            threads=before.threads if before else _threads(platform),
            dtype=before.dtype if before else _dtype(trained.entry.dtype),
            fingerprint=fingerprint,
            resumes=before.id if before else None,
            warnings=warnings,
            live={},
        )
    )
    queued = await jobs.enqueue(tx, "training.run", owner=owner, args={"run_id": run.id}, slot="train")
    run.job_id = queued.id
    return run


async def _trainset(tx: Tx, owner: int, item: dict[str, Any]) -> Any:
    if item.get("type", 1) != 1 or "id" not in item:
        raise Fault(
            errors.BAD_DATASET,
            "a training set of type 2 lies in an object store, and this platform has none connected",
            "import the data into a dataset and send {'type': 1, 'id': …}",
        )
    return await datasets.trainable(tx, owner, item["id"])


def _threads(platform: Platform) -> int:
    """Cores for one trainer: one fewer while an engine is loaded, since the two slow each other down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - (1 if platform.fleet.loaded else 0))


def _dtype(packed: str) -> str:
    """What a run computes in: bfloat16, which is fastest on current CPUs, unless the model is kept exact."""
    return "float32" if packed == "f32" else "bfloat16"


def _fingerprint(name: str, plan: hyper.Plan, dataset_ids: Sequence[int], held_out: int, entry: str) -> str:
    said = orjson.dumps([name, plan.method, hyper.as_json(plan.hyper), list(dataset_ids), held_out, entry])
    return hashlib.sha256(said).hexdigest()


async def _stopped_before(tx: Tx, container: TrainTask, fingerprint: str) -> TrainRun | None:
    """The newest run of this container, if it was the same run and was stopped or failed."""
    newest = await tx.find(
        TrainRun, TrainRun.task_id == container.id, order_by=TrainRun.ordinal.desc(), limit=1
    )
    for run in newest:
        if run.fingerprint == fingerprint and run.status in (TrainStatus.Stop.value, TrainStatus.Fail.value):
            return run
    return None


async def stop(tx: Tx, owner: int, *idents: Id | None) -> TrainRun:
    """Stop a run for good: its trainer ends within seconds, its last checkpoint stays."""
    run = await run_of(tx, owner, *idents)
    if TRAIN_RUN.is_final(TrainStatus(run.status)):
        raise Fault(
            errors.RUN_STATE,
            f"training run {run.id} has already ended as {run.status}",
            "nothing is left to stop",
        )
    await tx.move(
        run, TRAIN_RUN, TrainStatus.Stop, reason="stopped by the user", phase="done", finished_at=utc_now()
    )
    if run.job_id is not None:
        await jobs.cancel(tx, run.job_id)
    return run


@dataclass(frozen=True)
class Look:
    """A run with what surrounds it, as the detail routes show it."""

    run: TrainRun
    task: TrainTask
    waiting: dict[str, Any] | None


async def look(tx: Tx, owner: int, *idents: Id | None) -> Look:
    """Everything the detail routes show of a run."""
    run = await run_of(tx, owner, *idents)
    container = await tx.one(TrainTask, run.task_id, owner=owner, noun="training task")
    waiting = None
    if run.phase == "waiting" and run.job_id is not None and run.status == TrainStatus.Running:
        place = await jobs.waiting(tx, run.job_id)
        waiting = dict(place) if place else None
    return Look(run, container, waiting)


async def report(tx: Tx, owner: int, ident: Id, after: int, limit: int = 2000) -> list[TrainLine]:
    """Lines of a run's report with n > after, oldest first, at most `limit`."""
    run = await _run(tx, owner, ident)
    return await tx.find(
        TrainLine, TrainLine.run_id == run.id, TrainLine.n > after, order_by=TrainLine.n, limit=limit
    )


async def finished(tx: Tx, run_id: int) -> TrainRun:
    """The run, for rooms to the right: they decide by its status."""
    return await tx.one(TrainRun, run_id, noun="training run")


async def page(
    tx: Tx,
    owner: int,
    table: Any,
    marker: str | None,
    size: int,
    oldest_first: bool,
    *,
    mode: str | None = None,
    task_id: int | None = None,
) -> tuple[list[Any], str | None]:
    """One page of containers or runs, newest first, and the marker of the next page.

    A marker is the id of the first item of its page."""
    where = []
    if mode:
        where.append(table.train_mode == mode)
    if task_id is not None:
        where.append(table.task_id == task_id)
    if marker:
        first = await tx.one(table, marker, owner=owner, noun="marker")
        where.append(table.id >= first.id if oldest_first else table.id <= first.id)
    order = table.id if oldest_first else table.id.desc()
    rows = await tx.find(table, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None
