"""The rate limits of one client object: its own, those of the process, and those the server told.

Requests: `query_per_second` or `request_per_minute`. Tokens: `token_per_minute`, an estimate before the call
and the true number after it. An argument counts for its object, a setting for all objects of the process with
the same credentials, and with Redis for all processes that share one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Final, Protocol

from qianfan.config import Config
from qianfan.contract.errors import QPS_LIMIT, RPM_LIMIT, TPM_LIMIT
from qianfan.errors import InvalidArgumentError, LimiterUnreachable, QianfanError
from qianfan.utils.logging import logger

from .call import Do, Exchange, Request, Sleep
from .limiter import Limiter

BYTES_PER_TOKEN: Final = 4  # of a body, for the estimate
LEARNT: Final = 1024  # addresses whose limits are remembered
_REFUSALS: Final = frozenset(
    code for row in (QPS_LIMIT, RPM_LIMIT, TPM_LIMIT) for code in (row.code, row.v2)
) | {"rpm_rate_limit_exceeded", "tpm_rate_limit_exceeded"}
_TOKEN_REFUSALS: Final = frozenset({TPM_LIMIT.code, TPM_LIMIT.v2})
_HEADERS: Final = {"requests": "x-ratelimit-limit-requests", "tokens": "x-ratelimit-limit-tokens"}


class Line(Protocol):
    """What gives places in time: a `Limiter`, or one that lives in Redis."""

    def reserve(self, units: float = 1.0) -> float: ...
    def correct(self, units: float) -> None: ...
    def empty(self, units: float) -> None: ...


@dataclass(frozen=True)
class Rates:
    """What is asked for: requests a second, tokens a minute. 0.0 = no limit."""

    requests: float = 0.0
    tokens: float = 0.0

    @classmethod
    def given(cls, options: Mapping[str, Any]) -> Rates:
        """From the arguments of a constructor. Raises InvalidArgumentError."""
        per_second = _number(options, "query_per_second")
        per_minute = _number(options, "request_per_minute")
        if per_second and per_minute:
            raise InvalidArgumentError(
                "query_per_second and request_per_minute cannot be given together",
                advice="give one of them: 1 per second is 60 per minute",
                advice_zh="二者只能设置一个：每秒 1 次即每分钟 60 次",
            )
        return cls(per_second or per_minute / 60, _number(options, "token_per_minute"))

    @classmethod
    def set(cls, config: Config) -> Rates:
        """From the settings; where both are set, the slower one counts."""
        asked = [rate for rate in (config.QPS_LIMIT, config.RPM_LIMIT / 60) if rate > 0]
        return cls(min(asked, default=0.0), config.TPM_LIMIT)


def _number(options: Mapping[str, Any], name: str) -> float:
    value = options.get(name)
    try:
        return max(float(value or 0), 0.0)
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"{name} cannot be {value!r}", advice="give a number; 0 means no limit"
        ) from None


class Book:
    """Lines by name, of one process."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, float], Limiter] = {}
        self._learnt: dict[tuple[str, str], Limiter] = {}
        self._lock = Lock()

    def line(self, name: str, unit: str, rate: float) -> Limiter:
        """The one line of this name, unit and rate."""
        with self._lock:
            return self._lines.setdefault((name, unit, rate), Limiter(rate))

    def learn(self, place: str, unit: str, per_minute: float) -> None:
        """Keep to a limit that the server told, from now on; a higher one changes nothing."""
        with self._lock:
            if (place, unit) not in self._learnt:
                while len(self._learnt) >= LEARNT:
                    del self._learnt[next(iter(self._learnt))]
                self._learnt[place, unit] = Limiter()
        self._learnt[place, unit].lower(per_minute / 60)

    def learnt(self, place: str, unit: str) -> Limiter | None:
        """The limit that was learnt there, or None."""
        return self._learnt.get((place, unit)) if self._learnt else None


BOOK: Final = Book()


