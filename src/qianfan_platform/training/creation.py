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
from qianfan_platform.datasets import pinned, trainable
from qianfan_platform.datasets.pinned import InBucket
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx
from qianfan_platform.trainers.run import missing

from . import hyper, increments, operations
from .hyper import Wish
from .increments import From
from .tables import TrainRun, TrainTask

DEFAULT_HELD_OUT: Final = 20  # percent, as documented
UNCOUNTED: Final = 1_000_000  # records, for warnings only


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

    sets = [await _set(platform, tx, owner, data, mode) for data, _ in order.sets]
    rates = [_rate(rate) for _, rate in order.sets]
    records = sum(trainable.drawn(one.entity_count, rate) for one, rate in zip(sets, rates, strict=True))
    if any(isinstance(data, InBucket) for data, _ in order.sets):
        records = UNCOUNTED  # so that nothing is said of what nobody knows yet
    preset = container.preset or {}
    wish = Wish(
        mode, order.method or preset.get("method"), {**preset.get("config", {}), **order.config}, v2=order.v2
    )
    plan = hyper.resolve(
        train_type, wish, context=trained.entry.context, records=records, stand_in=trained.stand_in
    )
    warnings = [*plan.warnings, *order.notes]
    if trained.stand_in:
        warnings.insert(0, trained.note)
    if records < trainable.FEW_RECORDS:
        warnings.append(f"{records} records are few; the cloud asks for at least {trainable.FEW_RECORDS}")
    held_out = round(order.held_out)
    if held_out and any(rate > 1 for rate in rates):
        warnings.append(
            "samplingRate above 1 repeats records, so that some held-out ones are trained on as well; "
            "splitRatio 0 holds none out"
        )

    start = None
    if order.start is not None:
        start = await operations.base_run(tx, owner, order.start.run)
        warnings.append(
            increments.check(start, order.start.step, entry=trained.entry.name, name=train_type.name)
        )
        plan = await increments.with_its_adapter(tx, plan, start, wish.config)

    dataset_ids = [dataset.id for dataset in sets]
    said = [
        train_type.name,
        mode.value,
        plan.method,
        hyper.as_json(plan.hyper),
        plan.seed,
        dataset_ids,
        rates,
    ]
    began = [start.id, order.start.step] if start and order.start else None
    fingerprint = _fingerprint([*said, held_out, trained.entry.name, began])
    before = await _stopped_before(tx, container, fingerprint)
    if before:
        warnings.append(f"goes on from the last checkpoint of run {before.ordinal} of this task")
    run = await tx.add(
        TrainRun(
            owner_id=owner,
            task_id=container.id,
            ordinal=1 + await tx.count(TrainRun, TrainRun.task_id == container.id),
            description=order.description,
            base_train_type=order.base_train_type or container.base_train_type or train_type.base,
            train_type=train_type.name,
            train_mode=mode.value,
            peft_type=plan.method,
            train_config=order.config,
            trainset=dataset_ids,
            rates=rates if any(rate != 1 for rate in rates) else None,
            trainset_rate=held_out,
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
    return run


async def _set(platform: Platform, tx: Tx, owner: int, data: Id | InBucket, mode: TrainMode) -> Dataset:
    if isinstance(data, InBucket):
        return await pinned.pin(tx, owner, data, mode, platform.objects)
    return await trainable.check(tx, owner, data, mode)


def _rate(rate: float) -> float:
    if not trainable.LEAST_RATE <= rate <= trainable.MOST_RATE:
        raise Fault(
            errors.BAD_DATASET,
            f"param[samplingRate] invalid: it is {rate:g}",
            f"it must be between {trainable.LEAST_RATE:g} and {trainable.MOST_RATE:g}",
        )
    return float(rate)


def _threads(platform: Platform) -> int:
    """Cores for one trainer: one fewer while an engine is loaded, since the two slow each other down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - (1 if platform.fleet.loaded else 0))


def _dtype(packed: str) -> str:
    """What a run computes in: bfloat16, which is fastest on current CPUs, unless the model is kept exact."""
    return "float32" if packed == "f32" else "bfloat16"


def _fingerprint(said: list[Any]) -> str:
    return hashlib.sha256(orjson.dumps(said)).hexdigest()


async def _stopped_before(tx: Tx, container: TrainTask, fingerprint: str) -> TrainRun | None:
    """The newest run of this container, if it was the same run and was stopped or failed."""
    newest = await tx.find(
        TrainRun, TrainRun.task_id == container.id, order_by=TrainRun.ordinal.desc(), limit=1
    )
    for run in newest:
        if run.fingerprint == fingerprint and run.status in (TrainStatus.Stop.value, TrainStatus.Fail.value):
            return run
    return None
