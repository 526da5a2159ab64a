"""Putting jobs into the queue, taking them out, and where in it they stand."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import Any, TypedDict
from weakref import WeakKeyDictionary

from sqlalchemy import and_, select
from sqlalchemy.exc import IntegrityError

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.store import Store, Tx

from .definitions import KNOWN
from .tables import Job, JobState

logger = logging.getLogger(__name__)

UNFINISHED = (JobState.Waiting, JobState.Running)


class Listener:
    """What a worker overrides to hear of changes made in its own process at once."""

    def job_waits(self) -> None:
        """A job was enqueued."""

    def job_cancelled(self, job_id: int) -> None:
        """A running job was asked to stop."""


_listeners: WeakKeyDictionary[Store, set[Listener]] = WeakKeyDictionary()


def listen(store: Store, listener: Listener) -> None:
    """Tell `listener` of what is committed through `store` from now on."""
    _listeners.setdefault(store, set()).add(listener)


def unlisten(store: Store, listener: Listener) -> None:
    """Tell `listener` no more."""
    _listeners.get(store, set()).discard(listener)


def _tell_waits(store: Store) -> None:
    for listener in tuple(_listeners.get(store, ())):
        listener.job_waits()


def _tell_cancelled(store: Store, job_id: int) -> None:
    for listener in tuple(_listeners.get(store, ())):
        listener.job_cancelled(job_id)


class Waiting(TypedDict):
    """Why a job has not begun, and its place in the queue; 1 is the next."""

    why: str
    position: int


async def enqueue(
    tx: Tx,
    kind: str,
    *,
    owner: int,
    args: dict[str, Any],
    key: str | None = None,
    slot: str = "general",
    run_after: datetime | None = None,
) -> Job:
    """Insert a job into the caller's transaction; a worker hears of it when that is committed.

    args: JSON; the keyword arguments of the handler. run_after: not before this moment.
    key: while a job of this owner and kind with the same key is unfinished, that one is returned instead."""
    tx.after_commit(partial(_tell_waits, tx.store))
    moment = run_after or await tx.now()
    while True:
        if key is not None:
            same = await tx.maybe(
                Job,
                Job.owner_id == owner,
                Job.kind == kind,
                Job.key == key,
                Job.state.in_(UNFINISHED),
            )
            if same is not None:
                return same
        job = Job(owner_id=owner, kind=kind, key=key, args=args, slot=slot, run_after=moment)
        if key is None:
            return await tx.add(job)
        try:
            async with tx.session.begin_nested():
                return await tx.add(job)
        except IntegrityError:
            continue  # somebody else enqueued it between the look and the insert


async def cancel(tx: Tx, job: Job | int) -> JobState:
    """Ask a job to stop; returns its state: Cancelled for one that waited, Running for one that will end soon.

    A finished job is left as it is."""
    row = await _get(tx, job, lock=True)
    if row.state == JobState.Waiting:
        await become_cancelled(tx, row)
    elif row.state == JobState.Running and not row.cancel_requested:
        row.cancel_requested = True
        tx.after_commit(partial(_tell_cancelled, tx.store, row.id))
    await tx.session.flush()
    return row.state


async def become_cancelled(tx: Tx, row: Job) -> None:
    """Make `row`, which the caller has checked and locked, cancelled, and run its `on_cancel`."""
    row.state, row.finished_at, row.cancel_requested = JobState.Cancelled, await tx.now(), True
    row.lease_until = None
    await tx.session.flush()
    known = KNOWN.get(row.kind)
    if known is None or known.on_cancel is None:
        return
    try:
        async with tx.session.begin_nested():
            await known.on_cancel(tx, row, **row.args)
    except Exception:
        logger.exception(
            "on_cancel of job %s (%s) failed; the job is cancelled all the same", row.id, row.kind
        )


async def waiting(tx: Tx, job: Job | int) -> Waiting | None:
    """Why the job waits, and where in the queue; None when it does not wait."""
    row = await _get(tx, job)
    if row.state != JobState.Waiting:
        return None
    same = and_(Job.slot == row.slot, Job.state == JobState.Waiting)
    before = await tx.count(Job, same, Job.id < row.id)
    running = await tx.count(Job, Job.slot == row.slot, Job.state == JobState.Running)
    pause = (row.run_after - await tx.now()).total_seconds()
    if pause > 0:
        why = f"it is to begin in {max(1, round(pause))} s"
        why += f", after: {row.error}" if row.error else ""
    elif running:
        why = f"{_jobs(running)} running in the queue {row.slot!r}"
        why += f", {_jobs(before)} before this one" if before else ""
    elif before:
        why = f"{_jobs(before)} before this one in the queue {row.slot!r}"
    else:
        why = f"no worker of the queue {row.slot!r} has taken it yet"
    return {"why": why, "position": before + 1}


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


async def _get(tx: Tx, job: Job | int, *, lock: bool = False) -> Job:
    number = job if isinstance(job, int) else job.id
    query = select(Job).where(Job.id == number).execution_options(populate_existing=True)
    row = (await tx.session.scalars(query.with_for_update() if lock else query)).first()
    if row is None:
        raise Fault(errors.NOT_FOUND, f"job {number} does not exist")
    return row
