"""Where a version comes from: run, container, data, base, and the run that one went on from."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any, Final

from qianfan.contract.times import china
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.store import Tx
from qianfan_platform.training import operations as training
from qianfan_platform.training.tables import TrainRun, TrainTask

from . import gates
from .tables import ModelVersion

DEEPEST: Final = 20  # runs that went on from one another


async def run_and_task(tx: Tx, row: ModelVersion) -> tuple[TrainRun, TrainTask]:
    """The run a version was made of, and its container."""
    look = await training.look(tx, row.owner_id, row.run_id)
    return look.run, look.task


async def trace(tx: Tx, row: ModelVersion, catalogue: Catalogue) -> dict[str, Any]:
    """The way back from a version: {sourceType, run | origin, base, platform, verdicts}.

    `run.startFrom` is the run it went on from, in the same shape. A dataset that was deleted since keeps
    its id, its name is null."""
    found: dict[str, Any] = {
        "sourceType": row.source_type,
        "step": row.step,
        "base": _base(row.entry, catalogue) if row.run_id else None,
        "platform": _platform_version(),
        "verdicts": await gates.verdicts(tx, row),
    }
    if not row.run_id:
        origin = dict(row.origin or {})
        return {**found, "origin": {key: origin[key] for key in ("source", "names") if key in origin}}
    run = await tx.maybe(TrainRun, TrainRun.id == row.run_id)
    return {**found, "run": None if run is None else await _run(tx, run, DEEPEST)}


async def _run(tx: Tx, run: TrainRun, deeper: int) -> dict[str, Any]:
    task = await tx.maybe(TrainTask, TrainTask.id == run.task_id)
    before = await tx.maybe(TrainRun, TrainRun.id == run.starts_from) if run.starts_from and deeper else None
    return {
        "runId": run.id,
        "runIdStr": run.public_id,
        "taskId": run.task_id,
        "taskIdStr": task.public_id if task else None,
        "taskName": task.name if task else None,
        "trainType": run.train_type,
        "trainMode": run.train_mode,
        "peftType": run.peft_type,
        "hyper": run.hyper,
        "seed": run.seed,
        "dtype": run.dtype,
        "finishTime": china(run.finished_at),
        "datasets": [await _dataset(tx, ident) for ident in run.trainset],
        "startFrom": await _run(tx, before, deeper - 1) if before else None,
    }


async def _dataset(tx: Tx, item: Any) -> dict[str, Any]:
    ident = item["id"] if isinstance(item, dict) else item
    row = await tx.maybe(Dataset, Dataset.id == ident)
    if row is None:
        return {"datasetId": ident, "datasetIdStr": None, "name": None}
    return {
        "datasetId": row.id,
        "datasetIdStr": row.public_id,
        "name": row.name,
        "version": row.version,
        "records": row.entity_count,
    }


def _base(name: str, catalogue: Catalogue) -> dict[str, Any]:
    entry = catalogue.entries.get(name)
    if entry is None:
        return {"name": name, "source": None, "licence": None, "sha256": None}
    source = str(entry.source) if entry.source is not None and entry.source.kind != "path" else None
    return {"name": name, "source": source, "licence": entry.licence, "sha256": entry.sha256 or None}


@cache
def _platform_version() -> str:
    try:
        return installed("open-qianfan")
    except PackageNotFoundError:
        return "from source"