class Limits:
    """Waits before a call, and counts after it."""

    def __init__(
        self,
        owner: str = "",
        requests: tuple[Line, ...] = (),
        tokens: tuple[Line, ...] = (),
        *,
        does_io: bool = False,
        book: Book = BOOK,
    ) -> None:
        self._owner = owner
        self._requests = requests
        self._tokens = tokens
        self.does_io = does_io  # the lines are asked over a network
        self._book = book
        self._is_limited = bool(requests or tokens)

    @classmethod
    def of(cls, options: Mapping[str, Any], config: Config, owner: str) -> Limits:
        """Those of one object. owner: whose calls they are, a text without secrets.

        Takes query_per_second or request_per_minute, token_per_minute, redis_rate_limiter, redis_url, and
        forcing_disable=True for none of them.
        Raises InvalidArgumentError for both of the first two, and MissingExtra where Redis is wanted and its
        library is not there."""
        given, of_process = Rates.given(options), Rates.set(config)
        if options.get("forcing_disable"):
            return cls(owner)
        rates = Rates(given.requests or of_process.requests, given.tokens or of_process.tokens)
        wants_redis = options.get("redis_rate_limiter")
        if config.REDIS_RATE_LIMITER if wants_redis is None else wants_redis:
            from .shared_limiter import SharedLimiter  # brings a library that is not in the base

            url = options.get("redis_url") or config.REDIS_URL
            shared = [
                (SharedLimiter(url, f"{owner}:{unit}", rate),) if rate else ()
                for unit, rate in (("requests", rates.requests), ("tokens", rates.tokens / 60))
            ]
            return cls(owner, shared[0], shared[1], does_io=True)

        def lines(unit: str, own: float | None, common: float) -> tuple[Line, ...]:
            if own is not None:
                return (Limiter(own),) if own else ()
            return (BOOK.line(owner, unit, common),) if common else ()

        has_own = options.get("query_per_second") is not None or options.get("request_per_minute") is not None
        return cls(
            owner,
            lines("requests", given.requests if has_own else None, of_process.requests),
            lines(
                "tokens",
                given.tokens / 60 if options.get("token_per_minute") is not None else None,
                of_process.tokens / 60,
            ),
        )

    def wait(self, request: Request) -> Exchange[float]:
        """Wait for a place in every line that counts for this request. Returns the seconds waited."""
        waited = 0.0
        for unit, own in (("requests", self._requests), ("tokens", self._tokens)):
            learnt = self._book.learnt(self._place(request), unit)
            units = 1.0 if unit == "requests" else estimate(request)
            for line in (*own, learnt) if learnt else own:
                seconds = yield from self._run(line, partial(line.reserve, units))
                if seconds:
                    yield Sleep(seconds)
                    waited += seconds
                if unit == "requests" and isinstance(line, Limiter) and (more := line.depart()):
                    yield Sleep(more)
                    waited += more
        return waited

    def settle(self, request: Request, used: int | None) -> Exchange[None]:
        """Correct the estimate by what was used; None: nobody said."""
        if used is None:
            return
        difference = used - estimate(request)
        for line in self._token_lines(request):
            yield from self._tell(line, partial(line.correct, difference))

    def settle_here(self, request: Request, used: int | None) -> None:
        """The same in the caller's thread, for the end of a stream."""
        steps = self.settle(request, used)
        try:
            effect = next(steps)
            while True:
                try:
                    assert isinstance(effect, Do)
                    effect.work()
                except LimiterUnreachable as lost:
                    effect = steps.throw(lost)
                else:
                    effect = steps.send(None)
        except StopIteration:
            return

    def refused(self, request: Request, error: QianfanError) -> Exchange[None]:
        """Take back the estimate of a call that failed; a refusal for tokens empties the budget instead."""
        cost = estimate(request)
        is_empty = error.error_code in _TOKEN_REFUSALS
        for line in self._token_lines(request):
            yield from self._tell(
                line, partial(line.empty, cost) if is_empty else partial(line.correct, -cost)
            )

    def learn(self, request: Request, headers: Mapping[str, str], error: QianfanError | None = None) -> None:
        """Lower the limits to what an answer tells, where there are limits or the server has refused us."""
        if not (self._is_limited or (error is not None and error.error_code in _REFUSALS)):
            return
        for unit, header in _HEADERS.items():
            try:
                told = float(headers.get(header, 0))
            except ValueError:
                continue
            if 0 < told < float("inf"):
                self._book.learn(self._place(request), unit, told)

    def _token_lines(self, request: Request) -> tuple[Line, ...]:
        learnt = self._book.learnt(self._place(request), "tokens")
        return (*self._tokens, learnt) if learnt else self._tokens

    def _place(self, request: Request) -> str:
        return f"{self._owner} {request.base}{request.path}"

    def _run(self, line: Line, work: Callable[[], Any]) -> Exchange[Any]:
        if self.does_io and not isinstance(line, Limiter):
            return (yield Do(work))
        return work()

    def _tell(self, line: Line, work: Callable[[], None]) -> Exchange[None]:
        try:
            yield from self._run(line, work)
        except LimiterUnreachable as error:  # the answer is there: that the count is lost must not lose it
            logger.warning("the tokens of a call could not be counted: %s", error)

    @property
    def are_idle(self) -> bool:
        """True when no call has to wait, so that nothing need be looked at."""
        return not self._is_limited and not self._book._learnt


def estimate(request: Request) -> int:
    """Tokens that a request may cost, from its size."""
    body = request.body
    return max(len(body) // BYTES_PER_TOKEN, 1) if isinstance(body, bytes) else 1


def owner_of(*parts: str | None) -> str:
    """A name for credentials that shows nothing of them."""
    text = "\0".join(part or "" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


NO_LIMITS: Final = Limits()
