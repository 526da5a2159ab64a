"""When to try again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from qianfan.errors import APIError, ConnectionLost, QianfanError, RequestError, RequestTimeoutError


@dataclass(frozen=True)
class Retry:
    """attempts: in total, 1 = no retry. Times in seconds. codes: platform codes worth another attempt.

    The wait after attempt n is backoff · 2^(n-1) + U(0, jitter), at most max_wait, and never less than the
    server asked for. All attempts and waits share one deadline, counted from the first."""

    attempts: int = 1
    timeout_s: float = 60.0
    backoff: float = 1.0
    jitter: float = 1.0
    max_wait_s: float = 120.0
    codes: frozenset[int] = frozenset()

    @property
    def deadline_s(self) -> float:
        """What the whole call may take: every attempt its timeout, every wait at its longest."""
        waits = sum(
            min(self.backoff * 2.0**n + self.jitter, self.max_wait_s) for n in range(self.attempts - 1)
        )
        return self.attempts * self.timeout_s + waits

    def wants(self, error: QianfanError) -> bool:
        """True when `error` may pass: no connection, no answer in time, HTTP 429 and 5xx, the codes."""
        if isinstance(error, (ConnectionLost, RequestTimeoutError)):
            return True
        if isinstance(error, RequestError) and error.status_code is not None:
            return error.status_code == 429 or error.status_code >= 500
        return isinstance(error, APIError) and error.error_code in self.codes

    def delay_after(
        self, error: QianfanError, attempt: int, uniform: Callable[[float, float], float] = random.uniform
    ) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) failed with `error`."""
        planned = min(self.backoff * 2.0 ** (attempt - 1) + uniform(0.0, self.jitter), self.max_wait_s)
        return max(planned, error.retry_after_s or 0.0)
