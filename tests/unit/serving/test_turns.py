"""Turns at an engine: fair between owners, bounded, and never lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from qianfan.contract.errors import BUSY, Fault
from qianfan_platform.serving.turns import Turns


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_owners_take_turns_and_one_owner_waits_in_line() -> None:
    """A has ten in line, then B and C come with two each: they alternate, each in order of arrival."""

    async def work() -> None:
        turns, order = Turns(1), []
        await turns.take(0)

        async def wait(who: int, number: int) -> None:
            await turns.take(who)
            order.append((who, number))

        tasks = [asyncio.create_task(wait(1, n)) for n in range(10)]
        await settle()
        tasks += [asyncio.create_task(wait(who, n)) for n in range(2) for who in (2, 3)]
        await settle()
        assert turns.waiting == 14
        for _ in range(14):
            turns.leave()
            await settle()
        assert order[:6] == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1)]
        assert [n for who, n in order if who == 1] == list(range(10))
        turns.leave()
        assert (turns.inside, turns.waiting) == (0, 0)
        await asyncio.gather(*tasks)

    run(work)


def test_a_queue_is_bounded_for_all_and_for_each() -> None:
    """Beyond it: Fault(BUSY) at once, and others still find room."""

    async def work() -> None:
        turns = Turns(1, most=5, most_each=3)
        await turns.take(1)
        tasks = [asyncio.create_task(turns.take(1)) for _ in range(3)]
        await settle()
        with pytest.raises(Fault) as refused:
            await turns.take(1)
        assert refused.value.row is BUSY
        tasks += [asyncio.create_task(turns.take(who)) for who in (2, 3)]
        await settle()
        with pytest.raises(Fault):
            await turns.take(4)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (turns.inside, turns.waiting) == (1, 0)

    run(work)


def test_a_wait_ends_after_its_time() -> None:
    """Fault(BUSY); the place in line is gone."""

    async def work() -> None:
        turns = Turns(1, wait_s=0.02)
        await turns.take(1)
        with pytest.raises(Fault) as refused:
            await turns.take(1)
        assert refused.value.row is BUSY
        assert turns.waiting == 0
        turns.leave()
        await turns.take(2)

    run(work)


def test_a_turn_that_comes_as_its_owner_leaves_goes_to_the_next() -> None:
    """Cancelled in the very moment: the place is not lost."""

    async def work() -> None:
        turns = Turns(1)
        await turns.take(1)
        first = asyncio.create_task(turns.take(1))
        second = asyncio.create_task(turns.take(2))
        await settle()
        turns.leave()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await asyncio.wait_for(second, 1)
        assert (turns.inside, turns.waiting) == (1, 0)

    run(work)


@pytest.mark.parametrize("seed", range(20))
def test_places_are_never_lost_nor_given_twice(seed: int) -> None:
    """Hundreds who come, leave early or run out of time: never more than three inside, nobody left over."""

    async def work() -> None:
        turns, chance = Turns(3, most=50, wait_s=0.02), random.Random(seed)
        inside = most = 0

        async def visit() -> None:
            nonlocal inside, most
            try:
                await turns.take(chance.randrange(4))
            except Fault:
                return
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(chance.random() * 0.004)
            finally:
                inside -= 1
                turns.leave()

        tasks = []
        for _ in range(200):
            tasks.append(asyncio.create_task(visit()))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.2:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        assert (turns.inside, turns.waiting) == (0, 0)

    run(work)
