"""Jobs in one process: enqueuing, steps, ends, cancelling, leases, slots; on both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform import jobs
from qianfan_platform.jobs import Cancelled, Fenced, Job, JobState, Retry, Step, Worker
from qianfan_platform.store import Store, Tx, utc_now

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def working(
    store: Store, platform: Any = None, *, name: str = "w", **options: Any
) -> AsyncIterator[Worker]:
    worker = Worker(store, platform, name=name, **options)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def enqueued(store: Store, kind: str, **options: Any) -> Job:
    async with store.transaction() as tx:
        return await jobs.enqueue(tx, kind, **{"owner": 1, "args": {}, **options})


async def until(store: Store, job: Job, *states: JobState, timeout_s: float = 15.0) -> Job:
    """Wait for one of `states` (default: any end) and return the row."""
    ends = states or (JobState.Done, JobState.Failed, JobState.Cancelled)
    deadline = time.monotonic() + timeout_s
    while True:
        async with store.reading() as tx:
            row = await tx.one(Job, job.id)
        if row.state in ends:
            return row
        assert time.monotonic() < deadline, f"still {row.state}: {row.error}"
        await asyncio.sleep(0.01)


# ── enqueuing ────────────────────────────────────────────────────────────────────────────────────


async def test_a_job_is_enqueued_with_its_effect_or_not_at_all(store: Store) -> None:
    """A transaction that is rolled back leaves no job."""
    async with store.transaction() as tx:
        await jobs.enqueue(tx, "test.never", owner=1, args={"a": 1})
        await tx.session.rollback()
    async with store.reading() as tx:
        assert await tx.count(Job) == 0


async def test_a_job_runs_with_its_arguments_as_soon_as_it_is_committed(store: Store) -> None:
    """The worker of the same process is woken, it does not wait for its next look."""
    seen: list[Any] = []

    @jobs.job("test.seen")
    async def seen_by(step: Step, *, a: int, b: list[str]) -> None:
        seen.append((step.platform, step.owner, a, b))

    async with working(store, "the platform"):
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        job = await enqueued(store, "test.seen", owner=7, args={"a": 1, "b": ["语"]})
        done = await until(store, job)
        assert time.monotonic() - begun < 0.4
    assert seen == [("the platform", 7, 1, ["语"])]
    assert (done.state, done.fence, done.worker, done.lease_until) == (JobState.Done, 1, "w", None)
    assert done.finished_at is not None


async def test_one_unfinished_job_per_key(store: Store) -> None:
    """The same key gives the job that is there; another owner's, or a finished one, does not count."""

    @jobs.job("test.keyed")
    async def keyed(step: Step) -> None: ...

    first = await enqueued(store, "test.keyed", key="k")
    assert (await enqueued(store, "test.keyed", key="k")).id == first.id
    assert (await enqueued(store, "test.keyed", key="k", owner=2)).id != first.id
    assert (await enqueued(store, "test.keyed", key=None)).id != first.id
    async with working(store):
        await until(store, first)
    assert (await enqueued(store, "test.keyed", key="k")).id != first.id


async def test_the_same_key_at_the_same_moment_makes_one_job(store: Store) -> None:
    """Two requests that race get the same job."""
    made = await asyncio.gather(*(enqueued(store, "test.race", key="k") for _ in range(8)))
    assert len({job.id for job in made}) == 1


async def test_a_job_does_not_begin_before_its_time(store: Store) -> None:
    """run_after is kept, and `waiting` tells of it."""

    @jobs.job("test.later")
    async def later(step: Step) -> None: ...

    job = await enqueued(store, "test.later", run_after=utc_now() + timedelta(seconds=0.8))
    async with working(store):
        await asyncio.sleep(0.3)
        async with store.reading() as tx:
            assert await jobs.waiting(tx, job.id) == {"why": "it is to begin in 1 s", "position": 1}
        done = await until(store, job)
    assert done.finished_at is not None
    assert done.finished_at >= job.run_after


