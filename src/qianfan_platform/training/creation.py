"""Making containers and runs. Everything that can be checked before a run is checked here, at the call."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from qianfan.contract import errors, train_types
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainMode, TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform import jobs
from qianfan_platform.catalogue.catalogue import Trained
from qianfan_platform.datasets.pinned import InBucket
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx
from qianfan_platform.trainers.run import missing

from . import hyper, increments, operations, resuming, sets
from .hyper import Wish
from .increments import From
from .tables import TrainRun, TrainTask

DEFAULT_HELD_OUT: Final = 20  # percent, as documented


@dataclass(frozen=True)
class Order:
    """A run as it is asked for, in either generation of the interface.

    method, mode and config: None and {} leave them to the container. sets: (dataset or data, samplingRate).
    notes: what was sent and does nothing here, in words."""

    task: TrainTask
    sets: Sequence[tuple[Id | InBucket, float]]
    train_type: str | None = None
    base_train_type: str | None = None
    mode: str | None = None
    method: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    held_out: float = DEFAULT_HELD_OUT  # percent
    description: str = ""
    start: From | None = None
    corpus: Any = None
    notes: Sequence[str] = ()
    v2: bool = False


async def create_task(tx: Tx, owner: int, **values: Any) -> TrainTask:
    """A container for runs. Names may repeat: published clients make random ones, people do not."""
    return await tx.add(TrainTask(owner_id=owner, **values))


def check_preset(platform: Platform, model: str, mode: TrainMode, method: str | None, config: Any) -> None:
    """Refuse what no run of a container could do: at the first call, not at the second."""
    train_type, trained = train_type_of(platform, model)
    wish = Wish(mode, method, config or {}, v2=True)
    hyper.resolve(train_type, wish, context=trained.entry.context, records=sets.UNCOUNTED)


def train_type_of(platform: Platform, name: str) -> tuple[train_types.TrainType, Trained]:
    """What was asked for, and what trains for it here. An operator's own entry is a train type as well."""
    trained = platform.catalogue.trains(name)
    row = train_types.find(trained.train_type if trained else name)
    if row is None and trained is not None:
        row = train_types.TrainType(
            trained.train_type, trained.entry.name, ("ALL", "LoRA", "P-tuning"), {"peftType": "LoRA"}
        )
    if row is None or trained is None:
        known = ", ".join(sorted(train_types.table()))
        raise Fault(errors.BAD_TRAIN_CONFIG, f"train type {name!r} is unknown here", f"known are: {known}")
    return row, trained


