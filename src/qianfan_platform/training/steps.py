"""Durable work of a run: rows, weights, training, keeping the result. A killed server goes on from here."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from qianfan.contract.enums import TrainMode, TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import TRAIN_RUN
from qianfan_platform.datasets import pinned, trainable
from qianfan_platform.datasets.trainable import Share
from qianfan_platform.jobs import Cancelled, Step, Unfit, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now
from qianfan_platform.trainers.run import run as train

from . import operations, places, resuming, specs
from .places import work_of
from .report import Report
from .tables import TrainLine

log = logging.getLogger("qianfan_platform.training")
T = TypeVar("T")


class TrainerFailed(Unfit):
    """The trainer ended without a result; the text says why."""


def _why(error: BaseException) -> str:
    """What the owner of a run is told of an error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the server's disk is full ({error.strerror}): free some space and create the run again; "
            "it goes on from its last checkpoint"
        )
    return error.text if isinstance(error, Fault) else str(error) or type(error).__name__


async def _failed(step: Step, error: BaseException, *, run_id: int) -> None:
    reason = _why(error)
    async with step.transaction() as tx:
        run = await operations.finished(tx, run_id)
        if run.status == TrainStatus.Running:
            await tx.move(
                run, TRAIN_RUN, TrainStatus.Fail, reason=reason, phase="done", finished_at=utc_now()
            )
            mine = TrainLine.run_id == run_id
            last = await tx.find(TrainLine, mine, order_by=TrainLine.n.desc(), limit=1)
            if not (last and last[0].event.get("kind") == "failed"):  # else the trainer has said it
                await operations.tell(tx, run, ("error", reason))


@job("training.run", on_failure=_failed)
async def run(step: Step, *, run_id: int) -> None:
    """Train. Each step's result is recorded, so that a restarted server does none of them twice."""
    platform: Platform = step.platform
    if await _begin(step, run_id) == TrainStatus.Finish:
        await _tidy(step, platform, run_id)  # the server was killed while it tidied up
        return
    parts = await step("rows", _rows, step, platform, run_id)
    result = await step("train", _train, step, platform, run_id, parts)
    if result is None:
        return  # stopped: the row says so already
    kept = await step("keep", _keep, platform, result)
    files = await step("files", _files, platform, run_id, kept)
    async with step.transaction() as tx:
        row = await operations.finished(tx, run_id)
        finished = row.status == TrainStatus.Running
        if finished:
            await tx.move(
                row,
                TRAIN_RUN,
                TrainStatus.Finish,
                result_file=kept,
                files=files,
                phase="done",
                finished_at=utc_now(),
            )
    if not finished:  # stopped in its last moment: its checkpoints stay, so that it can go on
        for file in {kept, *files.values()}:
            await platform.files.delete(file)
        return
    await _tidy(step, platform, run_id)


async def _tidy(step: Step, platform: Platform, run_id: int) -> None:
    """The result lives in files now; checkpoints are only good for a run that did not finish."""
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
    await asyncio.to_thread(shutil.rmtree, work_of(platform, row), ignore_errors=True)
    await resuming.tidy(platform, row)
    async with step.transaction(last=True):
        pass


async def _unless_stopped(step: Step, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; a stop cancels it, so that whoever waits for the place need not wait for gigabytes."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(step.cancelled.wait())
    try:
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled
        return working.result()
    finally:
        stopped.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))


async def _begin(step: Step, run_id: int) -> str:
    """Tell that the work begins, or begins again; returns the state of the run."""
    async with step.transaction() as tx:
        row = await operations.finished(tx, run_id)
        status = row.status
        if status != TrainStatus.Running:
            return status
        row.started_at = row.started_at or utc_now()
        row.phase = "preparing"
    return status


async def _rows(step: Step, platform: Platform, run_id: int) -> list[dict[str, Any]]:
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
    rates = row.rates or [1.0] * len(row.trainset)
    shares = [Share(dataset, rate) for dataset, rate in zip(row.trainset, rates, strict=True)]
    mode, into = TrainMode(row.train_mode), work_of(platform, row) / "rows.jsonl"
    for ident in () if row.parts else row.trainset:
        await pinned.ready(step, platform, ident, mode)
    parts = await trainable.mix(platform, shares, into, mode, row.seed, laid_out=row.parts)
    async with step.transaction() as tx:
        (await operations.finished(tx, run_id)).parts = parts
    return parts


async def _weights(platform: Platform, run_id: int) -> Path:
    """Not recorded by itself: a folder of the cache may have gone since."""
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


async def _train(step: Step, platform: Platform, run_id: int, parts: list[dict[str, Any]]) -> str | None:
    base = await _unless_stopped(step, _weights(platform, run_id))
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
        checkpoint = await resuming.checkpoint(platform, tx, row)
    work = work_of(platform, row)
    spec = await specs.spec(platform, row, base=base, rows=work / "rows.jsonl", work=work)
    report = await Report.open(platform.store, run_id, parts)
    if row.resumes and checkpoint is None:
        text = "the run that this one goes on with left no checkpoint: it starts from the beginning"
        await report.take({"kind": "log", "level": "warning", "text": text})
    spec = replace(spec, resume_from=checkpoint)
    report.note("starting the trainer")
    keeper = asyncio.create_task(report.keep_flushing())
    try:
        outcome = await train(spec, report.take, step.cancelled, sinks=platform.settings.train_sinks)
    finally:
        keeper.cancel()
        await report.flush()
    if outcome.status == "failed":
        raise TrainerFailed(report.in_words_of_the_data(outcome.reason))
    return str(outcome.result) if outcome.status == "finished" else None


async def _keep(platform: Platform, result: str) -> str:
    return (await platform.files.put_path(Path(result), name="result")).id


async def _files(platform: Platform, run_id: int, result: str) -> dict[str, str]:
    """What stays of a run beside its result. Checkpoints do when they were asked for: each costs a copy."""
    async with platform.store.reading() as tx:
        row = await operations.finished(tx, run_id)
    work, done = work_of(platform, row), row.live.get("finished", {})
    files = await places.keep(platform, work, row.owner_id)
    if row.train_config.get("checkpointsKept"):
        steps = [step for step in done.get("checkpoints") or () if step != done.get("step")]
        kept, failed = await places.keep_checkpoints(platform, work, steps)
        files |= kept
        report = await Report.open(platform.store, run_id)
        for text in failed:
            await report.take({"kind": "log", "level": "warning", "text": text})
        await report.flush()
    if done.get("step") is not None:
        files[f"{places.CHECKPOINT}{done['step']}"] = result
    return files
