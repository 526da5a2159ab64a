"""Several things at once, what is finished being written down every half second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar

from qianfan_platform.jobs import Cancelled

WRITE_S: Final = 0.5
AT_ONCE: Final = 8  # what one task asks of an engine at the same time

T = TypeVar("T")
R = TypeVar("R")


async def work_through(
    items: Iterable[T],
    work: Callable[[T], Awaitable[R]],
    write: Callable[[list[R]], Awaitable[None]],
    *,
    stop: asyncio.Event,
    at_once: int = AT_ONCE,
) -> None:
    """`await work(item)` for every item, `at_once` of them at a time; `write` gets the results in batches.

    Raises Cancelled soon after `stop` is set, and what `work` raises; what was finished before is written."""
    source = iter(items)
    finished: list[R] = []

    async def hand() -> None:
        for item in source:
            finished.append(await work(item))

    async def write_down() -> None:
        if finished:
            batch = finished.copy()
            finished.clear()
            await write(batch)

    hands = [asyncio.create_task(hand()) for _ in range(at_once)]
    stopped: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set() and (busy := [task for task in hands if not task.done()]):
            await asyncio.wait([*busy, stopped], timeout=WRITE_S, return_when=asyncio.FIRST_COMPLETED)
            await write_down()
            for task in hands:
                if task.done():
                    task.result()
    finally:
        tasks: list[asyncio.Task[Any]] = [*hands, stopped]
        for one in tasks:
            one.cancel()
        for one in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await one
    await write_down()
    if stop.is_set():
        raise Cancelled
