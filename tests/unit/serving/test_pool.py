"""A pool of engines, by echoes: replicas, losses, replacement without a pause, sleep, and what frees memory."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from qianfan.contract.errors import BUSY, UNAVAILABLE, Fault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.weights import Weights
from qianfan_platform.engines.echo import EchoEngine
from qianfan_platform.engines.protocol import Adapter, EngineFailed, EngineSpec, Sampling
from qianfan_platform.serving import fleet as fleets
from qianfan_platform.serving.fleet import Fleet, Want
from qianfan_platform.serving.restarts import PAUSES_S

HI = [{"role": "user", "content": "hi"}]
ECHO = Want("echo")


class Hanging(EchoEngine):
    """An echo that can be told to hang: it does not stir, and a probe waits for ever."""

    hangs = False

    async def stirs(self, timeout_s: float) -> None:
        await super().stirs(timeout_s)
        if self.hangs:
            raise EngineFailed("it does not stir")

    async def health(self, timeout_s: float = 10.0) -> None:
        if self.hangs:
            await asyncio.Event().wait()


@dataclass
class Works:
    """Starts echo engines, and remembers them. broken: none starts. slow_s: a start takes so long."""

    made: list[Hanging] = field(default_factory=list)
    broken: bool = False
    slow_s: float = 0.0

    async def start(self, spec: EngineSpec) -> EchoEngine:
        if self.broken:
            raise EngineFailed("out of steam")
        await asyncio.sleep(self.slow_s)
        engine = Hanging(spec)
        self.made.append(engine)
        return engine

    @property
    def alive(self) -> int:
        return sum(engine.alive() for engine in self.made)


def with_fleet(
    tmp_path: Path, work: Callable[[Fleet, Works], Coroutine[Any, Any, None]], **more: Any
) -> None:
    async def run() -> None:
        works = Works()
        fleet = Fleet(Catalogue.load(), Weights(tmp_path), start=works.start, **more)
        fleet.start()
        try:
            await work(fleet, works)
        finally:
            await fleet.close()
        assert works.alive == 0, "closing ends every engine"

    asyncio.run(run())


async def until(look: Callable[[], Any], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


def an_adapter(tmp_path: Path, name: str) -> Adapter:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"*": name}))
    return Adapter(name, path)


async def ask(fleet: Fleet, want: Want) -> str:
    async with fleet.use(want) as (engine, adapter):
        return "".join([delta.text async for delta in engine.generate(HI, Sampling(), adapter=adapter)])


def test_requests_go_to_the_replica_with_the_fewest(tmp_path: Path) -> None:
    """Three engines, six requests held: two in each; back to one, the others end when they are empty."""

    async def work(fleet: Fleet, works: Works) -> None:
        await fleet.bring(ECHO, 3)
        await until(lambda: works.alive == 3)
        places = [fleet.use(ECHO) for _ in range(6)]
        found = [(await place.__aenter__())[0] for place in places]
        assert sorted(found.count(engine) for engine in works.made) == [2, 2, 2]
        fleet.keep({ECHO: 1})
        await asyncio.sleep(0.05)
        assert works.alive == 3, "who is answered is answered to the end"
        for place in places:
            await place.__aexit__()
        await until(lambda: works.alive == 1)
        assert await ask(fleet, ECHO) == "hi"

    with_fleet(tmp_path, work)


def test_one_dead_replica_does_not_stop_the_others(tmp_path: Path) -> None:
    """It leaves at once and is replaced; no request sees it."""

    async def work(fleet: Fleet, works: Works) -> None:
        await fleet.bring(ECHO, 2)
        await until(lambda: works.alive == 2)
        works.made[0].kill()
        assert [await ask(fleet, ECHO) for _ in range(20)] == ["hi"] * 20
        await until(lambda: works.alive == 2)
        assert len(works.made) == 3

    with_fleet(tmp_path, work)


def test_who_waits_for_an_engine_that_dies_is_answered_by_the_next(tmp_path: Path) -> None:
    """All places are taken and more wait; the engine dies: those who wait move on."""

    async def work(fleet: Fleet, works: Works) -> None:
        await fleet.bring(ECHO)
        parallel = works.made[0].spec.places
        places = [fleet.use(ECHO) for _ in range(parallel)]
        for place in places:
            await place.__aenter__()
        waiting = [asyncio.create_task(ask(fleet, ECHO)) for _ in range(10)]
        await until(lambda: fleet.load() == [("echo", parallel, 10)])
        works.made[0].kill()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == ["hi"] * 10
        for place in places:
            await place.__aexit__()

    with_fleet(tmp_path, work)


@pytest.mark.parametrize("goes", ["replaced", "no longer needed"])
def test_an_engine_out_of_rotation_is_watched_until_its_last_request_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    """Who is still answered there would wait for ever when it hangs."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)
    monkeypatch.setattr(fleets, "GRACE_S", 0.0)
    one, two = (Want("echo", an_adapter(tmp_path, name)) for name in ("one", "two"))

    async def work(fleet: Fleet, works: Works) -> None:
        fleet.keep({one: 1})
        async with fleet.use(one) as (engine, _):
            if goes == "replaced":
                assert await ask(fleet, two) == "two"
            else:
                fleet.keep({})
                await until(lambda: not fleet.load())
            await asyncio.sleep(0.1)
            assert engine.alive(), "who is answered is answered to the end"
            works.made[0].hangs = True
            await until(lambda: not engine.alive())
        assert await ask(fleet, one) == "one"

    with_fleet(tmp_path, work)


