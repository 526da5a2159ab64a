"""The engines of one set of weights: as many processes as are asked for, each with every adapter.

Engines are never changed, only replaced: a fresh one joins, then an old one leaves, and ends when its last request
has. What should run is kept in `adapters` and `replicas`; `_mend` makes it so, one engine at a time. An engine
that died or hangs leaves at once: who waited for it chooses again, and another is started, soon at first and after
longer pauses when it dies again and again. Old ones are watched until their end: somebody is answered there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from qianfan.contract.errors import UNAVAILABLE, Fault
from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.catalogue.specs import spec_for
from qianfan_platform.engines.llamacpp.engine import cores
from qianfan_platform.engines.protocol import Adapter, Engine, EngineFailed, EngineSpec, RequestRefused
from qianfan_platform.serving.live import Live, Standing
from qianfan_platform.serving.restarts import STEADY_S, Restarts
from qianfan_platform.serving.room import room_for
from qianfan_platform.serving.turns import Turns

log = logging.getLogger("qianfan_platform.serving")

STIRS_S: Final = 2.5  # an engine that shows no life for so long hangs; it is looked at once a second
USEFUL_S: Final = 2.0  # an engine that lived so long and answered somebody had begun well
SUSPECT: Final = 3  # starts that failed in a row: it may be one of the adapters
PROBE_S: Final = 10.0  # for a token from an engine that broke an answer off

Start = Callable[[EngineSpec], Awaitable[Engine]]


class Pool:
    """Engines with the same weights. `start` starts one; `changed` is called when its standing may have changed.

    model: the weights, None for engines that have none. Belongs to one event loop."""

    def __init__(
        self, name: str, entry: Entry, model: Path | None, start: Start, changed: Callable[[], None]
    ) -> None:
        self.name, self._entry, self._model, self._starter, self._changed = name, entry, model, start, changed
        self._short = Path(name).name  # for the log
        self.lives: list[Live] = []  # in rotation
        self._all: set[Live] = set()  # those that are not gone
        self.adapters: dict[str, Adapter] = {}
        self.replicas = 1  # asked for
        self.base_used = False  # somebody asked for the model itself, which is nobody's to give up
        self.asleep = False
        self.warning = ""
        self.restarts = Restarts()
        self._lock = asyncio.Lock()  # one engine is started at a time
        self._bringing: dict[Adapter | None, asyncio.Task[Live]] = {}
        self._mender: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._idle_since, self._taken = time.monotonic(), 0
        self._apart = self._closed = False

    # ── for requests ─────────────────────────────────────────────────────────────────────────────

    def pick(self, adapter: Adapter | None) -> Live | None:
        """The engine with the fewest requests that lives and has the adapter; None when none has."""
        best: Live | None = None
        for live in self.lives:
            if (
                (adapter is None or live.adapters.get(adapter.name) == adapter)
                and (best is None or live.held < best.held)
                and live.engine.alive()
            ):
                best = live
        return best

    async def ready(self, adapter: Adapter | None, others: Sequence[Adapter] = ()) -> Live:
        """As `pick`, and starts an engine when there is none. Raises Fault when it does not start.

        others: adapters that will be asked for as well, so that one engine takes them all at once. All who wait for
        the same share one start, which goes on when they leave."""
        task = self._bringing.get(adapter)
        if task is None:
            task = self._bringing[adapter] = asyncio.create_task(self._bring(adapter, others))
            task.add_done_callback(lambda done: self._brought(adapter, done))
        return await asyncio.shield(task)

    def leave(self, live: Live) -> None:
        """A request has left an engine."""
        live.held -= 1
        if live.retired and not live.held:
            self._end(live)

    # ── for the watch ────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """See whether the engines show life, and forgive their past when they have lived for long enough."""
        now = time.monotonic()
        for live in list(self._all):
            if live.ended:
                continue
            if not live.engine.alive():
                self.lost(live, "its process ended")
            elif live.looked is None or live.looked.done():
                live.looked = asyncio.create_task(self._look(live))
        if self.restarts.deaths and any(now - live.since >= STEADY_S for live in self.lives):
            self.restarts.steady()
            self._changed()

    def doubt(self, live: Live) -> None:
        """An engine broke an answer off: it must show a token now, or it leaves."""
        asked = live.doubted is not None and not live.doubted.done()
        if not (live.ended or asked) and live.spec.kind != "upstream":
            live.doubted = asyncio.create_task(self._look(live, probe=True))

    def lost(self, live: Live, why: str) -> None:
        """An engine died or hangs: it leaves at once, and another is started."""
        if live.ended:
            return
        live.engine.kill()
        self._end(live)
        if live.retired:
            log.warning("an engine of %s, which was being replaced, left: %s", self._short, why)
            return
        self.lives.remove(live)
        live.retired = True
        lived_s, answered = time.monotonic() - live.since, live.taken > live.held
        self.restarts.died(STEADY_S if answered and lived_s >= USEFUL_S else lived_s, why)
        log.warning(
            "an engine of %s left: %s; %s",
            self._short,
            why,
            "it died too often in a row and is broken" if self.restarts.used_up else "it is started again",
        )
        live.turns.move_on()
        self._changed()
        self.mend()

    def idle_s(self) -> float:
        """Seconds since the last request was here; 0 while one is."""
        taken = sum(live.taken for live in self.lives)
        if taken != self._taken or any(live.held for live in self.lives):
            self._taken, self._idle_since = taken, time.monotonic()
        return time.monotonic() - self._idle_since

    def sleep(self) -> None:
        """End the engines until somebody asks."""
        if self.lives:
            log.info("the engines of %s sleep until somebody asks", self._short)
            self.asleep = True
            self._retire_all()
            self._changed()

    # ── for those who decide what should run ─────────────────────────────────────────────────────

    def standing(self, adapter: Adapter | None = None) -> Standing:
        """How it stands now for those who need `adapter`."""
        running = sum(
            live.engine.alive()
            for live in self.lives
            if adapter is None or live.adapters.get(adapter.name) == adapter
        )
        problem = ""
        if self.restarts.used_up:  # until one of them has lived for a while
            problem = (
                f"the engine died or did not start {self.restarts.deaths} times in a row, and is tried again from "
                f"time to time; the last time: {self.restarts.why}"
            )
        return Standing(running, self.replicas, self.asleep, problem, self.warning)

    def scale(self, replicas: int) -> None:
        """Ask for so many engines. Fewer run when there is no room; `standing` says why."""
        if replicas != self.replicas:
            self.replicas = replicas
            self._changed()
        self.mend()

    def drop(self, name: str) -> None:
        """Let the engines go on without an adapter."""
        if self.adapters.pop(name, None) is not None:
            self.mend()

    def mend(self) -> None:
        """See to it that what should run runs."""
        if not self._closed and (self._mender is None or self._mender.done()):
            self._mender = self._spawn(self._mend())

    @property
    def ended(self) -> bool:
        """True when no engine of it is left, in rotation or out of it."""
        return not self._all

    def retire(self) -> None:
        """Let every engine end when its last request has; the pool is not to be used again."""
        self._closed = True
        self._retire_all()

    async def close(self) -> None:
        """End every engine now."""
        self._closed = True
        for task in (self._mender, *self._bringing.values()):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        self.lives.clear()
        for live in list(self._all):
            for task in (live.looked, live.doubted):
                if task is not None:
                    task.cancel()
            self._end(live)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    async def _bring(self, adapter: Adapter | None, others: Sequence[Adapter]) -> Live:
        if self.restarts.used_up and not self.lives:
            if self.restarts.pause_s():
                raise Fault(
                    UNAVAILABLE, f"the engine is broken: {self.standing().problem}", "see the server's log"
                )
        else:
            await asyncio.sleep(self.restarts.pause_s() if not self.lives else 0)
        async with self._lock:
            if live := self.pick(adapter):
                return live
            if self._closed:
                raise Fault(UNAVAILABLE, "the engine was taken down just now")
            self._forget_lost_files()
            adapters = dict(self.adapters)
            if adapter is not None:
                adapters[adapter.name] = adapter
            alone = not self.lives and adapters == self.adapters
            try:
                live, adapters = await self._start_with(adapters, others)
            except EngineFailed as failed:
                if alone:  # else it is what is new that no engine takes
                    self._did_not_start(failed)
                else:
                    log.error("an engine of %s did not start with an adapter: %s", self._short, failed)
                raise Fault(
                    UNAVAILABLE, f"the engine did not start: {failed.told}", "see the server's log"
                ) from failed
            self.adapters = adapters  # only now: what no engine takes must not spoil the next start
            self._join(live)
        self.mend()
        return live

    def _brought(self, adapter: Adapter | None, done: asyncio.Task[Live]) -> None:
        self._bringing.pop(adapter, None)
        if not done.cancelled():
            done.exception()  # told to those who waited, if they still do

    def _forget_lost_files(self) -> None:
        """An adapter whose file is gone must not keep the others from being served."""
        for name, adapter in list(self.adapters.items()):
            if not adapter.path.is_file():
                log.error("the adapter %s is no longer served: its file is gone", name)
                del self.adapters[name]

    async def _start_with(
        self, adapters: dict[str, Adapter], others: Sequence[Adapter]
    ) -> tuple[Live, dict[str, Adapter]]:
        """A fresh engine with all these adapters, and which they are: without `others` when it takes not all of them."""
        every = {**{other.name: other for other in others if other.path.is_file()}, **adapters}
        if len(every) > len(adapters) and not self._apart:
            try:
                return await self._start(every), every
            except EngineFailed as failed:
                self._apart = True  # each for itself from now on: it is one of them that no engine takes
                log.warning("%s: adapters are loaded one by one: %s", self._short, failed)
        return await self._start(adapters), adapters

    async def _start(self, adapters: Mapping[str, Adapter]) -> Live:
        """A fresh engine; it is not in rotation yet. Raises EngineFailed."""
        spec = self._spec(adapters)
        engine = await self._starter(spec)
        if not engine.alive():
            await engine.close()
            raise EngineFailed("it died as soon as it was started")
        return Live(self, engine, spec, Turns(spec.places), dict(adapters))

    def _join(self, live: Live) -> None:
        """Put an engine into rotation; one that should no longer be there leaves for it."""
        loop = asyncio.get_running_loop()
        self.lives.append(live)
        self._all.add(live)
        self.asleep = False

        def told() -> None:
            loop.call_soon_threadsafe(self.lost, live, "its process ended")

        live.engine.on_end(told)
        if len(self.lives) > self._room():
            self._retire(self._oldest_stranger() or self.lives[0])
        for other in self.lives:
            other.turns.move_on()  # those who wait find the fresh one
        self._changed()

    def _spec(self, adapters: Mapping[str, Adapter]) -> EngineSpec:
        """The processors, but one, are shared out among the replicas."""
        spec = spec_for(self._entry, self._model, tuple(adapters.values()))
        return replace(spec, threads=max(1, (cores() - 1) // min(self.replicas, cores())))

    def _room(self) -> int:
        """How many engines may run: what is asked for, as far as there are processors and memory."""
        if self.replicas == 1 or self._entry.engine in ("echo", "upstream"):  # they take next to nothing
            self.warning = ""
            return self.replicas if self._entry.engine != "upstream" else 1
        pid = next((getattr(live.engine, "pid", 0) for live in self.lives), 0)
        most, warning = room_for(self.replicas, len(self.lives), pid)
        if warning and not self.warning:
            log.warning("%s: %s", self._short, warning)
        self.warning = warning
        return most

    def _oldest_stranger(self) -> Live | None:
        """An engine whose adapters or threads are not those that are wanted now."""
        wanted = self._spec(self.adapters)
        return next((live for live in self.lives if live.spec != wanted), None)

    async def _mend(self) -> None:
        while not self._closed and not self.asleep and (self.lives or self.restarts.deaths):
            async with self._lock:
                missing = len(self.lives) < self._room()
                stranger = self._oldest_stranger()
                if not missing and stranger is None:
                    if len(self.lives) <= self._room():
                        return
                    self._retire(min(self.lives, key=lambda live: live.held))
                    continue
                pause_s = self.restarts.pause_s()
                if not pause_s:
                    self._forget_lost_files()
                    try:
                        self._join(await self._start(self.adapters))
                    except EngineFailed as failed:
                        self._did_not_start(failed)
                    continue
            await asyncio.sleep(pause_s)

    def _did_not_start(self, failed: EngineFailed) -> None:
        self.restarts.died(0, failed.told)
        log.error("an engine of %s did not start: %s", self._short, failed)
        if self.restarts.deaths >= SUSPECT and len(self.adapters) > 1:
            log.error("%s: one of the adapters may be damaged; each comes back by itself", self._short)
            self.adapters, self._apart = {}, True
        self._changed()
        self.mend()

    async def _look(self, live: Live, *, probe: bool = False) -> None:
        try:
            await (live.engine.health(PROBE_S) if probe else live.engine.stirs(STIRS_S))
        except EngineFailed as hangs:
            self.lost(live, f"it hangs: {hangs.told}" if live.engine.alive() else "its process ended")
        except RequestRefused:
            pass  # it lives, and knows what it cannot do

    def _retire_all(self) -> None:
        for live in list(self.lives):
            self._retire(live)

    def _retire(self, live: Live) -> None:
        self.lives.remove(live)
        live.retired = True
        live.turns.move_on()
        if not live.held:
            self._end(live)

    def _end(self, live: Live) -> None:
        if not live.ended:
            live.ended = True
            self._spawn(self._close(live))

    async def _close(self, live: Live) -> None:
        try:
            await live.engine.close()
        finally:
            self._all.discard(live)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._spawned)
        return task

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an engine could not be tended", exc_info=error)
