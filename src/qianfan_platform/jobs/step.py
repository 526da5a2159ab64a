"""What a handler holds while it runs: its recorded steps, and transactions behind the fence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from sqlalchemy import update

from qianfan_platform.store import Store, Tx

from .definitions import Cancelled, Fenced
from .tables import Job, JobState, JobStep


class Step:
    """One run of one job. `await step("name", fn, ...)` runs a part of it that is not to be repeated."""

    def __init__(self, store: Store, platform: Any, job: Job, *, lease_s: float) -> None:
        self.store = store
        self.platform = platform  # whatever app.py gave the worker
        self.job_id = job.id
        self.owner = job.owner_id
        self.cancelled = asyncio.Event()  # the job was asked to stop
        self.ended: JobState | None = None  # set once a commit has ended the job
        if job.cancel_requested:
            self.cancelled.set()
        self.attempt = job.fence  # how often the job was claimed, from 1: no two runs of it have the same
        self._fence = job.fence
        self._lease_s = lease_s
        self._failing: str | None = None  # the reason, while `on_failure` runs
        self._recorded: dict[str, Any] = {}
        self._used: dict[str, int] = {}  # name → position, in this run

    async def __call__(self, name: str, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run `await fn(*args, **kwargs)` and record what it returns (JSON); recorded already: return that.

        What comes back has been through JSON in either case (tuples are lists). Raises what fn raises,
        ValueError for a name used twice, TypeError for a result that is no JSON, Fenced."""
        if self._known(name):
            return self._recorded[name]
        text = _encoded(name, await fn(*args, **kwargs))
        async with self.holding() as tx:
            await self._record(tx, name, text)
        return orjson.loads(text)

    async def write(self, name: str, fn: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run `await fn(tx, *args, **kwargs)` exactly once: its writes and its record are one commit."""
        if self._known(name):
            return self._recorded[name]
        async with self.holding() as tx:
            text = _encoded(name, await fn(tx, *args, **kwargs))
            await self._record(tx, name, text)
        return orjson.loads(text)

    @asynccontextmanager
    async def transaction(self, *, last: bool = False) -> AsyncIterator[Tx]:
        """A transaction that writes, if the job is still ours; raises Fenced when it is not.

        last: its commit also makes the job done, so that it is never run again."""
        ending = JobState.Done if last else None
        if self._failing is not None and self.ended is None:
            ending = JobState.Failed
        async with self.holding() as tx:
            yield tx
            if ending is not None:
                await self._end(tx, ending, self._failing or "")

    def check(self) -> None:
        """Raise Cancelled when the job was asked to stop. For handlers that have nothing to tidy up."""
        if self.cancelled.is_set():
            raise Cancelled

    # ── for the worker ───────────────────────────────────────────────────────────────────────────

    async def load(self) -> None:
        """Read the steps that are finished."""
        async with self.store.reading() as tx:
            rows = await tx.find(JobStep, JobStep.job_id == self.job_id)
        self._recorded = {row.name: row.result for row in rows}

    def fails(self, reason: str) -> None:
        """From now on the handler's `on_failure` runs: its first commit ends the job as failed."""
        self._failing = reason

    @asynccontextmanager
    async def ending(self, state: JobState, error: str = "") -> AsyncIterator[Tx]:
        """A transaction behind the fence that ends the job as `state`."""
        async with self.holding() as tx:
            yield tx
            await self._end(tx, state, error)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _known(self, name: str) -> bool:
        if name in self._used:
            raise ValueError(f"the job has two steps named {name!r}; give each its own name")
        self._used[name] = len(self._used)
        return name in self._recorded

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[Tx]:
        """A transaction that holds the job's row under our fence, and renews the lease while there."""
        async with self.store.transaction() as tx:
            lease = await tx.now() + timedelta(seconds=self._lease_s)
            held = await tx.execute(
                update(Job)
                .where(Job.id == self.job_id, Job.fence == self._fence)
                .where(Job.state == (self.ended or JobState.Running))
                .values(lease_until=lease if self.ended is None else None),
                execution_options={"synchronize_session": False},
            )
            if held.rowcount != 1:
                raise Fenced(f"job {self.job_id} has been taken over by another worker")
            yield tx

    async def _record(self, tx: Tx, name: str, text: bytes) -> None:
        await tx.add(
            JobStep(
                job_id=self.job_id,
                name=name,
                position=self._used[name],
                result=orjson.loads(text),
                finished_at=await tx.now(),
            )
        )

    async def _end(self, tx: Tx, state: JobState, error: str) -> None:
        await tx.execute(
            update(Job)
            .where(Job.id == self.job_id)
            .values(state=state, error=error, finished_at=await tx.now(), lease_until=None),
            execution_options={"synchronize_session": False},
        )
        tx.after_commit(partial(setattr, self, "ended", state))


def _encoded(name: str, result: Any) -> bytes:
    try:
        return orjson.dumps(result)
    except TypeError as error:
        raise TypeError(f"the step {name!r} must return JSON to be recorded: {error}") from None
