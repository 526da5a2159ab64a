"""Durable work of a run: rows, weights, training, keeping the result. A killed server goes on from here."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import TRAIN_RUN
from qianfan_platform.datasets import operations as datasets
from qianfan_platform.jobs import Step, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now
from qianfan_platform.trainers.protocol import Hyper, TrainSpec
from qianfan_platform.trainers.run import run as train

from . import operations
from .report import Report
from .tables import TrainRun

log = logging.getLogger("qianfan_platform.training")


class TrainerFailed(Exception):
    """The trainer ended without a result; the text says why."""


def work_of(platform: Platform, run: TrainRun) -> Path:
    """Folder of a run: rows, checkpoints, result."""
    return platform.settings.work / "runs" / run.public_id


async def _failed(step: Step, error: BaseException, *, run_id: int) -> None:
    reason = error.text if isinstance(error, Fault) else str(error) or type(error).__name__
    async with step.transaction() as tx:
        run = await operations.finished(tx, run_id)
        if run.status == TrainStatus.Running:
            await tx.move(
                run, TRAIN_RUN, TrainStatus.Fail, reason=reason, phase="done", finished_at=utc_now()
            )


@job("training.run", on_failure=_failed)
async def run(step: Step, *, run_id: int) -> None:
    """Train. Each step's result is recorded, so that a restarted server does none of them twice."""
    platform: Platform = step.platform
    await _begin(step, run_id)
    parts = await step("rows", _rows, platform, run_id)
    base = await _weights(step, platform, run_id)
    result = await step("train", _train, step, platform, run_id, base, parts)
    if result is None:
        return  # stopped: the row says so already
    kept = await step("keep", _keep, platform, result)
    async with step.transaction(last=True) as tx:
        row = await operations.finished(tx, run_id)
        if row.status == TrainStatus.Running:  # else it was stopped in its last moment
            await tx.move(
                row,
                TRAIN_RUN,
                TrainStatus.Finish,
                result_file=kept,
                phase="done",
                finished_at=utc_now(),
            )
    # The result lives in files now; checkpoints are only good for a run that did not finish.
    await asyncio.to_thread(shutil.rmtree, Path(result).parent, ignore_errors=True)


async def _begin(step: Step, run_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.finished(tx, run_id)
        fresh = row.started_at is None
        row.started_at = row.started_at or utc_now()
        row.phase = "preparing"
        warnings = list(row.warnings) if fresh else []
    report = await Report.open(step.store, run_id)
    for text in warnings:
        await report.take({"kind": "log", "level": "warning", "text": text})
    await report.flush()


async def _rows(platform: Platform, run_id: int) -> list[dict[str, object]]:
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
    return await datasets.write_rows(platform, row.trainset, work_of(platform, row) / "rows.jsonl")


async def _weights(step: Step, platform: Platform, run_id: int) -> Path:
    """Not recorded: a folder of the cache may have gone since."""
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
    entry = platform.catalogue.entries[row.entry]
    report = await Report.open(platform.store, run_id)

    keeper = asyncio.create_task(report.keep_flushing())
    try:
        return await platform.weights.hf(entry, lambda progress: report.note(progress.text, progress.done))
    finally:
        keeper.cancel()
        await report.flush()


async def _train(
    step: Step, platform: Platform, run_id: int, base: Path, parts: list[dict[str, object]]
) -> str | None:
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
        before = await operations.finished(tx, row.resumes) if row.resumes else None
    work = work_of(platform, row)
    spec = TrainSpec(
        base=base,
        rows=work / "rows.jsonl",
        work=work,
        method="ALL" if row.peft_type == "ALL" else "LoRA",
        hyper=Hyper(**row.hyper),
        held_out=row.trainset_rate / 100,
        seed=row.seed,
        threads=row.threads,
        dtype="float32" if row.dtype == "float32" else "bfloat16",
        checkpoint_steps=row.checkpoint_steps,
        resume_from=_newest_checkpoint(work_of(platform, before)) if before else None,
    )
    report = await Report.open(platform.store, run_id, parts)
    report.note("starting the trainer")
    keeper = asyncio.create_task(report.keep_flushing())
    try:
        outcome = await train(spec, report.take, step.cancelled)
    finally:
        keeper.cancel()
        await report.flush()
    if outcome.status == "failed":
        raise TrainerFailed(report.in_words_of_the_data(outcome.reason))
    return str(outcome.result) if outcome.status == "finished" else None


def _newest_checkpoint(work: Path) -> Path | None:
    folder = work / "checkpoints"
    whole = (
        [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]
        if folder.is_dir()
        else []
    )
    return max(whole, key=lambda path: int(path.name), default=None)


async def _keep(platform: Platform, result: str) -> str:
    return (await platform.files.put_path(Path(result), name="result")).id
