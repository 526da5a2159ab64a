"""How fast an account or an app may go, and how much it may have. Pure: the clock is handed in.

Rates are buckets: each holds one window's worth and refills evenly, so a caller that keeps to its rate is never
refused, and one that was idle may send a window's worth at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from qianfan.contract.errors import DAILY_LIMIT, QPS_LIMIT, RPM_LIMIT, TOTAL_LIMIT, TPM_LIMIT, ErrorRow, Fault

DAY_S: Final = 86400


@dataclass(frozen=True)
class Limits:
    """What one account, or one app, may use. 0 is no limit. Days are of UTC; tokens are prompt and answer."""

    requests_per_second: float = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    requests_per_day: int = 0
    total_tokens: int = 0

    @property
    def any(self) -> bool:
        """Whether anything is limited at all."""
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def shown_requests(self) -> int:
        """Requests a minute as told in X-Ratelimit-Limit-Requests; 0 when neither rate is limited."""
        by_second = math.ceil(self.requests_per_second * 60)
        return min(self.requests_per_minute or by_second, by_second or self.requests_per_minute)


NAMES: Final = frozenset(field.name for field in fields(Limits))


class LimitReached(Fault):
    """A limit is reached. `headers` of the answer: Retry-After in whole seconds, unless only a change of the
    limit helps, and the limits themselves."""

    def __init__(self, row: ErrorRow, message: str, retry_after_s: float) -> None:
        super().__init__(row, message)
        self.headers = {"Retry-After": str(math.ceil(retry_after_s))} if retry_after_s else {}


class Bucket:
    """Holds at most `size`, refills `size` in `window_s`. May be in debt after a correction."""

    __slots__ = ("at", "level", "size", "speed")

    def __init__(self, size: float, window_s: float, now: float) -> None:
        self.size = self.level = size
        self.speed = size / window_s
        self.at = now

    def look(self, now: float) -> float:
        """What is in it now."""
        if now > self.at:
            self.level = min(self.size, self.level + (now - self.at) * self.speed)
            self.at = now
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` is in it; 0: now. More than it holds counts as all that it holds."""
        lacking = min(amount, self.size) - self.look(now)
        return lacking / self.speed if lacking > 1e-9 else 0.0


class Allowance:
    """What is left of one account's or app's limits. `who` is how messages call it.

    Clocks: `now` monotonic seconds, `day` whole days since 1970 (UTC)."""

    __slots__ = ("_day", "_minute", "_second", "_today", "_tokens", "_total", "limits", "who")

    def __init__(self, who: str, limits: Limits, now: float, *, day: int, today: int, total: int) -> None:
        self.who = who
        self._day, self._today, self._total = day, today, total
        self.limits = Limits()
        self._second = self._minute = self._tokens = None
        self.change(limits, now)

    _second: Bucket | None
    _minute: Bucket | None
    _tokens: Bucket | None

    def change(self, limits: Limits, now: float) -> None:
        """Go by other limits from now on; buckets whose size stays keep what they hold."""
        before, self.limits = self.limits, limits
        if before.requests_per_second != limits.requests_per_second:
            rate = limits.requests_per_second
            self._second = Bucket(max(rate, 1.0), max(1.0, 1 / rate), now) if rate else None
        if before.requests_per_minute != limits.requests_per_minute:
            most = limits.requests_per_minute
            self._minute = Bucket(most, 60.0, now) if most else None
        if before.tokens_per_minute != limits.tokens_per_minute:
            most = limits.tokens_per_minute
            self._tokens = Bucket(most, 60.0, now) if most else None

    def correct(self, *, day: int, today: int, total: int) -> None:
        """Set what was used so far, as the database has it."""
        self._day, self._today, self._total = day, today, total

    def check(self, now: float, unix: float, estimate: int) -> None:
        """Raises LimitReached when one more request of `estimate` tokens is too much; takes nothing."""
        limits = self.limits
        day = int(unix // DAY_S)
        if day != self._day:
            self._day, self._today = day, 0
        if limits.total_tokens and self._total >= limits.total_tokens:
            raise LimitReached(
                TOTAL_LIMIT,
                f"{TOTAL_LIMIT.text}: {self.who} has used its {limits.total_tokens} tokens",
                0,
            )
        if limits.requests_per_day and self._today >= limits.requests_per_day:
            text = f"{DAILY_LIMIT.text}: {limits.requests_per_day} requests a day for {self.who}"
            raise LimitReached(DAILY_LIMIT, text, DAY_S - unix % DAY_S)
        if self._second is not None and (wait := self._second.wait_s(1, now)):
            text = f"{QPS_LIMIT.text}: {limits.requests_per_second:g} requests a second for {self.who}"
            raise LimitReached(QPS_LIMIT, text, wait)
        if self._minute is not None and (wait := self._minute.wait_s(1, now)):
            text = f"{RPM_LIMIT.text}: {limits.requests_per_minute} requests a minute for {self.who}"
            raise LimitReached(RPM_LIMIT, text, wait)
        if self._tokens is not None and (wait := self._tokens.wait_s(max(estimate, 1), now)):
            text = f"{TPM_LIMIT.text}: {limits.tokens_per_minute} tokens a minute for {self.who}"
            raise LimitReached(TPM_LIMIT, text, wait)

    def take(self, estimate: int) -> None:
        """Take one request of `estimate` tokens; `check` came just before."""
        self._today += 1
        if self._second is not None:
            self._second.level -= 1
        if self._minute is not None:
            self._minute.level -= 1
        if self._tokens is not None:
            self._tokens.level -= estimate

    def settle(self, estimate: int, tokens: int) -> None:
        """The request used `tokens`, not `estimate`."""
        self._total += tokens
        if self._tokens is not None:
            self._tokens.level = min(self._tokens.size, self._tokens.level + estimate - tokens)

    def remaining(self) -> tuple[int | None, int | None]:
        """Requests and tokens that may come at once now; None where nothing is limited."""
        requests = [bucket.level for bucket in (self._second, self._minute) if bucket is not None]
        tokens = None if self._tokens is None else max(0, int(self._tokens.level))
        return (max(0, int(min(requests))) if requests else None), tokens
