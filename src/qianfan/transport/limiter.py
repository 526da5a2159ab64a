"""Rate limit of one client object: a place in time is reserved, and the caller waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Limiter:
    """At most `rate` calls a second, evenly spaced, the first at once (GCRA, burst 1). No rate, no limit.

    Safe to share among threads and event loops: it counts, it does not sleep."""

    def __init__(self, rate: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._clock = clock
        self._next = float("-inf")  # when the next place is free
        self._lock = Lock()

    def reserve(self) -> float:
        """Seconds to wait before the next call; 0.0 when free. Counts the call as made."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._interval
            return at - now
