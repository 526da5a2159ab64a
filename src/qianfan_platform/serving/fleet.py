"""The live engines: one process per set of base weights, with every adapter that services on it need.

An adapter is added by starting a new engine beside the old one and switching when it answers; the old one
ends when its last request has. An engine that died is replaced, by the watch within a second or by the next
request, whichever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from qianfan.contract.errors import BUSY, MISSING_EXTRA, UNAVAILABLE, Fault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.weights import Progress, Weights, WeightsFailed
from qianfan_platform.engines.protocol import Adapter, Engine, EngineFailed, EngineSpec
from qianfan_platform.engines.start import missing
from qianfan_platform.engines.start import start as start_engine

log = logging.getLogger("qianfan_platform.serving")

WATCH_S: Final = 1.0
WEIGHTS_WAIT_S: Final = 45.0  # a call waits this long for weights that are still being fetched


@dataclass(frozen=True)
class Want:
    """What a request needs: a catalogue entry, or a trained version of it."""

    entry: str
    adapter: Adapter | None = None  # on the entry's own weights
    whole: Path | None = None  # weights of its own, in place of the entry's


@dataclass
class _Live:
    """A running engine and how many requests are in it."""

    engine: Engine
    spec: EngineSpec
    inside: int = 0
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


class Fleet:
    """Engines by weights. `loaded` tells the trainer whether it shares the cores."""

    def __init__(self, catalogue: Catalogue, weights: Weights) -> None:
        self._catalogue, self._weights = catalogue, weights
        self._slots: dict[str, _Slot] = {}
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
            task = asyncio.create_task(self._weights.gguf(self._catalogue.entries[entry], self._tell))
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
        if self._catalogue.entries[want.entry].engine == "echo":
            return None
        try:
            return await asyncio.wait_for(asyncio.shield(self._fetch(want.entry)), WEIGHTS_WAIT_S)
        except TimeoutError:
            raise Fault(
                BUSY, f"the weights of {want.entry} are still being fetched", "try again in a minute"
            ) from None
        except WeightsFailed as lost:
            raise Fault(UNAVAILABLE, f"the weights cannot be had: {lost}") from lost

    @contextlib.asynccontextmanager
    async def use(self, want: Want) -> AsyncIterator[tuple[Engine, str | None]]:
        """An engine that answers for `want`, and the adapter's name to give it. Held until the block ends.

        Raises Fault when there is none."""
        live = await self._ready(want)
        live.inside += 1
        try:
            yield live.engine, want.adapter.name if want.adapter else None
        finally:
            live.inside -= 1
            if live.retired and not live.inside:
                self._end(live)

    async def _ready(self, want: Want) -> _Live:
        absent = missing()
        entry = self._catalogue.entries[want.entry]
        if absent and entry.engine != "echo":
            raise Fault(MISSING_EXTRA, f"this server cannot serve models: {absent}")
        model = await self._model(want)
        slot = self._slots.setdefault(str(model or entry.name), _Slot())
        if live := slot.fitting(want):  # without the lock: nobody waits while another adapter is added
            return live
        async with slot.lock:
            if live := slot.fitting(want):
                return live
            adapters = dict(slot.adapters)
            if want.adapter is not None:
                adapters[want.adapter.name] = want.adapter
            spec = EngineSpec(
                kind="echo" if entry.engine == "echo" else "llamacpp",
                model=model,
                adapters=tuple(adapters.values()),
                context=entry.context,
            )
            live = await self._switch(slot, spec)
            slot.adapters = (
                adapters  # only now: an adapter that no engine takes must not spoil the next start
            )
            return live

    async def _switch(self, slot: _Slot, spec: EngineSpec) -> _Live:
        """Start the new engine, then let the old one go. The slot's lock is held."""
        try:
            fresh = _Live(await start_engine(spec), spec)
        except EngineFailed as failed:
            raise Fault(
                UNAVAILABLE, f"the engine did not start: {failed}", "see the server's log"
            ) from failed
        old, slot.live = slot.live, fresh
        if old is not None:
            old.retired = True
            if not old.inside:
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