async def create_run(platform: Platform, tx: Tx, owner: int, order: Order) -> TrainRun:
    """Check everything that can be checked now, then enqueue the run. All refusals come from here."""
    container = order.task
    name = order.train_type or container.train_type
    if not name:
        raise Fault(errors.BAD_TRAIN_CONFIG, "no trainType was given", "send the trainType of the run")
    train_type, trained = train_type_of(platform, name)
    mode = hyper.mode_of(order.mode or container.train_mode)
    absent = missing()
    if absent:
        raise Fault(
            errors.MISSING_EXTRA, f"this server cannot train: {absent}", "pip install 'open-qianfan[train]'"
        )

    asked = await sets.look(tx, owner, order.sets, mode, order.held_out)
    preset = container.preset or {}
    wish = Wish(
        mode, order.method or preset.get("method"), {**preset.get("config", {}), **order.config}, v2=order.v2
    )
    plan = hyper.resolve(
        train_type, wish, context=trained.entry.context, records=asked.records, stand_in=trained.stand_in
    )
    warnings = [*plan.warnings, *order.notes, *asked.notes(v2=order.v2, stand_in=trained.stand_in)]
    if trained.stand_in:
        warnings.insert(0, trained.note)
    if train_types.find(name) and order.base_train_type not in (None, "", train_type.base):
        warnings.append(
            f"baseTrainType {order.base_train_type} is kept, and has no effect: {train_type.name} belongs to "
            f"{train_type.base}"
        )

    start = None
    if order.start is not None:
        start = await operations.base_run(tx, owner, order.start.run)
        warnings.append(
            increments.check(start, order.start.step, entry=trained.entry.name, name=train_type.name)
        )
        if trained.stand_in and start.peft_type != "ALL":
            warnings.append(
                "the cloud trains only runs of all parameters (ALL) further; this platform goes on"
            )
        plan = await increments.with_its_adapter(tx, plan, start, wish)

    said = [
        train_type.name,
        mode.value,
        plan.method,
        hyper.as_json(plan.hyper),
        plan.seed,
        asked.names,
        asked.rates,
    ]
    began = [start.id, order.start.step] if start and order.start else None
    fingerprint = _fingerprint([*said, asked.percent, trained.entry.name, began])
    before = await resuming.stopped_before(platform, tx, container, fingerprint)
    newest = await resuming.newest(tx, container)
    datasets = asked.datasets
    if datasets is None and (datasets := await sets.frozen_by(platform, tx, owner, before)) is None:
        before = None  # what lies in the bucket may be something else by now
        datasets = await sets.pin(tx, owner, asked, mode, platform.objects)
    if before:
        warnings.append(f"goes on from the last checkpoint of run {before.ordinal} of this task")
    elif newest and newest.fingerprint == fingerprint and newest.status == TrainStatus.Running:
        warnings.append(f"run {newest.ordinal} of this task is the same and has not ended; both will train")
    run = await tx.add(
        TrainRun(
            owner_id=owner,
            task_id=container.id,
            ordinal=newest.ordinal + 1 if newest else 1,
            description=order.description,
            base_train_type=order.base_train_type or container.base_train_type or train_type.base,
            train_type=train_type.name,
            train_mode=mode.value,
            peft_type=plan.method,
            train_config=dict(wish.config),
            trainset=[dataset.id for dataset in datasets],
            parts=sets.layout(datasets, asked.rates, plan.seed),
            rates=asked.rates if any(rate != 1 for rate in asked.rates) else None,
            trainset_rate=asked.percent,
            corpus=order.corpus,
            entry=trained.entry.name,
            hyper=hyper.as_json(plan.hyper),
            checkpoint_steps=plan.checkpoint_steps,
            checkpoints_kept=plan.checkpoints_kept,
            seed=plan.seed,
            threads=before.threads if before else _threads(platform),
            dtype=before.dtype if before else _dtype(trained.entry.dtype),
            fingerprint=fingerprint,
            resumes=before.id if before else None,
            starts_from=start.id if start else None,
            starts_step=order.start.step if order.start else None,
            warnings=warnings,
            live={},
        )
    )
    queued = await jobs.enqueue(tx, "training.run", owner=owner, args={"run_id": run.id}, slot="train")
    run.job_id = queued.id
    _name(container, run, order)
    await _tell(tx, run, asked)
    return run


def _name(container: TrainTask, run: TrainRun, order: Order) -> None:
    """Let a container that was made without saying what for be of its first run."""
    if run.ordinal == 1 and not order.v2:
        container.train_type = container.train_type or run.train_type
        container.base_train_type = container.base_train_type or run.base_train_type
        container.train_mode = run.train_mode


async def _tell(tx: Tx, run: TrainRun, asked: sets.Sets) -> None:
    """Begin the run's log: what was made, what there is to say about it, and what it waits for."""
    records = "" if asked.datasets is None else f", {asked.records} records"
    made = ("info", f"made: {run.train_mode} of {run.train_type} by {run.peft_type}{records}")
    place = await jobs.waiting(tx, run.job_id) if run.job_id else None
    queued = [("info", f"in the queue at place {place['position']}: {place['why']}")] if place else []
    await operations.tell(tx, run, made, *(("warning", text) for text in run.warnings), *queued)


def _threads(platform: Platform) -> int:
    """Cores for one trainer: one fewer while an engine is loaded, since the two slow each other down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - (1 if platform.fleet.loaded else 0))


def _dtype(packed: str) -> str:
    """What a run computes in: bfloat16, which is fastest on current CPUs, unless the model is kept exact."""
    return "float32" if packed == "f32" else "bfloat16"


def _fingerprint(said: list[Any]) -> str:
    return hashlib.sha256(orjson.dumps(said)).hexdigest()
