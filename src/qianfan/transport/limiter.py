"""A rate as a line of places in time: a place is reserved, and the caller waits for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

LATE_S = 0.05  # a caller that wakes so little late still has its place, so that lateness does not add up
WATCHED = (
    1.0,
    10_000.0,
)  # rates whose departures are looked at; outside one second says nothing, or too much


class Limiter:
    """At most `rate` units a second, evenly spaced, the first at once (GCRA, burst 1). No rate, no limit.

    Places are given in the order of asking, to threads and tasks alike: it counts, it does not sleep."""

    def __init__(self, rate: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._clock = clock
        self._next = float("-inf")  # when the next place is free
        self._left: deque[float] = deque()  # when the last callers went
        self._lock = Lock()

    @property
    def rate(self) -> float:
        """Units a second; 0.0 = no limit."""
        return 1.0 / self._interval if self._interval else 0.0

    def reserve(self, units: float = 1.0) -> float:
        """Seconds to wait before going on; 0.0 when free. Counts the units as used."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = self._clock()
            late = min(LATE_S, self._interval / 2)
            at = self._next if self._next >= now - late else now
            self._next = at + units * self._interval
            return max(at - now, 0.0)

    def depart(self) -> float:
        """Seconds to wait still, for a caller whose time has come; 0.0: go.

        Callers that wake late crowd those behind them. Here no second gets more than rate + 1 of them."""
        rate = self.rate
        if not WATCHED[0] <= rate <= WATCHED[1]:
            return 0.0
        with self._lock:
            now = at = self._clock()
            while len(self._left) > int(rate):
                at = max(at, self._left.popleft() + 1.0)
            self._left.append(at)
            return at - now

    def correct(self, units: float) -> None:
        """Count so many units more, or fewer, for a place that was given."""
        if self._interval:
            with self._lock:
                self._next += units * self._interval

    def empty(self, units: float) -> None:
        """Let the next caller wait until so many units have come in again."""
        if self._interval:
            with self._lock:
                self._next = max(self._next, self._clock()) + units * self._interval

    def lower(self, rate: float) -> None:
        """Go on at `rate` where that is slower; places that were given stay."""
        if rate > 0:
            with self._lock:
                self._interval = max(self._interval, 1.0 / rate)
