"""What operations can rely on in a transaction, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from qianfan.contract import errors, lifecycle
from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform.jobs.tables import Job
from qianfan_platform.store import Row, Status, Store, keep_modified, utc_now

pytestmark = pytest.mark.anyio


def a_row(owner: int = 1, **values: object) -> Job:
    return Job(
        **{"owner_id": owner, "kind": "a", "args": {}, "slot": "general", "run_after": utc_now(), **values}
    )


async def test_a_row_gets_a_number_a_public_id_and_aware_moments(store: Store) -> None:
    """What `add` returns can be answered to a client at once."""
    async with store.transaction() as tx:
        row = await tx.add(a_row(args={"语言": ["中文", 1, None]}))
    assert row.id == 1
    assert row.public_id.startswith("work-")
    async with store.reading() as tx:
        again = await tx.one(Job, row.public_id)
    assert again is not row
    assert again.args == {"语言": ["中文", 1, None]}
    assert again.created_at == row.created_at
    assert again.created_at.tzinfo is UTC
    assert again.modified_at >= again.created_at


@pytest.mark.parametrize("spell", [lambda row: row.id, lambda row: str(row.id), lambda row: row.public_id])
async def test_a_row_is_found_by_number_text_or_public_id(store: Store, spell: object) -> None:
    """Either id is taken wherever an id is."""
    async with store.transaction() as tx:
        row = await tx.add(a_row())
        assert await tx.one(Job, spell(row), owner=1) is row  # type: ignore[operator]


async def test_what_is_no_id_does_not_exist(store: Store) -> None:
    """No value that a client may send as an id is an internal error."""
    async with store.transaction() as tx:
        await tx.add(a_row())
        for ident in ("2", 2, 10**40, -1, "work-nothing", "\0", "", None, True, 1.5, [], "9" * 18):
            with pytest.raises(Fault, match="does not exist"):
                await tx.one(Job, ident)


async def test_another_owners_row_answers_like_a_missing_one(store: Store) -> None:
    """Nobody can find out what others have."""
    async with store.transaction() as tx:
        await tx.add(a_row(owner=2))
        with pytest.raises(Fault) as foreign:
            await tx.one(Job, 1, owner=1, missing=errors.RUN_NOT_FOUND, noun="training run")
        with pytest.raises(Fault) as missing:
            await tx.one(Job, 9, owner=1, missing=errors.RUN_NOT_FOUND, noun="training run")
        assert await tx.count(Job, owner=1) == 0
        assert await tx.count(Job, owner=2) == 1
        assert await tx.find(Job, owner=1) == []
    assert foreign.value.row is missing.value.row is errors.RUN_NOT_FOUND
    assert str(foreign.value) == "training run 1 does not exist"
    assert str(missing.value) == "training run 9 does not exist"


async def test_find_orders_limits_and_skips(store: Store) -> None:
    """Pages of a listing are cut by the database."""
    async with store.transaction() as tx:
        for kind in "cab":
            await tx.add(a_row(kind=kind))
        assert [row.kind for row in await tx.find(Job)] == ["c", "a", "b"]
        assert [row.kind for row in await tx.find(Job, order_by=Job.kind, limit=2)] == ["a", "b"]
        assert [row.kind for row in await tx.find(Job, order_by=Job.id.desc(), offset=1, limit=9)] == [
            "a",
            "c",
        ]
        assert [row.kind for row in await tx.find(Job, Job.kind != "a", order_by=(Job.kind,))] == ["b", "c"]


async def test_an_error_rolls_everything_back(store: Store) -> None:
    """A transaction that raised has written nothing, and what was to follow it does not happen."""
    told: list[str] = []

    async def fail() -> None:
        async with store.transaction() as tx:
            await tx.add(a_row())
            tx.after_commit(lambda: told.append("no"))
            raise OSError("no wire")

    with pytest.raises(OSError, match="no wire"):
        await fail()
    async with store.reading() as tx:
        assert await tx.count(Job) == 0
    assert told == []


async def test_actions_follow_the_commit(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Functions and coroutine functions run in order, outside the transaction; one that fails is logged."""
    told: list[int] = []

    def fail() -> None:
        raise OSError("no wire")

    async def count() -> None:
        async with store.transaction() as other:
            told.append(await other.count(Job))

    async with store.transaction() as tx:
        tx.after_commit(fail)
        tx.after_commit(count)
        tx.after_commit(lambda: told.append(7))
        await tx.add(a_row())
        assert told == []
    assert told == [1, 7]
    assert "no wire" in caplog.text


async def test_a_cancelled_task_has_committed_and_told_or_neither(store: Store) -> None:
    """Wherever the cancellation strikes, the row and what follows its commit come together."""
    told: list[int] = []

    async def write() -> None:
        async with store.transaction() as tx:
            row = await tx.add(a_row())
            tx.after_commit(lambda: told.append(row.id))

    for turns in range(25):
        task = asyncio.create_task(write())
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])
    async with store.reading() as tx:
        assert sorted(told) == [row.id for row in await tx.find(Job)]


