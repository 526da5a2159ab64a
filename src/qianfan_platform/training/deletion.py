"""Deleting runs and their containers. What something else is made of is not deleted, and says of what."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from sqlalchemy import delete

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations
from .places import work_of
from .tables import TrainLine, TrainRun

Holder = Callable[[Tx, TrainRun], Awaitable[str | None]]
_HOLDERS: Final[list[Holder]] = []


def held_by(holder: Holder) -> Holder:
    """Register a function of a room to the right: what of it is made of a run, in words, or None."""
    _HOLDERS.append(holder)
    return holder


async def delete_run(platform: Platform, tx: Tx, owner: int, ident: Id) -> None:
    """Delete a run with its log, its result and its checkpoints.

    Raises Fault(RUN_STATE) while it runs, or while a model or another run is made of it."""
    await _delete(platform, tx, await operations.run_of(tx, owner, ident))


async def delete_task(platform: Platform, tx: Tx, owner: int, ident: Id) -> None:
    """Delete a container with all its runs; none goes when one of them cannot."""
    task = await operations.task(tx, owner, ident)
    runs = await tx.find(TrainRun, TrainRun.task_id == task.id, order_by=TrainRun.id.desc())
    for run in runs:
        await _delete(platform, tx, run)
    await tx.delete(task)


async def _delete(platform: Platform, tx: Tx, run: TrainRun) -> None:
    what = f"training run {run.id} ({run.public_id})"
    if run.status == TrainStatus.Running:
        raise Fault(errors.RUN_STATE, f"{what} is running", "stop it first")
    needs = await tx.maybe(
        TrainRun,
        TrainRun.status == TrainStatus.Running.value,
        (TrainRun.starts_from == run.id) | (TrainRun.resumes == run.id),
    )
    if needs is not None:
        raise Fault(
            errors.RUN_STATE, f"{what} is what run {needs.id} goes on from", "wait for that run's end"
        )
    for holder in _HOLDERS:
        held = await holder(tx, run)
        if held:
            raise Fault(
                errors.RUN_STATE, f"{what} is published: {held} is made of it", f"delete {held} first"
            )
    await tx.execute(delete(TrainLine).where(TrainLine.run_id == run.id))
    await tx.delete(run)
    for file in filter(None, {run.result_file, *(run.files or {}).values()}):
        tx.after_commit(partial(platform.files.delete, file))
    place = work_of(platform, run)
    tx.after_commit(partial(asyncio.to_thread, shutil.rmtree, place, ignore_errors=True))
