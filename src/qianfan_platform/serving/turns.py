"""Turns at an engine: so many at once, the rest wait, owner by owner and within one in order of arrival."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

from qianfan.contract.errors import BUSY, Fault

MOST_WAITING: Final = 256  # at one engine
MOST_WAITING_EACH: Final = 128  # of one owner at one engine
WAIT_S: Final = 120.0


class Moved(Exception):
    """The engine waited for is no longer the one to wait for: choose again."""


class Turns:
    """Places at one engine. Not for threads: it belongs to one event loop.

    parallel: how many are inside at once. most, most_each: how many wait, in all and of one owner.
    wait_s: after so long a wait is given up."""

    def __init__(
        self,
        parallel: int,
        *,
        most: int = MOST_WAITING,
        most_each: int = MOST_WAITING_EACH,
        wait_s: float = WAIT_S,
    ) -> None:
        self._parallel, self._most, self._most_each, self._wait_s = parallel, most, most_each, wait_s
        self._queues: OrderedDict[int, deque[asyncio.Future[None]]] = OrderedDict()  # next owner first
        self.inside = 0
        self.waiting = 0

    def take_free(self) -> bool:
        """A place, when one is free and nobody waits for it."""
        if self.inside < self._parallel and not self.waiting:
            self.inside += 1
            return True
        return False

    async def take(self, who: int) -> None:
        """A place, now or when it is `who`'s turn. Give it back with `leave`.

        Raises Fault(BUSY) when too many wait already, or the turn did not come in time; Moved after `move_on`."""
        if self.take_free():
            return
        queue = self._queues.get(who)
        if self.waiting >= self._most or (queue is not None and len(queue) >= self._most_each):
            raise Fault(BUSY, f"{BUSY.text}: {self.waiting} requests wait for this model")
        if queue is None:
            queue = self._queues[who] = deque()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        queue.append(turn)
        self.waiting += 1
        alarm = loop.call_later(self._wait_s, _give_up, turn, self._wait_s)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # it came, but we were cancelled at that very moment
            else:
                self._forget(who, turn)
            raise
        finally:
            alarm.cancel()

    def leave(self) -> None:
        """Give a place back; the next in turn has it at once."""
        self.inside -= 1
        while self.waiting and self.inside < self._parallel:
            who, queue = next(iter(self._queues.items()))
            turn = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues.move_to_end(who)  # the other owners go first now
            else:
                del self._queues[who]
            if not turn.done():
                self.inside += 1
                turn.set_result(None)

    def move_on(self) -> None:
        """Send those who wait away with Moved, in the order in which their turns would have come."""
        while self._queues:
            who, queue = next(iter(self._queues.items()))
            turn = queue.popleft()
            if queue:
                self._queues.move_to_end(who)
            else:
                del self._queues[who]
            if not turn.done():
                turn.set_exception(Moved())
        self.waiting = 0

    def _forget(self, who: int, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(who)
        if queue is None or turn not in queue:
            return
        queue.remove(turn)
        self.waiting -= 1
        if not queue:
            del self._queues[who]


def _give_up(turn: asyncio.Future[None], waited_s: float) -> None:
    if not turn.done():
        turn.set_exception(Fault(BUSY, f"{BUSY.text}: the turn did not come within {waited_s:g} s"))
