"""Who may be answered now, and what was used: limits at the door, tokens at the end. Lives in memory.

Usage is added up in memory and written about once a second, in one transaction, and when the server ends. A
server that is killed (`kill -9`) loses at most what was used within the last second or so before; what had been
written stays. Answers that are still going are counted as they grow, not only when they end.

Limits are of one server process: two servers on one PostgreSQL each admit a window's worth. What was used in
all (`requests_per_day`, `total_tokens`) is shared through the database, some seconds late.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from sqlalchemy import case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from qianfan_platform.accounts.gate import Caller
from qianfan_platform.accounts.limits import DAY_S, Allowance, LimitReached, Limits
from qianfan_platform.accounts.tables import FaultSwitch, RateLimit, Usage
from qianfan_platform.store import Store, Tx

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0
READ_AGAIN_S: Final = 10.0  # how soon another server's changes are seen
_COUNTS: Final = ("requests", "failed", "cut", "prompt_tokens", "completion_tokens")
_KEY: Final = ("owner_id", "app", "model", "kind", "day")
_NOTHING: Final[Mapping[str, str]] = {}
_LEFT: Final = (asyncio.CancelledError, GeneratorExit)


class Tally:
    """Usage of one (owner, app, model, kind, day): what is known, and what of it is written."""

    __slots__ = (*_COUNTS, "dirty", "key", "service_id", "written")

    def __init__(self, key: tuple[int, str, str, str, str], service_id: int | None) -> None:
        self.key, self.service_id = key, service_id
        self.requests = self.failed = self.cut = self.prompt_tokens = self.completion_tokens = 0
        self.written: tuple[int, ...] = (0,) * len(_COUNTS)
        self.dirty = False

    def counts(self) -> tuple[int, ...]:
        return self.requests, self.failed, self.cut, self.prompt_tokens, self.completion_tokens


class Seat:
    """One admitted request: `async with meter.admitted(…) as seat`. Entering raises LimitReached.

    headers: the X-Ratelimit-… headers of its answer, empty when nothing is limited."""

    __slots__ = ("_allowances", "_caller", "_counted", "_estimate", "_kind", "_meter", "_model", "_service_id", "_tally", "_tokens", "headers")  # fmt: skip

    def __init__(
        self, meter: Meter, caller: Caller, model: str, kind: str, service_id: int | None, estimate: int
    ) -> None:
        self._meter, self._caller, self._model, self._kind = meter, caller, model, kind
        self._service_id, self._estimate = service_id, estimate
        self._tokens = self._counted = (0, 0)
        self.headers: Mapping[str, str] = _NOTHING

    async def __aenter__(self) -> Seat:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    def begin(self) -> None:
        """Take the seat. Raises LimitReached."""
        self._allowances = self._meter.take(self._caller, self._estimate)
        if self._allowances:
            self.headers = _headers(self._allowances)
        self._tally = tally = self._meter.tally(self._caller, self._model, self._kind, self._service_id)
        tally.requests += 1
        self._meter.seats.add(self)

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """What the answer has cost so far, in all; each call replaces the one before.

        Called for every token, so it only notes: `add_up` counts it."""
        self._tokens = (prompt_tokens, completion_tokens)

    def add_up(self) -> None:
        """Count what was used since the last time."""
        (prompt, completion), (prompt_before, completion_before) = self._tokens, self._counted
        self._counted = self._tokens
        prompt, completion = prompt - prompt_before, completion - completion_before
        tally, meter = self._tally, self._meter
        tally.prompt_tokens += prompt
        tally.completion_tokens += completion
        meter.prompt_tokens += prompt
        meter.completion_tokens += completion
        if not tally.dirty:
            meter.mark(tally)

    def end(self, error: BaseException | None) -> None:
        """Leave the seat. error: what ended the answer, when it did not end well."""
        tally = self._tally
        if error is not None:
            if isinstance(error, _LEFT):
                tally.cut += 1
            else:
                tally.failed += 1
        self._meter.seats.discard(self)
        self.add_up()
        if self._allowances:
            for allowance in self._allowances:
                allowance.settle(self._estimate, sum(self._tokens))


def _headers(allowances: tuple[Allowance, ...]) -> dict[str, str]:
    """The tightest of what limits a request."""
    limits = [allowance.limits for allowance in allowances]
    left = [allowance.remaining() for allowance in allowances]
    shown = {
        "X-Ratelimit-Limit-Requests": [one.shown_requests for one in limits if one.shown_requests],
        "X-Ratelimit-Limit-Tokens": [one.tokens_per_minute for one in limits if one.tokens_per_minute],
        "X-Ratelimit-Remaining-Requests": [requests for requests, _ in left if requests is not None],
        "X-Ratelimit-Remaining-Tokens": [tokens for _, tokens in left if tokens is not None],
    }
    return {name: str(min(values)) for name, values in shown.items() if values}


class Meter:
    """Admits requests and adds up what they use.

    defaults: limits of an account that has none of its own. unix: wall clock, monotonic: for rates; seconds."""

    def __init__(
        self,
        store: Store,
        defaults: Limits | None = None,
        *,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._defaults = store, defaults or Limits()
        self._unix, self._monotonic = unix, monotonic
        self._own: dict[tuple[int, str], Limits] = {}  # limits of accounts and apps that have some
        self._allowances: dict[tuple[int, str], Allowance] = {}
        self._sums: dict[tuple[int, str], tuple[int, int]] = {}  # requests today, tokens ever; as written
        self._tallies: dict[tuple[int, str, str, str], Tally] = {}
        self._dirty: list[Tally] = []
        self._faulty: frozenset[int] = frozenset()
        self._limited = self._defaults.any
        self._day, self._day_text, self._day_ends = 0, "", 0.0
        self._writing = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._read_at = 0.0
        self.seats: set[Seat] = set()  # taken now
        self.requests = 0  # admitted since the start
        self.refused = 0  # by a limit, since the start
        self.prompt_tokens = self.completion_tokens = 0  # since the start
        self._turn_the_day()

    async def start(self) -> None:
        """Read limits and sums, and begin to write once a second."""
        await self.read()
        self._flusher = asyncio.create_task(self._flush_again_and_again())

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        await self.flush()

    # ── at the door ──────────────────────────────────────────────────────────────────────────────

    def admitted(
        self, caller: Caller, *, model: str, kind: str, service_id: int | None = None, estimate: int = 0
    ) -> Seat:
        """A seat for one request, as an async context manager; entering it raises LimitReached.

        model: the name that was asked. kind: chat, embeddings, … estimate: tokens that it may cost; taken from
        the tokens of this minute at once, and corrected by what it really used."""
        return Seat(self, caller, model, kind, service_id, estimate)

    def take(self, caller: Caller, estimate: int) -> tuple[Allowance, ...]:
        """Take one request from all allowances that hold for the caller, or from none and raise LimitReached."""
        if not self._limited:
            self.requests += 1
            return ()
        now, unix = self._monotonic(), self._unix()
        found = tuple(
            one
            for one in (self._allowance(caller.owner, ""), self._allowance(caller.owner, caller.app))
            if one is not None
        )
        if len(found) == 2 and found[0] is found[1]:
            found = found[:1]
        try:
            for allowance in found:
                allowance.check(now, unix, estimate)
        except LimitReached as reached:
            self.refused += 1
            reached.headers.update(_headers(found))
            raise
        for allowance in found:
            allowance.take(estimate)
        self.requests += 1
        return found

    def faulty(self, owner: int) -> bool:
        """Whether this account lets its calls ask for faults."""
        return owner in self._faulty

    def limits(self, owner: int, app: str = "") -> Limits:
        """The limits that hold for an account, or for one of its apps by itself."""
        own = self._own.get((owner, app))
        return own if own is not None else (Limits() if app else self._defaults)

    def _allowance(self, owner: int, app: str) -> Allowance | None:
        key = (owner, app)
        found = self._allowances.get(key)
        if found is not None:
            return found
        limits = self.limits(owner, app)
        if not limits.any:
            return None
        day, today, total = self._used(key)
        who = f"app {app}" if app else "this account"
        found = Allowance(who, limits, self._monotonic(), day=day, today=today, total=total)
        self._allowances[key] = found
        return found

    def _used(self, key: tuple[int, str]) -> tuple[int, int, int]:
        """Today, requests of today, tokens ever: what is written and what is not yet."""
        today, total = self._sums.get(key, (0, 0))
        owner, app = key
        self._add_up()
        for tally in self._tallies.values():
            if tally.key[0] == owner and (not app or tally.key[1] == app):
                requests, _, _, prompt, completion = (
                    now - then for now, then in zip(tally.counts(), tally.written, strict=True)
                )
                total += prompt + completion
                if tally.key[4] == self._day_text:
                    today += requests
        return self._day, today, total

    # ── adding up ────────────────────────────────────────────────────────────────────────────────

    def tally(self, caller: Caller, model: str, kind: str, service_id: int | None) -> Tally:
        """Where a request of today is counted."""
        if self._unix() >= self._day_ends:
            self._turn_the_day()
        key = (caller.owner, caller.app, model, kind)
        found = self._tallies.get(key)
        if found is None or found.key[4] != self._day_text:
            shown = (
                caller.owner,
                caller.app[:20],
                model[:160],
                kind[:20],
                self._day_text,
            )  # as columns hold it
            found = self._tallies[key] = Tally(shown, service_id)
        return found

    def mark(self, tally: Tally) -> None:
        """Note that `tally` has something to write."""
        tally.dirty = True
        self._dirty.append(tally)

    def _add_up(self) -> None:
        for seat in self.seats:
            seat.add_up()

    def _turn_the_day(self) -> None:
        self._day = int(self._unix() // DAY_S)
        self._day_ends = (self._day + 1) * DAY_S
        self._day_text = datetime.fromtimestamp(self._day * DAY_S, UTC).strftime("%Y-%m-%d")

    # ── writing and reading ──────────────────────────────────────────────────────────────────────

    async def flush(self) -> None:
        """Write all that is not written yet. Raises what the store raises; then it is tried again later."""
        async with self._writing:
            self._add_up()
            batch, self._dirty = self._dirty, []
            for tally in batch:
                tally.dirty = False
            moved = [(tally, tally.counts()) for tally in batch]
            rows = [_row(tally, counts) for tally, counts in moved if counts != tally.written]
            if not rows:
                return
            try:
                async with self._store.transaction() as tx:
                    await tx.execute(_upsert(self._store.dialect), rows)
            except BaseException:
                for tally in batch:
                    if not tally.dirty:
                        self.mark(tally)
                raise
            for tally, counts in moved:
                self._count_as_written(tally, counts)

    def _count_as_written(self, tally: Tally, counts: tuple[int, ...]) -> None:
        requests = counts[0] - tally.written[0]
        tokens = sum(counts[3:]) - sum(tally.written[3:])
        tally.written = counts
        owner, app = tally.key[:2]
        for key in {(owner, ""), (owner, app)}:
            today, total = self._sums.get(key, (0, 0))
            self._sums[key] = (today + (requests if tally.key[4] == self._day_text else 0), total + tokens)

    async def read(self) -> None:
        """Read limits, switches and sums anew; also called after a change of them was committed."""
        async with self._writing:
            if self._unix() >= self._day_ends:
                self._turn_the_day()
            async with self._store.reading() as tx:
                own = {
                    (row.owner_id, row.app): _limits(row, self._defaults) for row in await tx.find(RateLimit)
                }
                faulty = frozenset(
                    row.owner_id for row in await tx.find(FaultSwitch, FaultSwitch.enabled.is_(True))
                )
                sums = await self._sums_of(tx) if own or self._defaults.any else {}
            self._own, self._faulty, self._sums = own, faulty, sums
            self._limited = self._defaults.any or any(limits.any for limits in own.values())
            now = self._monotonic()
            for key in list(self._allowances):
                limits = self.limits(*key)
                if limits.any:
                    day, today, total = self._used(key)
                    self._allowances[key].change(limits, now)
                    self._allowances[key].correct(day=day, today=today, total=total)
                else:
                    del self._allowances[key]
            self._read_at = now

    async def _sums_of(self, tx: Tx) -> dict[tuple[int, str], tuple[int, int]]:
        today = func.sum(case((Usage.day == self._day_text, Usage.requests), else_=0))
        tokens = func.sum(Usage.prompt_tokens + Usage.completion_tokens)
        query = select(Usage.owner_id, Usage.app, today, tokens).group_by(Usage.owner_id, Usage.app)
        sums: dict[tuple[int, str], tuple[int, int]] = {}
        for owner, app, requests, total in (await tx.execute(query)).all():
            for key in {(owner, ""), (owner, app)}:
                before = sums.get(key, (0, 0))
                sums[key] = (before[0] + int(requests), before[1] + int(total))
        return sums

    async def _flush_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                if self._dirty or self.seats:
                    await self.flush()
                if self._monotonic() - self._read_at > READ_AGAIN_S:
                    await self.read()
                self._forget_old_days()
            except Exception:
                log.exception("usage could not be written; it is tried again")

    def _forget_old_days(self) -> None:
        for key, tally in list(self._tallies.items()):
            if tally.key[4] != self._day_text and not tally.dirty:
                del self._tallies[key]


def _row(tally: Tally, counts: tuple[int, ...]) -> dict[str, Any]:
    added = {name: now - then for name, now, then in zip(_COUNTS, counts, tally.written, strict=True)}
    return {**dict(zip(_KEY, tally.key, strict=True)), "service_id": tally.service_id, **added}


def _upsert(dialect: str) -> Any:
    insert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(Usage)
    more = {name: getattr(Usage, name) + insert.excluded[name] for name in _COUNTS}
    return insert.on_conflict_do_update(index_elements=list(_KEY), set_=more)


def _limits(row: RateLimit, defaults: Limits) -> Limits:
    """An account's row over the defaults; an app's row stands alone."""
    base = Limits() if row.app else defaults
    named = {name: getattr(row, name) for name in Limits.__dataclass_fields__}
    return Limits(**{name: getattr(base, name) if value is None else value for name, value in named.items()})
