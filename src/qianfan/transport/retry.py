"""When to try again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from qianfan.contract.errors import QPS_LIMIT, RPM_LIMIT, TPM_LIMIT
from qianfan.errors import APIError, ConnectionLost, QianfanError, RequestError, RequestTimeoutError

_SLOWER = frozenset({QPS_LIMIT.code, RPM_LIMIT.code, TPM_LIMIT.code})


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
    budget_share: float = 1.0  # retries of this process that each call earns; 1: no budget
    budget_floor: int = 0  # retries a minute that are there without

    @cached_property
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
        status = error.status_code if isinstance(error, (RequestError, APIError)) else None
        if status is not None and (status == 429 or status >= 500):
            return True
        return isinstance(error, APIError) and error.error_code in self.codes

    def spends(self, error: QianfanError) -> bool:
        """True when trying again burdens a server that is in trouble, and so is taken from the budget.

        One that only says "slower" is well, and is given the time it asks for."""
        return error.error_code not in _SLOWER and error.status_code != 429

    def delay_after(
        self, error: QianfanError, attempt: int, uniform: Callable[[float, float], float] = random.uniform
    ) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) failed with `error`."""
        planned = min(self.backoff * 2.0 ** (attempt - 1) + uniform(0.0, self.jitter), self.max_wait_s)
        return max(planned, error.retry_after_s or 0.0)
