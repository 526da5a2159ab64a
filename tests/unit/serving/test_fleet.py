"""The fleet: adapters come without a pause, a dead engine comes back, a bad adapter spoils nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.processes import family

from qianfan.contract.errors import UNAVAILABLE, Fault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.weights import Weights
from qianfan_platform.engines.protocol import Adapter, Sampling
from qianfan_platform.serving.fleet import Fleet, Want

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def with_fleet(home: Path, work: Callable[[Fleet], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a fleet, and end the fleet."""

    async def run() -> None:
        fleet = Fleet(Catalogue.load(), Weights(home))
        fleet.start()
        try:
            await work(fleet)
        finally:
            await fleet.close()

    asyncio.run(run())


async def ask(fleet: Fleet, want: Want) -> str:
    async with fleet.use(want) as (engine, adapter):
        answer = engine.generate(HI, Sampling(temperature=0, max_tokens=6), adapter=adapter)
        return "".join([delta.text async for delta in answer])


def engines() -> list[psutil.Process]:
    return family("qianfan_platform.engines.llamacpp.server")


def test_a_killed_engine_is_replaced_without_a_request_asking_for_it(home: Path) -> None:
    """The watch sees it within a second or two; the answer is the same as before."""

    async def work(fleet: Fleet) -> None:
        assert not fleet.loaded
        before = {process.pid for process in engines()}
        said = await ask(fleet, Want("tiny"))
        assert fleet.loaded
        [mine] = [process for process in engines() if process.pid not in before]
        mine.kill()
        for _ in range(100):
            await asyncio.sleep(0.1)
            fresh = [p for p in engines() if p.pid not in before and p.pid != mine.pid]
            if fresh:
                break
        assert fresh, "no new engine came"
        assert await ask(fleet, Want("tiny")) == said

    with_fleet(home, work)


def test_an_adapter_that_no_engine_takes_spoils_nothing(home: Path, tmp_path: Path) -> None:
    """It is refused each time it is asked for; the base answers on."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF but not really")

    async def work(fleet: Fleet) -> None:
        said = await ask(fleet, Want("tiny"))
        for _ in range(2):
            with pytest.raises(Fault) as refused:
                await ask(fleet, Want("tiny", Adapter("bad", bad)))
            assert refused.value.row is UNAVAILABLE
            assert await ask(fleet, Want("tiny")) == said

    with_fleet(home, work)


def test_an_engine_ends_when_its_last_request_has(home: Path, tmp_path: Path) -> None:
    """A new adapter means a new engine; a request in the old one is finished there, and nobody waits."""
    script = tmp_path / "adapter.json"
    script.write_text(json.dumps({"*": "tuned"}))

    async def work(fleet: Fleet) -> None:
        async with fleet.use(Want("echo")) as (old, _):
            assert await ask(fleet, Want("echo", Adapter("tuned", script))) == "tuned"
            assert old.alive()
            answer = old.generate(HI, Sampling(), adapter=None)
            assert "".join([delta.text async for delta in answer]) == "hi"
        assert await ask(fleet, Want("echo")) == "hi"

    with_fleet(home, work)


def test_an_engine_that_is_stopped_leaves_within_seconds_and_comes_back(home: Path) -> None:
    """SIGSTOP: it neither answers nor computes. It is killed, and another answers the same."""

    async def work(fleet: Fleet) -> None:
        before = {process.pid for process in engines()}
        said = await ask(fleet, Want("tiny"))
        [mine] = [process for process in engines() if process.pid not in before]
        mine.suspend()
        began = time.monotonic()
        while mine.is_running() and mine.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() - began < 6
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 5
        assert await ask(fleet, Want("tiny")) == said

    with_fleet(home, work)


def test_a_long_prompt_is_not_taken_for_a_hang(home: Path) -> None:
    """An engine whose every answer to "do you live?" waits behind a long batch computes, so it is left alone."""

    async def work(fleet: Fleet) -> None:
        async with fleet.use(Want("tiny")) as (engine, _):
            prompt = [{"role": "user", "content": "a fox " * 150}]
            asked = [engine.generate(prompt, Sampling(temperature=0, max_tokens=1)) for _ in range(4)]
            answers = [asyncio.ensure_future(_all(one)) for one in asked]
            while not all(answer.done() for answer in answers):
                await engine.stirs(1.0)
                await asyncio.sleep(0.05)
            assert all(len(answer.result()) for answer in answers)

    with_fleet(home, work)


async def _all(pieces: Any) -> list[Any]:
    return [piece async for piece in pieces]
