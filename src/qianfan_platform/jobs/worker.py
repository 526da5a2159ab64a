"""The worker: claims jobs, keeps their leases, runs their handlers, and writes how they ended."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import and_, func, or_, select, update

from qianfan.contract.errors import Fault
from qianfan_platform.store import Store, Tx

from .definitions import KNOWN, Cancelled, Definition, Fenced, Retry, Unfit, reason_of
from .queue import Listener, become_cancelled, listen, unlisten
from .step import Step
from .tables import Job, JobState

logger = logging.getLogger(__name__)

SLOTS: Final[Mapping[str, int]] = MappingProxyType(
    {"general": 4, "train": 1, "serve": 4, "evaluate": 2, "augment": 2}
)
LOOK_S = 0.5  # how often a worker looks for what other processes did
IDLE_S = 10.0  # the same for a worker that has the database to itself and nothing to do
STOP_S = 10.0  # how long handlers may take to unwind
LONGEST_PAUSE_S = 60.0  # between attempts


@dataclass(eq=False)
class _Run:
    """A job that this worker runs now."""

    job: Job
    step: Step
    task: asyncio.Task[None]
    lost: bool = False


class Worker(Listener):
    """Runs jobs in this process, at most `slots[slot]` at once of each slot.

    name: tells workers apart in the database. lease_s: a worker that has not been heard of for so long is
    given up. exclusive: no other process works on this database (its folder is locked by this one), so every
    job that counts as running was left by a process that is dead, and is claimed again at the start."""

    def __init__(
        self,
        store: Store,
        platform: Any,
        *,
        name: str,
        slots: Mapping[str, int] = SLOTS,
        lease_s: float = 30.0,
        exclusive: bool = False,
    ) -> None:
        self.store, self.platform, self.name = store, platform, name
        self.slots = dict(slots)
        self.lease_s, self.exclusive = lease_s, exclusive
        self._running: dict[int, _Run] = {}
        self._wake = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._stopping = False
        self._renew_at = 0.0

    async def start(self) -> None:
        """Begin to work. Call it when every room has registered its jobs."""
        self._loop = asyncio.get_running_loop()
        if self.exclusive:
            async with self.store.transaction() as tx:
                left = await tx.execute(
                    update(Job)
                    .where(Job.state == JobState.Running)
                    .values(state=JobState.Waiting, lease_until=None, worker="")
                )
            if left.rowcount:
                logger.info("%d jobs were interrupted and go on from their last finished step", left.rowcount)
        listen(self.store, self)
        self._tending = asyncio.create_task(self._tend(), name=f"worker {self.name}")

    async def stop(self) -> None:
        """Cancel the handlers, wait for them (10 s at most), and leave their jobs to the next worker."""
        self._stopping = True
        unlisten(self.store, self)
        if self._tending is not None:
            self._wake.set()  # a claim that is under way is finished, so that its job can be put back
            await asyncio.wait([self._tending], timeout=STOP_S)
            self._tending.cancel()
        await asyncio.sleep(0)  # a task cancelled before its first line would not put its job back
        tasks = [run.task for run in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            for task in late:
                logger.warning(
                    "%s did not stop within %g s; its lease runs out by itself", task.get_name(), STOP_S
                )

    # Called by other tasks, perhaps of other threads.

    def job_waits(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    def job_cancelled(self, job_id: int) -> None:
        self._loop.call_soon_threadsafe(self._tell_cancelled, job_id)

    def _tell_cancelled(self, job_id: int) -> None:
        if run := self._running.get(job_id):
            run.step.cancelled.set()

    # ── tending: leases, cancellations, claims ───────────────────────────────────────────────────

    async def _tend(self) -> None:
        while not self._stopping:
            self._wake.clear()
            pause_s = min(LOOK_S, self.lease_s / 3)
            try:
                await self._renew()
                await self._hear_cancellations()
                while not self._stopping and await self._claim():
                    pass
                if self.exclusive and not self._running:
                    pause_s = await self._idle_s()
            except Exception:
                logger.exception("worker %s cannot reach its jobs; it tries again", self.name)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _idle_s(self) -> float:
        """Seconds until the first job that waits for its time; of new ones this worker is told."""
        async with self.store.reading() as tx:
            waiting = select(func.min(Job.run_after)).where(
                Job.state == JobState.Waiting, Job.kind.in_(list(KNOWN))
            )
            first = (await tx.execute(waiting)).scalar_one_or_none()
            if first is None:
                return IDLE_S
            left_s: float = (first - await tx.now()).total_seconds()
            return min(max(left_s, 0.01), IDLE_S)

    async def _renew(self) -> None:
        """Renew the leases every third of their time; stop the handlers whose job is not ours any more."""
        if not self._running or self._loop.time() < self._renew_at:
            return
        ours = or_(
            *(and_(Job.id == run.job.id, Job.fence == run.job.fence) for run in self._running.values())
        )
        held = and_(ours, Job.state == JobState.Running)
        # A row that is locked is in a transaction of its own handler, which renews the lease itself.
        unlocked = select(Job.id).where(held).with_for_update(skip_locked=True)
        async with self.store.transaction() as tx:
            lease = await tx.now() + timedelta(seconds=self.lease_s)
            await tx.execute(
                update(Job)
                .where(Job.id.in_(unlocked), held)
                .values(lease_until=lease, modified_at=Job.modified_at),
                execution_options={"synchronize_session": False},
            )
            kept = set((await tx.execute(select(Job.id).where(held))).scalars())
        self._renew_at = self._loop.time() + self.lease_s / 3
        for number, run in self._running.items():
            if number not in kept and run.step.ended is None:
                logger.warning("job %s (%s) was taken over by another worker", number, run.job.kind)
                run.lost = True
                run.task.cancel()

    async def _hear_cancellations(self) -> None:
        deaf = [run.job.id for run in self._running.values() if not run.step.cancelled.is_set()]
        if deaf:
            async with self.store.reading() as tx:
                told = await tx.execute(select(Job.id).where(Job.id.in_(deaf), Job.cancel_requested))
                for number in told.scalars():
                    self._tell_cancelled(number)

    async def _claim(self) -> bool:
        """Claim and start the oldest job of every slot that has a free place; False when there was none."""
        free = [slot for slot, places in self.slots.items() if self._in(slot) < places]
        if not free or not KNOWN:
            return False
        async with self.store.reading() as tx:
            found = await tx.execute(select(Job.slot).where(self._ready(await tx.now(), free)).distinct())
            wanted = list(found.scalars())
        claimed: list[Job] = []
        if wanted:
            async with self.store.transaction() as tx:
                for slot in wanted:
                    if job := await self._claim_one(tx, slot):
                        claimed.append(job)
        for job in claimed:
            self._begin(job)
        return bool(claimed)

    async def _claim_one(self, tx: Tx, slot: str) -> Job | None:
        now = await tx.now()
        ready = self._ready(now, [slot])
        oldest = select(Job.id).where(ready).order_by(Job.id).limit(1).with_for_update(skip_locked=True)
        claimed = await tx.execute(
            update(Job)
            .where(Job.id == oldest.scalar_subquery(), ready)
            .values(
                state=JobState.Running,
                worker=self.name,
                lease_until=now + timedelta(seconds=self.lease_s),
                fence=Job.fence + 1,
            )
            .returning(Job.id),
            execution_options={"synchronize_session": False},
        )
        number = claimed.scalar_one_or_none()
        return None if number is None else await tx.maybe(Job, Job.id == number)

    def _ready(self, now: datetime, slots: list[str]) -> Any:
        """The condition under which a job may be claimed: it waits and its time has come, or it was lost."""
        return and_(
            Job.slot.in_(slots),
            Job.kind.in_(list(KNOWN)),
            Job.id.not_in(list(self._running)),
            or_(
                and_(Job.state == JobState.Waiting, Job.run_after <= now),
                and_(Job.state == JobState.Running, Job.lease_until < now),
            ),
        )

    def _in(self, slot: str) -> int:
        return sum(run.job.slot == slot for run in self._running.values())

    # ── running ──────────────────────────────────────────────────────────────────────────────────

    def _begin(self, job: Job) -> None:
        step = Step(self.store, self.platform, job, lease_s=self.lease_s)
        if not self._running:
            self._renew_at = self._loop.time() + self.lease_s / 3
        task = asyncio.create_task(self._run(job, step), name=f"job {job.id} ({job.kind})")
        self._running[job.id] = _Run(job, step, task)

    async def _run(self, job: Job, step: Step) -> None:
        try:
            try:
                await self._handle(job, step)
            except asyncio.CancelledError:  # by `stop` or `_renew`: nobody else holds this task
                if step.ended is None and not self._running[job.id].lost:
                    await self._put_back(step)
        except Fenced:
            logger.warning("job %s (%s) goes on elsewhere; this run of it ends", job.id, job.kind)
        except Exception:
            # The lease runs out, and the job is run again.
            logger.exception("job %s (%s): how it ended could not be written", job.id, job.kind)
        finally:
            del self._running[job.id]
            self._wake.set()

    async def _handle(self, job: Job, step: Step) -> None:
        """Run the handler, and write how it ended."""
        error: Exception | None = None
        try:
            await step.load()
            await KNOWN[job.kind].run(step, **job.args)
        except asyncio.CancelledError:
            if self._stopping or self._running[job.id].lost:
                raise
            error = RuntimeError("the handler was cancelled by its own code")
        except Fenced:
            raise
        except Exception as raised:
            error = raised
        if step.ended is not None:
            if error is not None:
                logger.error("job %s (%s) raised after its last commit", job.id, job.kind, exc_info=error)
        elif self._stopping and error is not None:
            await self._put_back(step, error=reason_of(error))  # perhaps an effect of being stopped
        elif step.cancelled.is_set() or isinstance(error, Cancelled):
            if error is not None and not isinstance(error, Cancelled):
                logger.info("job %s (%s) ended on request: %s", job.id, job.kind, reason_of(error))
            await self._cancelled(step)
        elif error is None:
            async with step.ending(JobState.Done):
                pass
        elif isinstance(error, Retry):
            await self._put_back(step, pause_s=error.after_s, error=reason_of(error))
        elif job.attempts + 1 < KNOWN[job.kind].max_attempts:
            logger.warning("job %s (%s) is tried again: %s", job.id, job.kind, reason_of(error))
            pause_s = min(LONGEST_PAUSE_S, 2.0**job.attempts) * random.uniform(0.5, 1.0)
            await self._put_back(step, pause_s=pause_s, error=reason_of(error), attempts=job.attempts + 1)
        else:
            if isinstance(error, Fault | Unfit):
                logger.warning(
                    "job %s (%s) failed: %s", job.id, job.kind, reason_of(error).partition("\n")[0]
                )
            else:
                logger.error("job %s (%s) failed", job.id, job.kind, exc_info=error)
            await self._give_up(KNOWN[job.kind], job, step, error)

    async def _give_up(self, known: Definition, job: Job, step: Step, error: Exception) -> None:
        reason = reason_of(error)
        if known.on_failure is not None:
            step.fails(reason)
            try:
                await known.on_failure(step, error, **job.args)
            except Fenced:
                raise
            except Exception as second:
                logger.exception("on_failure of job %s (%s) failed as well", job.id, job.kind)
                reason = f"{reason} (and then: {reason_of(second)})"
        if step.ended is None:
            async with step.ending(JobState.Failed, reason):
                pass

    async def _cancelled(self, step: Step) -> None:
        async with step.holding() as tx:
            row = await tx.maybe(Job, Job.id == step.job_id)
            assert row is not None  # held
            await become_cancelled(tx, row)

    async def _put_back(
        self, step: Step, *, pause_s: float = 0.0, error: str = "", attempts: int | None = None
    ) -> None:
        """Let the job wait for a worker again, from `pause_s` seconds from now."""
        values: dict[str, Any] = {} if attempts is None else {"attempts": attempts}
        async with step.holding() as tx:
            if pause_s:
                values["run_after"] = await tx.now() + timedelta(seconds=pause_s)
            await tx.execute(
                update(Job)
                .where(Job.id == step.job_id)
                .values(state=JobState.Waiting, worker="", lease_until=None, error=error, **values)
            )