def test_an_engine_that_is_doubted_is_watched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe may take ten seconds; an engine that hangs leaves sooner."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)

    async def work(fleet: Fleet, works: Works) -> None:
        live = await fleet.enter(ECHO, 0)
        works.made[0].hangs = True
        fleet.doubt(live)
        fleet.doubt(live)
        await until(lambda: not works.made[0].alive(), seconds=2)
        fleet.leave(live)
        assert await ask(fleet, ECHO) == "hi"

    with_fleet(tmp_path, work)


def test_a_request_does_not_wait_for_ever_for_an_engine_that_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to come again; the start goes on, and a service that is deployed waits for its end."""
    monkeypatch.setattr(fleets, "START_WAIT_S", 0.05)

    async def work(fleet: Fleet, works: Works) -> None:
        works.slow_s = 0.3
        deployed = asyncio.create_task(fleet.bring(ECHO))
        with pytest.raises(Fault, match="still being started") as told:
            await ask(fleet, ECHO)
        assert told.value.row is BUSY
        await deployed
        assert await ask(fleet, ECHO) == "hi"
        assert len(works.made) == 1

    with_fleet(tmp_path, work)


def test_an_engine_that_dies_again_and_again_is_broken_until_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then requests are told at once, why and for how long; trying goes on by itself."""
    monkeypatch.setattr("qianfan_platform.serving.restarts.PAUSES_S", (0.0,) * len(PAUSES_S[:-1]) + (0.3,))

    async def work(fleet: Fleet, works: Works) -> None:
        await fleet.bring(ECHO)
        works.broken = True
        works.made[0].kill()
        standing = fleet.standing
        await until(lambda: (found := standing(ECHO)) is not None and "out of steam" in found.problem)
        assert re.search(r"did not start \d+ times", fleet.standing(ECHO).problem)  # type: ignore[union-attr]
        with pytest.raises(Fault, match=r"broken: .*out of steam") as told:
            await ask(fleet, ECHO)
        assert told.value.row is UNAVAILABLE
        works.broken = False
        await until(lambda: works.alive == 1)
        assert await ask(fleet, ECHO) == "hi"

    with_fleet(tmp_path, work)


def test_idle_engines_sleep_and_the_next_request_wakes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asleep is no failure, and says so; a request that is held keeps its engine awake."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)

    async def work(fleet: Fleet, works: Works) -> None:
        async with fleet.use(ECHO) as (engine, _):
            await asyncio.sleep(0.3)
            assert engine.alive()
        await until(lambda: works.alive == 0)
        standing = fleet.standing(ECHO)
        assert standing is not None
        assert (standing.asleep, standing.running, standing.problem) == (True, 0, "")
        assert not fleet.loaded
        assert await ask(fleet, ECHO) == "hi"
        assert fleet.loaded

    with_fleet(tmp_path, work, idle_sleep_s=0.1)