# ── steps ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_finished_step_never_runs_again(store: Store) -> None:
    """A handler that is run again gets the recorded results, and writes exactly once."""
    ran: list[str] = []

    async def part(name: str, *, value: Any) -> Any:
        ran.append(name)
        return value

    async def write(tx: Tx, name: str) -> int:
        ran.append(name)
        return (await tx.add(Job(owner_id=9, kind=name, args={}, slot="none", run_after=utc_now()))).id

    @jobs.job("test.again")
    async def again(step: Step) -> None:
        assert await step("a", part, "a", value=(1, "x", None)) == [1, "x", None]
        number = await step.write("b", write, "b")
        assert await step("c", part, "c", value=None) is None
        ran.append("end")
        if ran.count("end") < 3:
            raise Retry(0.01)
        async with step.transaction(last=True) as tx:
            assert (await tx.one(Job, number)).kind == "b"

    async with working(store):
        done = await until(store, await enqueued(store, "test.again"))
    assert (done.state, done.attempts, done.fence) == (JobState.Done, 0, 3)
    assert ran == ["a", "b", "c", "end", "end", "end"]
    async with store.reading() as tx:
        assert await tx.count(Job, owner=9) == 1


async def test_the_last_transaction_makes_the_job_done(store: Store) -> None:
    """What the handler does after it cannot undo that, nor make it run again."""

    @jobs.job("test.last", max_attempts=3)
    async def last(step: Step) -> None:
        async with step.transaction(last=True):
            pass
        raise OSError("too late")

    async with working(store):
        done = await until(store, await enqueued(store, "test.last"))
        await asyncio.sleep(0.1)
    assert (done.state, done.error, done.fence) == (JobState.Done, "", 1)


@pytest.mark.parametrize("fault", ["twice", "no json"])
async def test_a_wrong_use_of_steps_is_an_error_that_says_so(store: Store, fault: str) -> None:
    """Two steps of one name, or a result that cannot be recorded, would be wrong only after a crash."""

    async def part() -> object:
        return object() if fault == "no json" else 1

    @jobs.job("test.wrong")
    async def wrong(step: Step) -> None:
        await step("part", part)
        await step("part", part)

    async with working(store):
        done = await until(store, await enqueued(store, "test.wrong"))
    assert done.state == JobState.Failed
    assert {"twice": "two steps named 'part'", "no json": "'part' must return JSON"}[fault] in done.error


# ── failing ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_failure_moves_the_room_and_the_job_together(store: Store) -> None:
    """on_failure gets the error and the arguments; its commit also ends the job, with the reason."""
    seen: list[Any] = []

    async def failed(step: Step, error: Exception, *, of: str) -> None:
        async with step.transaction() as tx:
            await tx.add(Job(owner_id=9, kind=of, args={}, slot="none", run_after=utc_now()))
            seen.append((error, (await tx.one(Job, step.job_id)).state))
        async with store.reading() as tx:
            seen.append((await tx.one(Job, step.job_id)).state)
        async with step.transaction() as tx:
            seen.append(await tx.count(Job, owner=9))

    @jobs.job("test.fails", on_failure=failed)
    async def fails(step: Step, *, of: str) -> None:
        raise Fault(errors.BAD_DATASET, "the rows are gone", "bring them back")

    async with working(store):
        done = await until(store, await enqueued(store, "test.fails", args={"of": "note"}))
        await asyncio.sleep(0.1)
    assert (done.state, done.error) == (JobState.Failed, "the rows are gone. bring them back")
    assert str(seen[0][0]) == "the rows are gone"
    assert seen[0][1:] + tuple(seen[1:]) == (JobState.Running, JobState.Failed, 1)


