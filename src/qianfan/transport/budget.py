"""The retry budget: how many second attempts a process makes at one server.

Every call may ask for several attempts, but when all calls fail, all of them asking again is what keeps a
server down. So each call earns a share of a retry, a few a minute are there without, and what is spent is spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

LEAST: Final = 10.0  # what can be saved up where there is no floor


class Budget:
    """Retries to spend. share: earned by each call. floor: given each minute; twice that can be saved up."""

    def __init__(self, share: float, floor: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._floor = floor
        self._clock = clock
        self._most = max(2 * floor, LEAST)
        self._left = floor
        self._at = clock()
        self._lock = Lock()

    def earn(self) -> None:
        """A call begins."""
        with self._lock:
            self._left = min(self._left + self._share, self._most)

    def spend(self) -> bool:
        """Take one retry; False when none is left."""
        with self._lock:
            now = self._clock()
            self._left = min(self._left + (now - self._at) * self._floor / 60, self._most)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


_budgets: dict[tuple[str, float, int], Budget] = {}
_lock = Lock()


def budget_of(server: str, share: float, floor: int) -> Budget | None:
    """The budget of this process for one server; None where a call may retry as often as it asks."""
    if share >= 1:
        return None
    with _lock:
        return _budgets.setdefault((server, share, floor), Budget(share, floor))
