"""How soon an engine that died is started again: at once, then after longer and longer pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STEADY_S: Final = 10.0  # an engine that lived so long had begun well: its death is the first again
BUDGET: Final = 5  # deaths in a row; after that the engine counts as broken
PAUSES_S: Final = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # after so many deaths in a row


class Restarts:
    """Deaths in a row of the engines in one place. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0.0
        self.deaths = 0
        self.why = ""  # the last one

    def died(self, lived_s: float, why: str) -> None:
        """Count a death, or a start that failed (which lived for 0 s)."""
        self.deaths = 1 if lived_s >= STEADY_S else self.deaths + 1
        self._last, self.why = self._clock(), why

    def steady(self) -> None:
        """An engine has lived for STEADY_S: nothing is held against it."""
        self.deaths, self.why = 0, ""

    def pause_s(self) -> float:
        """Seconds until the next start may be tried."""
        pause = PAUSES_S[min(self.deaths, len(PAUSES_S) - 1)]
        return max(0.0, self._last + pause - self._clock())

    @property
    def used_up(self) -> bool:
        """True when it died too often in a row to be waited for."""
        return self.deaths >= BUDGET
