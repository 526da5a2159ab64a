"""Work that is begun at once, and gets a task of its own only when it has to wait.

Most answers of a quick engine wait for nothing; for those a task, its turn in the event loop and the rest of its life
would cost more than signing in and counting together. `Task(eager_start=True)` of Python 3.12 does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def begin(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `work` until it waits; the task in which it goes on then, None when it is over. Raises what `work` raises.

    Not for a place that is in a task already."""
    beginning = _Beginning()
    asyncio._enter_task(loop, beginning)  # type: ignore[arg-type]
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    finally:
        asyncio._leave_task(loop, beginning)  # type: ignore[arg-type]
    beginning.task = task = loop.create_task(_Rest(work, waits_for))
    if beginning.cancelled:
        task.cancel()
    return task


class _Beginning:
    """The current task while work begins. Who keeps it to cancel it later, as `asyncio.timeout` does, reaches the task."""

    task: asyncio.Task[None] | None = None
    cancelled = False

    def cancel(self, msg: Any = None) -> bool:
        if self.task is not None:
            return self.task.cancel(msg)
        self.cancelled = True
        return True

    def cancelling(self) -> int:
        return int(self.cancelled) if self.task is None else self.task.cancelling()

    def uncancel(self) -> int:
        if self.task is not None:
            return self.task.uncancel()
        self.cancelled = False
        return 0


class _Rest(Coroutine[Any, Any, None]):
    """What is left of work that waits. A coroutine for a task, which is cancelled before it ran like any other."""

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for
        self._waits = True  # and the task has not been told for what

    def send(self, value: Any) -> Any:
        if self._waits:
            self._waits = False
            return self._waits_for
        return self._work.send(value)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        self._waits = False
        return self._work.throw(kind if value is None else value)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("this coroutine is for a task")
