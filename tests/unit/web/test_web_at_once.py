"""Work that is begun at once: what it sees of its task, before and after it had to wait."""

from __future__ import annotations

import asyncio

import pytest

from qianfan_platform.web.at_once import begin

pytestmark = pytest.mark.anyio


def started(work: object) -> asyncio.Task[None] | None:
    """`begin`, as the loop calls it: in no task."""
    box: list[asyncio.Task[None] | None] = []
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    asyncio._leave_task(loop, me)
    try:
        box.append(begin(loop, work))  # type: ignore[arg-type]
    finally:
        asyncio._enter_task(loop, me)
    return box[0]


async def test_work_that_waits_for_nothing_is_over_at_once() -> None:
    """No task is made; what it raises comes out."""
    done: list[int] = []

    async def work(fails: bool) -> None:
        done.append(1)
        if fails:
            raise ValueError("no")

    assert started(work(False)) is None
    with pytest.raises(ValueError, match="no"):
        started(work(True))
    assert done == [1, 1]


async def test_work_that_waits_goes_on_in_a_task() -> None:
    """Through several waits, to its end."""
    done: list[object] = []

    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        done.append(asyncio.current_task())

    task = started(work())
    assert task is not None
    assert not done
    await task
    assert done == [task]


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_cancelled_task_cancels_its_work(turns: int) -> None:
    """Also when the task has not run yet; the work may still wait for something while it ends."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("yes")

    task = started(work())
    assert task is not None
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["yes"]


async def test_a_time_limit_that_began_before_the_task_holds_in_it() -> None:
    """`asyncio.timeout` keeps the current task of its beginning."""
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            seen.append("late")
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        seen.append("in time")

    task = started(work())
    assert task is not None
    await task
    assert seen == ["late", "in time"]


async def test_work_that_cancels_itself_before_it_waits_is_cancelled() -> None:
    """At its first wait, as any task."""

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    task = started(work())
    assert task is not None
    with pytest.raises(asyncio.CancelledError):
        await task
