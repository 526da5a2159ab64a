"""Several at once: every item once, results written in batches, a stop that is heard, errors that pass."""

from __future__ import annotations

import asyncio

import pytest

from qianfan_platform.evaluation.crew import work_through
from qianfan_platform.jobs import Cancelled


class Book:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.batches = 0

    async def write(self, batch: list[int]) -> None:
        self.rows += batch
        self.batches += 1


def test_every_item_is_worked_on_once_and_written() -> None:
    """A hundred items, five at a time, never more."""
    book, inside, most = Book(), 0, 0

    async def work(item: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return item

    asyncio.run(work_through(range(100), work, book.write, stop=asyncio.Event(), at_once=5))
    assert sorted(book.rows) == list(range(100))
    assert most == 5
    assert book.batches < 50


def test_what_was_finished_before_an_error_is_written() -> None:
    """The error passes, the others are let go."""
    book = Book()

    async def work(item: int) -> int:
        if item == 3:
            await asyncio.sleep(0.01)
            raise LookupError("three")
        if item > 3:
            await asyncio.sleep(60)
        return item

    with pytest.raises(LookupError, match="three"):
        asyncio.run(work_through(range(9), work, book.write, stop=asyncio.Event(), at_once=2))
    assert sorted(book.rows) == [0, 1, 2]


def test_a_stop_is_heard_in_the_middle_of_work() -> None:
    """Within moments, with what was finished written down."""
    book = Book()

    async def run() -> None:
        stop = asyncio.Event()

        async def work(item: int) -> int:
            if item == 2:
                stop.set()
                await asyncio.sleep(60)
            return item

        await work_through(range(9), work, book.write, stop=stop, at_once=1)

    with pytest.raises(Cancelled):
        asyncio.run(asyncio.wait_for(run(), 5))
    assert book.rows == [0, 1]


def test_nothing_to_do_is_done() -> None:
    """No item, no write."""
    book = Book()
    asyncio.run(work_through([], book.write, book.write, stop=asyncio.Event()))  # type: ignore[arg-type]
    assert book.batches == 0
