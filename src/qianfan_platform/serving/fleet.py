"""The live engines, by their weights: who wants an answer finds an engine here, with the adapter that it needs.

What runs for one set of weights is a pool; this is the way to all of them, the watch over them, and what they owe
to services. On the way of a request there is one look into a dictionary while all is well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qianfan.contract.errors import BUSY, MISSING_EXTRA, UNAVAILABLE, Fault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.catalogue.specs import place
from qianfan_platform.catalogue.weights import Progress, Weights, WeightsFailed
from qianfan_platform.engines.protocol import Adapter, Engine
from qianfan_platform.engines.start import missing
from qianfan_platform.engines.start import start as start_engine
from qianfan_platform.serving.live import Live, Standing
from qianfan_platform.serving.pool import Pool, Start
from qianfan_platform.serving.turns import Moved

log = logging.getLogger("qianfan_platform.serving")

WATCH_S: Final = 1.0
TRIES: Final = 3  # engines that a request sees die before it is given up
KNOWN: Final = 1000  # different wants
WEIGHTS_WAIT_S: Final = 45.0  # a call waits this long for weights that are still being fetched
START_WAIT_S: Final = 50.0  # a request waits this long for an engine: less than the minute that clients wait
ELSEWHERE: Final = Entry("imported")
GRACE_S: Final = (
    3.0  # what no service needs any more may still be asked for by those who found it a moment ago
)


@dataclass(frozen=True)
class Want:
    """What a request needs: a catalogue entry, or a trained version of it, or weights from elsewhere."""

    entry: str  # "" for weights from elsewhere
    adapter: Adapter | None = None  # on the entry's own weights
    whole: Path | None = None  # weights of its own, in place of the entry's
    context: int = 0  # tokens of one sequence; 0: as many as the entry says


class Place:
    """A place at an engine: `async with fleet.use(want, who) as (engine, adapter)`."""

    __slots__ = ("_fleet", "_live", "_want", "_who")

    def __init__(self, fleet: Fleet, want: Want, who: int) -> None:
        self._fleet, self._want, self._who = fleet, want, who

    async def __aenter__(self) -> tuple[Engine, str | None]:
        self._live = live = await self._fleet.enter(self._want, self._who)
        adapter = self._want.adapter
        return live.engine, adapter.name if adapter else None

    async def __aexit__(self, *_: object) -> None:
        self._fleet.leave(self._live)


class Fleet:
    """Engines by weights. `loaded` tells the trainer whether it shares the cores.

    start: starts an engine. idle_sleep_s: engines that nobody asked for so long end until somebody does; None: they
    stay. `changed` is called, when it is set, when what runs or what should run may have changed."""

    def __init__(
        self,
        catalogue: Catalogue,
        weights: Weights,
        *,
        start: Start = start_engine,
        idle_sleep_s: float | None = None,
    ) -> None:
        self._catalogue, self._weights, self._start = catalogue, weights, start
        self.idle_sleep_s = idle_sleep_s
        self.changed: Callable[[], None] | None = None
        self._pools: dict[str, Pool] = {}
        self._known: dict[Want, Pool] = {}  # what was asked before, so that it is found by one look
        self._kept: dict[Want, int] = {}  # what services need, and how many engines of it
        self._unneeded: dict[Want, float] = {}  # what they needed once, and since when no more
        self._fetches: dict[str, asyncio.Task[Path]] = {}
        self._leaving: set[Pool] = set()  # no longer used, until their last request has ended
        self._watcher: asyncio.Task[None] | None = None
        self._told = ""

    @property
    def loaded(self) -> bool:
        """True while at least one engine process is up."""
        return any(pool.lives for pool in self._pools.values())

    def start(self) -> None:
        """Begin to watch the engines."""
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End every engine."""
        for task in [self._watcher, *self._fetches.values()]:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        await asyncio.gather(*(pool.close() for pool in (*self._pools.values(), *self._leaving)))

    # ── for requests ─────────────────────────────────────────────────────────────────────────────

    def use(self, want: Want, who: int = 0) -> Place:
        """An engine that answers for `want`, and the adapter's name to give it, as an async context manager.

        who: the owner who asks; owners take turns where an engine is full. Held until the block ends.
        Raises Fault when there is no engine, Fault(BUSY) when too many wait for it."""
        return Place(self, want, who)

    async def enter(self, want: Want, who: int) -> Live:
        """A place at a living engine; give it back with `leave`."""
        tries = 0
        while tries < TRIES:
            pool = self._known.get(want)
            live = pool.pick(want.adapter) if pool is not None else None
            if live is None:
                try:
                    async with asyncio.timeout(START_WAIT_S):
                        live = await self._ready(want)
                except TimeoutError:
                    raise Fault(BUSY, "the engine is still being started", "try again in a minute") from None
            live.held += 1
            live.taken += 1
            try:
                if not live.turns.take_free():
                    await live.turns.take(who)
            except Moved:  # the engine left, or another came: choose again
                live.pool.leave(live)
                continue
            except BaseException:
                live.pool.leave(live)
                raise
            if live.engine.alive():
                return live
            self.leave(live)  # it died while we waited
            tries += 1
        raise Fault(UNAVAILABLE, "the engine dies as soon as it is started", "see the server's log")

    def leave(self, live: Live) -> None:
        """Give a place back."""
        live.turns.leave()
        live.pool.leave(live)

    def doubt(self, live: Live) -> None:
        """An answer of this engine broke off: if it lives, it must show a token now or it is replaced."""
        live.pool.doubt(live)

    def entry_of(self, want: Want) -> Entry:
        """The catalogue's entry for `want`, with its own context. Raises Fault when there is none any more."""
        entry = self._catalogue.entries.get(want.entry) if want.entry else ELSEWHERE
        if entry is None:
            raise Fault(
                UNAVAILABLE,
                f"the catalogue has no model {want.entry!r} any more",
                "put it back into the catalogue",
            )
        return replace(entry, context=want.context) if want.context else entry

    def load(self) -> list[tuple[str, int, int]]:
        """(name, inside, waiting) of every engine that is up."""
        return [
            (Path(name).name, live.turns.inside, live.turns.waiting)
            for name, pool in self._pools.items()
            for live in pool.lives
            if live.engine.alive()
        ]

    # ── for services ─────────────────────────────────────────────────────────────────────────────

    async def bring(self, want: Want, replicas: int = 1) -> None:
        """Have an engine ready for `want` and others on the way, `replicas` in all. Raises Fault as `enter` does."""
        live = await self._ready(want)
        live.pool.scale(max(replicas, self._kept_replicas(live.pool)))

    def keep(self, wanted: Mapping[Want, int]) -> None:
        """What services need from now on, and how many engines of it; what they no longer need goes soon."""
        now = time.monotonic()
        for want in self._kept.keys() - wanted.keys():
            self._unneeded.setdefault(want, now)
        for want in wanted:
            self._unneeded.pop(want, None)
        self._kept = dict(wanted)
        for pool in {pool for want in wanted if (pool := self._known.get(want)) is not None}:
            pool.scale(self._kept_replicas(pool))

    def release(self, want: Want) -> None:
        """What was brought for a service that came to nothing goes soon, unless another needs it."""
        if want not in self._kept:
            self._unneeded.setdefault(want, time.monotonic())

    def standing(self, want: Want) -> Standing | None:
        """How the engines for `want` stand; None when it was not asked for yet."""
        pool = self._known.get(want)
        return None if pool is None else pool.standing(want.adapter)

    def prefetch(self, entry: str) -> None:
        """Begin to fetch the weights of an entry; nobody waits for them here."""
        self._fetch(entry)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    async def _ready(self, want: Want) -> Live:
        entry = self.entry_of(want)
        if absent := missing(entry.engine):
            raise Fault(MISSING_EXTRA, f"this server cannot serve models: {absent}")
        model = await self._model(want)
        name = place(entry, model)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(name, entry, model, self._start, self.tell_changed)
        if len(self._known) >= KNOWN:
            self._known = {kept: at for kept, at in self._known.items() if kept in self._kept}
        self._known[want] = pool
        if want.adapter is None and want.whole is None:
            pool.base_used = True
        return pool.pick(want.adapter) or await pool.ready(want.adapter, self._adapters_beside(want))

    def _adapters_beside(self, want: Want) -> list[Adapter]:
        """What services need on the same weights: after a restart they all come back, and one start is enough."""
        base = replace(want, adapter=None)
        return [kept.adapter for kept in self._kept if kept.adapter and replace(kept, adapter=None) == base]

    async def _model(self, want: Want) -> Path | None:
        """Path of the weights, None for an engine that needs none. Raises Fault(BUSY) while they come."""
        if want.whole is not None:
            return want.whole
        if not self.entry_of(want).has_weights:
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(self._fetch(want.entry)), WEIGHTS_WAIT_S)
        except TimeoutError:
            raise Fault(
                BUSY, f"the weights of {want.entry} are still being fetched", "try again in a minute"
            ) from None
        except WeightsFailed as lost:
            raise Fault(UNAVAILABLE, f"the weights cannot be had: {lost}") from lost

    def _fetch(self, entry: str) -> asyncio.Task[Path]:
        task = self._fetches.get(entry)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._weights.served(self._catalogue.entries[entry], self._tell))
            task.add_done_callback(_look_at_the_result)
            self._fetches[entry] = task
        return task

    def _tell(self, progress: Progress) -> None:
        if progress.text != self._told:
            self._told = progress.text
            log.info("%s", progress.text)

    def tell_changed(self) -> None:
        """What runs, or what should run, may have changed."""
        if self.changed is not None:
            self.changed()

    def _kept_replicas(self, pool: Pool) -> int:
        """Services that share their weights share their engines: the one that asks for the most decides."""
        return max((count for want, count in self._kept.items() if self._known.get(want) is pool), default=1)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                for pool in self._leaving:
                    pool.look()
                for pool in list(self._pools.values()):
                    pool.look()
                    if self.idle_sleep_s is not None and pool.idle_s() >= self.idle_sleep_s:
                        pool.sleep()
                self._let_go()
            except Exception:
                log.exception("the watch over the engines stumbled, and goes on")

    def _let_go(self) -> None:
        """Free what no service has needed for a while: its adapter, or its weights with all their engines."""
        now = time.monotonic()
        self._leaving = {pool for pool in self._leaving if not pool.ended}
        for want, since in list(self._unneeded.items()):
            if now - since < GRACE_S:
                continue
            del self._unneeded[want]
            pool = self._known.pop(want, None)
            if pool is None:
                continue
            if want.adapter is not None:
                pool.drop(want.adapter.name)
            used = any(other is pool for other in self._known.values())
            if not used and not pool.adapters and not pool.base_used:
                self._pools.pop(pool.name, None)
                pool.retire()
                self._leaving.add(pool)
            else:
                pool.scale(self._kept_replicas(pool))


def _look_at_the_result(task: asyncio.Task[Path]) -> None:
    """A failed prefetch is told once here; whoever needs the weights tries again and gets the reason."""
    if not task.cancelled() and task.exception() is not None:
        log.warning("weights could not be fetched: %s", task.exception())