def test_what_no_service_needs_any_more_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter goes after a grace, the others stay; when nobody uses the weights, the engines end."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)
    monkeypatch.setattr(fleets, "GRACE_S", 0.1)
    one, two = (Want("echo", an_adapter(tmp_path, name)) for name in ("one", "two"))

    async def work(fleet: Fleet, works: Works) -> None:
        for want in (one, two):
            await fleet.bring(want)
        fleet.keep({one: 1, two: 1})
        assert [await ask(fleet, want) for want in (one, two)] == ["one", "two"]
        await until(lambda: works.alive == 1)
        fleet.keep({two: 1})
        assert await ask(fleet, one) == "one", "whoever found it a moment ago is answered"
        await until(lambda: len(works.made) == 3 and works.alive == 1)
        assert [adapter.name for adapter in works.made[-1].spec.adapters] == ["two"]
        fleet.keep({})
        await until(lambda: works.alive == 0)
        assert fleet.load() == []

    with_fleet(tmp_path, work)


@pytest.mark.parametrize("spoilt", [False, True])
def test_what_services_need_on_one_base_comes_up_with_one_start(tmp_path: Path, spoilt: bool) -> None:
    """As after a restart. One that no engine takes keeps none of the others down."""
    wants = [Want("echo", an_adapter(tmp_path, name)) for name in ("one", "two", "three")]
    if spoilt:
        (tmp_path / "three.json").write_text("no adapter")

    async def work(fleet: Fleet, works: Works) -> None:
        fleet.keep(dict.fromkeys(wants, 1))
        assert [await ask(fleet, want) for want in wants[:2]] == ["one", "two"]
        assert len(works.made) == (2 if spoilt else 1)
        if spoilt:
            with pytest.raises(Fault, match="did not start"):
                await ask(fleet, wants[2])
        else:
            assert await ask(fleet, wants[2]) == "three"
            assert len(works.made) == 1

    with_fleet(tmp_path, work)


def test_many_who_come_at_once_share_one_start(tmp_path: Path) -> None:
    """And the start goes on when the first of them leaves."""

    async def work(fleet: Fleet, works: Works) -> None:
        first = asyncio.create_task(ask(fleet, ECHO))
        await asyncio.sleep(0)
        others = [asyncio.create_task(ask(fleet, ECHO)) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.gather(*others) == ["hi"] * 20
        assert len(works.made) == 1

    with_fleet(tmp_path, work)


def test_weights_of_a_service_alone_are_freed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that was trained as a whole leaves with its last service; the platform's own models stay."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)
    monkeypatch.setattr(fleets, "GRACE_S", 0.0)
    whole = Want("echo", whole=tmp_path / "whole.gguf")

    async def work(fleet: Fleet, works: Works) -> None:
        fleet.keep({whole: 2})
        await fleet.bring(whole, 2)
        assert await ask(fleet, ECHO) == "hi"
        await until(lambda: works.alive == 3)
        fleet.keep({})
        await until(lambda: works.alive == 1)
        assert await ask(fleet, ECHO) == "hi"
        assert len(works.made) == 3

    with_fleet(tmp_path, work)


@pytest.mark.parametrize("what", ["gone", "damaged"])
def test_an_adapter_whose_file_is_lost_does_not_keep_the_others_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After a death the engine comes back with those that are well."""
    monkeypatch.setattr("qianfan_platform.serving.restarts.PAUSES_S", (0.0,))
    one, two = (Want("echo", an_adapter(tmp_path, name)) for name in ("one", "two"))

    async def work(fleet: Fleet, works: Works) -> None:
        for want in (one, two):
            await fleet.bring(want)
        assert one.adapter is not None
        if what == "gone":
            one.adapter.path.unlink()
        else:
            one.adapter.path.write_text("no adapter")
        works.made[-1].kill()
        await until(lambda: works.alive == 1)
        assert await ask(fleet, two) == "two"
        with pytest.raises(Fault, match="did not start"):
            await ask(fleet, one)

    with_fleet(tmp_path, work)
