"""The live engines: one process per set of base weights, with every adapter that services on it need.

An adapter is added by starting a new engine beside the old one and switching when it answers; the old one
ends when its last request has. An engine that died is replaced, by the watch within a second or by the next
request, whichever comes first. Who finds all places of an engine taken waits, in turns between owners.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from qianfan.contract.errors import BUSY, MISSING_EXTRA, UNAVAILABLE, Fault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.specs import place, spec_for
from qianfan_platform.catalogue.weights import Progress, Weights, WeightsFailed
from qianfan_platform.engines.protocol import Adapter, Engine, EngineFailed, EngineSpec
from qianfan_platform.engines.start import missing
from qianfan_platform.engines.start import start as start_engine
from qianfan_platform.serving.turns import Turns

log = logging.getLogger("qianfan_platform.serving")

WATCH_S: Final = 1.0
TRIES: Final = 3  # engines that a request sees die before it is given up
KNOWN: Final = 1000  # different wants
WEIGHTS_WAIT_S: Final = 45.0  # a call waits this long for weights that are still being fetched


@dataclass(frozen=True)
class Want:
    """What a request needs: a catalogue entry, or a trained version of it."""

    entry: str
    adapter: Adapter | None = None  # on the entry's own weights
    whole: Path | None = None  # weights of its own, in place of the entry's


@dataclass
class _Live:
    """A running engine, how many requests are in it or wait for it, and the places it has."""

    engine: Engine
    spec: EngineSpec
    turns: Turns
    held: int = 0
    retired: bool = False


@dataclass
class _Slot:
    """The place of one set of weights."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    live: _Live | None = None
    adapters: dict[str, Adapter] = field(default_factory=dict)

    def fitting(self, want: Want) -> _Live | None:
        """The engine that is up, when it lives and has the adapter that is wanted."""
        live = self.live
        if live is None or not live.engine.alive():
            return None
        return live if want.adapter is None or want.adapter in live.spec.adapters else None


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
    """Engines by weights. `loaded` tells the trainer whether it shares the cores."""

    def __init__(self, catalogue: Catalogue, weights: Weights) -> None:
        self._catalogue, self._weights = catalogue, weights
        self._slots: dict[str, _Slot] = {}
        self._known: dict[Want, _Slot] = {}  # what was asked before, so that it is found by one look
        self._fetches: dict[str, asyncio.Task[Path]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._told = ""

    @property
    def loaded(self) -> bool:
        """True while at least one engine process is up."""
        return any(slot.live is not None for slot in self._slots.values())

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
        for slot in self._slots.values():
            if slot.live is not None:
                await slot.live.engine.close()
        for task in list(self._closing):
            with contextlib.suppress(Exception):
                await task

    def prefetch(self, entry: str) -> None:
        """Begin to fetch the weights of an entry; nobody waits for them here."""
        self._fetch(entry)

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

    async def _model(self, want: Want) -> Path | None:
        """Path of the weights, None for an engine that needs none. Raises Fault(BUSY) while they come."""
        if want.whole is not None:
            return want.whole
        if not self._catalogue.entries[want.entry].has_weights:
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(self._fetch(want.entry)), WEIGHTS_WAIT_S)
        except TimeoutError:
            raise Fault(
                BUSY, f"the weights of {want.entry} are still being fetched", "try again in a minute"
            ) from None
        except WeightsFailed as lost:
            raise Fault(UNAVAILABLE, f"the weights cannot be had: {lost}") from lost

    def use(self, want: Want, who: int = 0) -> Place:
        """An engine that answers for `want`, and the adapter's name to give it, as an async context manager.

        who: the owner who asks; owners take turns where an engine is full. Held until the block ends.
        Raises Fault when there is no engine, Fault(BUSY) when too many wait for it."""
        return Place(self, want, who)

    async def enter(self, want: Want, who: int) -> _Live:
        """A place at a living engine; give it back with `leave`."""
        for _ in range(TRIES):
            live = await self._ready(want)
            live.held += 1
            try:
                await live.turns.take(who)
            except BaseException:
                self._let_go(live)
                raise
            if live.engine.alive():
                return live
            self.leave(live)  # it died while we waited
        raise Fault(UNAVAILABLE, "the engine dies as soon as it is started", "see the server's log")

    def leave(self, live: _Live) -> None:
        """Give a place back."""
        live.turns.leave()
        self._let_go(live)

    def _let_go(self, live: _Live) -> None:
        live.held -= 1
        if live.retired and not live.held:
            self._end(live)

    def load(self) -> list[tuple[str, int, int]]:
        """(name, inside, waiting) of every engine that is up."""
        return [
            (Path(name).name, slot.live.turns.inside, slot.live.turns.waiting)
            for name, slot in self._slots.items()
            if slot.live is not None and slot.live.engine.alive()
        ]

    async def _ready(self, want: Want) -> _Live:
        known = self._known.get(want)
        if known is not None and (live := known.fitting(want)):
            return live
        entry = self._catalogue.entries[want.entry]
        if absent := missing(entry.engine):
            raise Fault(MISSING_EXTRA, f"this server cannot serve models: {absent}")
        model = await self._model(want)
        slot = self._slots.setdefault(place(entry, model), _Slot())
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[want] = slot
        if live := slot.fitting(want):  # without the lock: nobody waits while another adapter is added
            return live
        async with slot.lock:
            if live := slot.fitting(want):
                return live
            adapters = dict(slot.adapters)
            if want.adapter is not None:
                adapters[want.adapter.name] = want.adapter
            live = await self._switch(slot, spec_for(entry, model, tuple(adapters.values())))
            slot.adapters = (
                adapters  # only now: an adapter that no engine takes must not spoil the next start
            )
            return live

    async def _switch(self, slot: _Slot, spec: EngineSpec) -> _Live:
        """Start the new engine, then let the old one go. The slot's lock is held."""
        try:
            fresh = _Live(await start_engine(spec), spec, Turns(spec.places))
        except EngineFailed as failed:
            raise Fault(
                UNAVAILABLE, f"the engine did not start: {failed}", "see the server's log"
            ) from failed
        old, slot.live = slot.live, fresh
        if old is not None:
            old.retired = True
            if not old.held:
                self._end(old)
        return fresh

    def _end(self, live: _Live) -> None:
        task = asyncio.create_task(live.engine.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for slot in list(self._slots.values()):
                live = slot.live
                if live is None or live.engine.alive() or slot.lock.locked():
                    continue
                async with slot.lock:
                    if slot.live is not live:
                        continue
                    log.warning("an engine died and is started again", extra={"model": str(live.spec.model)})
                    try:
                        await self._switch(slot, replace(live.spec, adapters=tuple(slot.adapters.values())))
                    except Fault as failed:
                        log.error("the engine did not come back: %s", failed)


def _look_at_the_result(task: asyncio.Task[Path]) -> None:
    """A failed prefetch is told once here; whoever needs the weights tries again and gets the reason."""
    if not task.cancelled() and task.exception() is not None:
        log.warning("weights could not be fetched: %s", task.exception())