async def test_what_its_owner_can_mend_is_one_line_of_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad data of a user is no traceback for the operator; a mistake of the program is."""

    @jobs.job("test.unfit")
    async def unfit(step: Step) -> None:
        raise jobs.Unfit("3 of 4 records are refused:\nline 1")

    @jobs.job("test.mistaken")
    async def mistaken(step: Step) -> None:
        raise ZeroDivisionError

    async with working(store):
        for kind in ("test.unfit", "test.mistaken"):
            await until(store, await enqueued(store, kind))
    line, trace = [record for record in caplog.records if " failed" in record.message]
    assert line.message.endswith("(test.unfit) failed: 3 of 4 records are refused:")
    assert (line.exc_info, line.levelname) == (None, "WARNING")
    assert trace.exc_info is not None


async def test_a_failure_of_on_failure_is_told_as_well(store: Store) -> None:
    """The job ends; both reasons are kept."""

    async def failed(step: Step, error: Exception) -> None:
        async with step.transaction():
            raise KeyError("second")

    @jobs.job("test.fails.twice", on_failure=failed)
    async def fails(step: Step) -> None:
        raise OSError("first")

    async with working(store):
        done = await until(store, await enqueued(store, "test.fails.twice"))
    assert (done.state, done.error) == (JobState.Failed, "first (and then: 'second')")


async def test_a_job_that_asks_for_it_is_tried_again(store: Store) -> None:
    """Up to max_attempts, with a pause; on_failure comes only after the last."""
    ran: list[str] = []

    async def failed(step: Step, error: Exception) -> None:
        ran.append(f"failed: {error}")

    @jobs.job("test.attempts", on_failure=failed, max_attempts=2)
    async def attempts(step: Step) -> None:
        ran.append("ran")
        raise OSError("no wire")

    async with working(store):
        job = await enqueued(store, "test.attempts")
        between = await until(store, job, JobState.Waiting)
        async with asyncio.timeout(15):
            while not between.error:
                between = await until(store, job, JobState.Waiting)
        async with store.reading() as tx:
            told = await jobs.waiting(tx, job)
        done = await until(store, job)
    assert told is not None
    assert told["why"] == "it is to begin in 1 s, after: no wire"
    assert (done.state, done.error, done.attempts) == (JobState.Failed, "no wire", 1)
    assert ran == ["ran", "ran", "failed: no wire"]


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────


async def test_a_waiting_job_is_cancelled_at_once(store: Store) -> None:
    """It never runs; its hook runs in the same transaction."""
    seen: list[Any] = []

    async def cancelled(tx: Tx, job: Job, *, of: int) -> None:
        seen.append((of, (await tx.one(Job, job.id)).state))

    @jobs.job("test.cancelled", on_cancel=cancelled)
    async def never(step: Step, *, of: int) -> None:
        seen.append("ran")

    job = await enqueued(store, "test.cancelled", args={"of": 5})
    async with store.transaction() as tx:
        assert await jobs.cancel(tx, job.id) == JobState.Cancelled
        assert await jobs.cancel(tx, job.id) == JobState.Cancelled
        with pytest.raises(Fault, match="job 99 does not exist"):
            await jobs.cancel(tx, 99)
    async with working(store):
        await asyncio.sleep(0.1)
    assert seen == [(5, JobState.Cancelled)]


@pytest.mark.parametrize("process", ["same", "another"])
async def test_a_running_job_hears_that_it_was_cancelled(
    store: Store, database_url: str, process: str
) -> None:
    """Within 0.3 s in the same process, 1 s from another one (here: another store, which no worker hears)."""
    seen: list[str] = []

    async def cancelled(tx: Tx, job: Job) -> None:
        seen.append("hook")

    @jobs.job("test.stops", on_cancel=cancelled)
    async def stops(step: Step) -> None:
        await step.cancelled.wait()
        seen.append("stopped")
        step.check()

    other = store if process == "same" else await Store.open(database_url)
    async with working(store):
        job = await enqueued(store, "test.stops")
        await until(store, job, JobState.Running)
        begun = time.monotonic()
        async with other.transaction() as tx:
            assert await jobs.cancel(tx, job) == JobState.Running
        done = await until(store, job)
        took = time.monotonic() - begun
    if other is not store:
        await other.close()
    assert (done.state, seen) == (JobState.Cancelled, ["stopped", "hook"])
    assert took < (0.3 if process == "same" else 1.0) + 0.2  # the way through the database


async def test_an_error_of_a_job_that_was_to_stop_is_no_failure(store: Store) -> None:
    """Being torn down half-way is what was asked for."""
    seen: list[str] = []

    async def failed(step: Step, error: Exception) -> None:
        seen.append("failed")

    @jobs.job("test.torn", on_failure=failed)
    async def torn(step: Step) -> None:
        await step.cancelled.wait()
        raise OSError("the child is gone")

    async with working(store):
        job = await enqueued(store, "test.torn")
        await until(store, job, JobState.Running)
        async with store.transaction() as tx:
            await jobs.cancel(tx, job)
        done = await until(store, job)
    assert (done.state, seen) == (JobState.Cancelled, [])


# ── leases, fences, workers ──────────────────────────────────────────────────────────────────────


async def test_a_heartbeat_keeps_a_long_job(store: Store) -> None:
    """A job that takes longer than its lease is not taken by the worker beside it."""
    ran: list[str] = []

    @jobs.job("test.long")
    async def long(step: Step) -> None:
        ran.append(step.platform)
        await asyncio.sleep(2.0)

    async with working(store, "a", name="a", lease_s=0.8), working(store, "b", name="b", lease_s=0.8):
        done = await until(store, await enqueued(store, "test.long"))
    assert (done.state, done.fence, len(ran)) == (JobState.Done, 1, 1)


async def test_an_old_fence_writes_nothing(store: Store) -> None:
    """Whoever holds a claim that was followed by another gets Fenced, before anything is written."""
    job = await enqueued(store, "test.nobody")
    async with store.transaction() as tx:
        await tx.execute(update(Job).values(state=JobState.Running, fence=1, lease_until=utc_now()))
        claimed = await tx.one(Job, job.id)
    step = Step(store, None, claimed, lease_s=1)
    async with step.transaction() as tx:
        pass
    async with store.transaction() as tx:
        await tx.execute(update(Job).values(fence=2))

    async def part() -> int:
        return 1

    with pytest.raises(Fenced):
        await step("part", part)
    with pytest.raises(Fenced):
        async with step.transaction(last=True):
            pytest.fail("the block must not run")
    async with store.reading() as tx:
        assert (await tx.one(Job, job.id)).state == JobState.Running


async def test_a_worker_that_lost_its_lease_stops_the_handler(store: Store) -> None:
    """Work that somebody else does already is not gone on with."""
    seen: list[str] = []

    @jobs.job("test.lost")
    async def lost(step: Step) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("stopped")
            raise

    async with working(store, lease_s=0.6):
        job = await enqueued(store, "test.lost")
        await until(store, job, JobState.Running)
        async with store.transaction() as tx:
            lease = utc_now() + timedelta(seconds=60)
            await tx.execute(update(Job).values(fence=Job.fence + 1, worker="other", lease_until=lease))
        for _ in range(150):
            if seen:
                break
            await asyncio.sleep(0.01)
        after = await until(store, job, JobState.Running)
    assert (seen, after.worker, after.fence) == (["stopped"], "other", 2)


async def test_a_worker_that_stops_leaves_its_jobs_to_the_next_at_once(store: Store) -> None:
    """Nobody waits for the lease to run out, and the finished step stays finished."""
    ran: list[str] = []

    async def part() -> None:
        ran.append("part")

    @jobs.job("test.stop")
    async def stop(step: Step) -> None:
        await step("part", part)
        ran.append(step.platform)
        if step.platform == "first":
            await asyncio.sleep(30)

    async with working(store, "first", lease_s=60):
        job = await enqueued(store, "test.stop")
        async with asyncio.timeout(15):
            while "first" not in ran:
                await asyncio.sleep(0.01)
    assert (await until(store, job, JobState.Waiting)).lease_until is None
    begun = time.monotonic()
    async with working(store, "second", lease_s=60):
        assert (await until(store, job)).state == JobState.Done
    assert time.monotonic() - begun < 2
    assert ran == ["part", "first", "second"]


async def test_an_exclusive_worker_takes_up_what_a_dead_one_left(store: Store) -> None:
    """With the folder locked by this process, a running job has no other owner: no lease is waited for."""

    @jobs.job("test.left")
    async def left(step: Step) -> None: ...

    job = await enqueued(store, "test.left")
    async with store.transaction() as tx:
        lease = utc_now() + timedelta(hours=1)
        await tx.execute(
            update(Job).values(state=JobState.Running, worker="dead", fence=3, lease_until=lease)
        )
    async with working(store, exclusive=True):
        done = await until(store, job)
    assert (done.state, done.fence) == (JobState.Done, 4)


async def test_an_idle_exclusive_worker_hears_of_new_jobs_and_keeps_the_time_of_old_ones(
    store: Store,
) -> None:
    """It sleeps for seconds while there is nothing to do, and still is there at once, and for a retry in time."""
    began: list[float] = []

    @jobs.job("test.timely")
    async def timely(step: Step) -> None:
        began.append(time.monotonic())
        if len(began) == 1:
            raise jobs.Retry(1.0, "not yet")

    async with working(store, exclusive=True):
        await asyncio.sleep(0.3)  # it has nothing to do by now
        asked = time.monotonic()
        job = await enqueued(store, "test.timely")
        assert (await until(store, job)).state == JobState.Done
    assert began[0] - asked < 0.5
    assert 0.9 < began[1] - began[0] < 2.5


async def test_two_workers_share_the_work_without_doubles(store: Store, database_url: str) -> None:
    """Each job runs once, whoever takes it, and never more at once than there are places."""
    ran: list[tuple[str, int]] = []
    now: dict[str, int] = {"a": 0, "b": 0}
    most = dict(now)

    @jobs.job("test.share")
    async def share(step: Step, *, n: int) -> None:
        me = step.platform
        now[me] += 1
        most[me] = max(most[me], now[me])
        ran.append((me, n))
        await asyncio.sleep(0.01)
        now[me] -= 1

    other = await Store.open(database_url)
    async with store.transaction() as tx:
        made = [await jobs.enqueue(tx, "test.share", owner=1, args={"n": n}) for n in range(24)]
    slots = {"general": 3}
    async with working(store, "a", name="a", slots=slots), working(other, "b", name="b", slots=slots):
        for job in made:
            assert (await until(store, job)).fence == 1
    await other.close()
    assert sorted(n for _, n in ran) == list(range(24))
    assert {me for me, _ in ran} == {"a", "b"}
    assert max(most.values()) <= 3


async def test_the_oldest_comes_first_and_the_others_know_their_place(store: Store) -> None:
    """A full queue does not hold up another; `waiting` tells why and where."""
    ran: list[int] = []
    go = asyncio.Event()

    @jobs.job("test.order")
    async def order(step: Step, *, n: int) -> None:
        ran.append(n)
        await go.wait()

    async with store.transaction() as tx:
        made = [await jobs.enqueue(tx, "test.order", owner=1, args={"n": n}, slot="train") for n in range(3)]
        before = [await jobs.waiting(tx, job) for job in made]
        aside = await jobs.enqueue(tx, "test.order", owner=1, args={"n": 9}, slot="general")
    async with working(store, slots={"train": 1, "general": 1}):
        await until(store, aside, JobState.Running)
        await until(store, made[0], JobState.Running)
        async with store.reading() as tx:
            during = [await jobs.waiting(tx, job) for job in made]
        go.set()
        for job in made:
            await until(store, job)
    assert [n for n in ran if n != 9] == [0, 1, 2]
    assert before == [
        {"why": "no worker of the queue 'train' has taken it yet", "position": 1},
        {"why": "1 job is before this one in the queue 'train'", "position": 2},
        {"why": "2 jobs are before this one in the queue 'train'", "position": 3},
    ]
    assert during == [
        None,
        {"why": "1 job is running in the queue 'train'", "position": 1},
        {"why": "1 job is running in the queue 'train', 1 job is before this one", "position": 2},
    ]


async def test_a_job_that_this_program_does_not_know_waits(store: Store) -> None:
    """A worker of an older version leaves new kinds of work to newer ones."""
    job = await enqueued(store, "test.of the future")
    async with working(store):
        await asyncio.sleep(0.2)
    assert (await until(store, job, JobState.Waiting)).fence == 0


def test_two_handlers_of_one_kind_are_refused() -> None:
    """Which one would run?"""

    @jobs.job("test.claimed")
    async def mine(step: Step) -> None: ...

    with pytest.raises(ValueError, match="is registered already"):

        @jobs.job("test.claimed")
        async def yours(step: Step) -> None: ...


def test_check_ends_a_handler_that_was_to_stop() -> None:
    """One line for handlers that have nothing to tidy up."""
    step = Step(None, None, Job(id=1, owner_id=1, fence=1, cancel_requested=False), lease_s=1)  # type: ignore[arg-type]
    step.check()
    step.cancelled.set()
    with pytest.raises(Cancelled):
        step.check()