@pytest.mark.parametrize("step", ["commit", "close"])
async def test_a_cancellation_at_the_end_waits_for_what_follows(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """From the commit on there is no way back: cancelled there, a task still tells, and is cancelled then."""
    real, reached = getattr(AsyncSession, step), asyncio.Event()
    told: list[int] = []

    async def slow(session: AsyncSession) -> None:
        await real(session)
        reached.set()
        await asyncio.sleep(0.05)

    async def write() -> None:
        async with store.transaction() as tx:
            row = await tx.add(a_row())
            tx.after_commit(lambda: told.append(row.id))

    monkeypatch.setattr(AsyncSession, step, slow)
    task = asyncio.create_task(write())
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(told) == 1


async def test_writers_queue_and_lose_nothing(store: Store) -> None:
    """Many tasks that read and then write the same row add up."""
    async with store.transaction() as tx:
        row = await tx.add(a_row())

    async def add() -> None:
        async with store.transaction() as tx:
            mine = await tx.one(Job, row.id, lock=True)
            mine.attempts += 1

    await asyncio.gather(*(add() for _ in range(30)))
    async with store.reading() as tx:
        assert (await tx.one(Job, row.id)).attempts == 30


async def test_a_second_transaction_in_one_task_is_refused(store: Store) -> None:
    """It would wait for the first for ever."""
    async with store.transaction():
        with pytest.raises(RuntimeError, match="pass its tx on"):
            async with store.transaction():
                pass
    async with store.transaction() as tx:
        assert await tx.count(Job) == 0


async def test_a_reader_cannot_write_and_waits_for_nobody(store: Store) -> None:
    """Reading goes on beside an open write, and sees only what is committed."""
    async with store.transaction() as tx:
        await tx.add(a_row())
        async with store.reading() as reader:
            assert await reader.count(Job) == 0
            with pytest.raises(RuntimeError, match="only reads"):
                await reader.add(a_row())
            with pytest.raises(RuntimeError, match="only reads"):
                await reader.execute(update(Job).values(error="x"))


async def test_modified_at_follows_changes_unless_told_not_to(store: Store) -> None:
    """A note in the margin does not make a thing newer."""
    async with store.transaction() as tx:
        row = await tx.add(a_row())
    first = row.modified_at
    async with store.transaction() as tx:
        row = await tx.one(Job, row.id)
        row.error = "a note"
        keep_modified(row)
    async with store.transaction() as tx:
        row = await tx.one(Job, row.id)
        assert (row.error, row.modified_at) == ("a note", first)
        row.error = "a change"
    async with store.reading() as tx:
        row = await tx.one(Job, row.id)
        assert (row.error, row.modified_at > first) == ("a change", True)


async def test_numbers_are_never_used_again(store: Store) -> None:
    """An id that a client kept cannot come to mean another thing."""
    async with store.transaction() as tx:
        row = await tx.add(a_row())
        await tx.delete(row)
    async with store.transaction() as tx:
        assert (await tx.add(a_row())).id == 2


async def test_whole_numbers_are_64_bits_wide(store: Store) -> None:
    """Sizes in bytes and counts of tokens fit."""
    async with store.transaction() as tx:
        row = await tx.add(a_row(fence=2**40))
    async with store.reading() as tx:
        assert (await tx.one(Job, row.id)).fence == 2**40


async def test_a_moment_without_a_zone_is_refused(store: Store) -> None:
    """Nobody knows which hour it means."""
    with pytest.raises(Exception, match="no time zone"):
        async with store.transaction() as tx:
            await tx.add(a_row(run_after=datetime(2026, 1, 1)))


async def test_a_move_of_a_deleted_row_says_that_it_is_gone(store: Store) -> None:
    """Somebody else may delete what one holds."""
    async with store.transaction() as tx:
        row = await tx.add(a_row())
        tx.session.expunge(row)
        gone = await tx.one(Job, row.id)
        await tx.delete(gone)
        with pytest.raises(Fault, match="training run 1 does not exist"):
            await tx.move(row, lifecycle.TRAIN_RUN, TrainStatus.Stop, field="error")


def test_a_status_that_is_no_state_is_refused() -> None:
    """A typing error never reaches the database."""
    column = Status(TrainStatus)
    assert column.process_bind_param(TrainStatus.Finish, None) == "Done"  # type: ignore[arg-type]
    assert column.process_bind_param("Done", None) == "Done"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'Finished' is no state of TrainStatus"):
        column.process_bind_param("Finished", None)  # type: ignore[arg-type]


def test_a_row_prints_its_number_only() -> None:
    """Columns may hold what must not be printed."""
    row: Row = a_row(args={"secret": "hush"})
    assert repr(row) == "<Job None>"
