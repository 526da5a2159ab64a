"""Going on with a stopped run: a new run of the same configuration starts from the newest checkpoint there is.

Not to be mixed up with training further (increments), which starts from a finished run, on other data.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

from qianfan.contract.enums import TrainStatus
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations, places
from .places import work_of
from .tables import TrainRun, TrainTask

ENDED: Final = (TrainStatus.Stop.value, TrainStatus.Fail.value)


async def newest(tx: Tx, container: TrainTask) -> TrainRun | None:
    """The run of a container that was made last."""
    runs = await tx.find(TrainRun, TrainRun.task_id == container.id, order_by=TrainRun.id.desc(), limit=1)
    return runs[0] if runs else None


async def stopped_before(
    platform: Platform, tx: Tx, container: TrainTask, fingerprint: str
) -> TrainRun | None:
    """The run that a new one with this fingerprint goes on with, if the container's newest is such a one.

    A resumed run that was stopped before it made a step has no checkpoint of its own: the one before it has."""
    last = await newest(tx, container)
    if last is None or last.fingerprint != fingerprint or last.status not in ENDED:
        return None
    for run in await _chain(tx, last):
        if places.newest_checkpoint(work_of(platform, run)) is not None:
            return run
    return last if last.live.get("step") else None  # its trainer may be writing its checkpoint just now


async def checkpoint(platform: Platform, tx: Tx, run: TrainRun) -> Path | None:
    """The checkpoint folder that `run` starts from; None when it resumes no run, or none was left."""
    before = await tx.maybe(TrainRun, TrainRun.id == run.resumes) if run.resumes else None
    for earlier in await _chain(tx, before) if before else ():
        found = places.newest_checkpoint(work_of(platform, earlier))
        if found is not None:
            return found
    return None


async def _chain(tx: Tx, last: TrainRun) -> list[TrainRun]:
    """`last`, and the ended runs of the same configuration before it, newest first."""
    return [
        last,
        *await tx.find(
            TrainRun,
            TrainRun.task_id == last.task_id,
            TrainRun.fingerprint == last.fingerprint,
            TrainRun.id < last.id,
            TrainRun.status.in_(ENDED),
            order_by=TrainRun.id.desc(),
        ),
    ]


async def tidy(platform: Platform, run: TrainRun) -> None:
    """Nobody goes on from the stopped runs before a finished one: keep their ledgers, free their checkpoints."""
    if run.resumes is None:
        return
    async with platform.store.reading() as tx:
        before = (await _chain(tx, run))[1:]
        resumed = await tx.find(
            TrainRun,
            TrainRun.task_id == run.task_id,
            TrainRun.status == TrainStatus.Running.value,
            TrainRun.resumes.is_not(None),
        )
    if resumed:  # another run goes on from them, and tidies up when it is finished
        return
    for earlier in before:
        work = work_of(platform, earlier)
        if not work.is_dir():
            continue
        kept = await places.keep(platform, work, earlier.owner_id)
        if kept:
            async with platform.store.transaction() as tx:
                (await operations.finished(tx, earlier.id)).files = kept
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
