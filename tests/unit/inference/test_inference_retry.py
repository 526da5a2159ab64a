"""An engine that dies under a request: who has heard nothing is answered by another, who has is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from qianfan.contract.errors import UNAVAILABLE, Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.app import running
from qianfan_platform.engines.echo import EchoEngine
from qianfan_platform.engines.protocol import Delta, EngineFailed, EngineSpec, Message, Sampling, Vectors
from qianfan_platform.inference import operations as inference
from qianfan_platform.inference.conversations import Prompt
from qianfan_platform.inference.frames import V1, V2, Whole
from qianfan_platform.platform import Platform, Settings
from qianfan_platform.serving.fleet import Want
from qianfan_platform.serving.operations import Answering

CALLER = Caller(owner=1, app="", kind="iam")
SAID = "one two three four"
PROMPT = Prompt([{"role": "user", "content": SAID}], Sampling(), chars=len(SAID), estimate=4)
ECHO = Answering(Want("echo"), name="echo")


class Mortal(EchoEngine):
    """Dies in its first answer after `words` words."""

    words = 0

    async def generate(
        self, messages: Sequence[Message], sampling: Sampling, **more: Any
    ) -> AsyncGenerator[Delta, None]:
        number = 0
        async for delta in super().generate(messages, sampling, **more):
            if number == self.words:
                self.kill()
                raise EngineFailed("it died")
            yield delta
            number += 1

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.kill()
        raise EngineFailed("it died")


def with_mortals(
    tmp_path: Path, mortals: int, words: int, work: Callable[[Platform], Coroutine[Any, Any, None]]
) -> int:
    """Run `work` where so many engines die before one lives; returns how many were started."""
    made: list[EchoEngine] = []

    async def start(spec: EngineSpec) -> EchoEngine:
        engine = Mortal(spec) if len(made) < mortals else EchoEngine(spec)
        if isinstance(engine, Mortal):
            engine.words = words
        made.append(engine)
        return engine

    async def run() -> None:
        async with running(Settings(data=tmp_path)) as server:
            server.platform.fleet._start = start
            await work(server.platform)

    asyncio.run(run())
    return len(made)


async def nothing(*_: Any) -> None:
    pass


def test_a_whole_answer_begins_anew_wherever_it_broke_off(tmp_path: Path) -> None:
    """Nothing of the first engine's words stays in it."""

    async def work(platform: Platform) -> None:
        whole = Whole()
        async with inference.answer(platform, CALLER, ECHO, PROMPT) as answer:
            await answer.into(whole)
        assert whole.text == SAID
        assert whole.completion_tokens == 4

    assert with_mortals(tmp_path, mortals=2, words=3, work=work) == 3


@pytest.mark.parametrize("form", [V1("chat.completion"), V2("echo")], ids=["v1", "v2"])
def test_a_stream_begins_anew_only_while_its_reader_has_nothing(tmp_path: Path, form: V1 | V2) -> None:
    """Else the reader is told that it broke off, and nothing is said twice."""
    got: list[bytes] = []

    async def put(frame: bytes) -> None:
        got.append(frame)

    async def work(platform: Platform) -> None:
        async with inference.answer(platform, CALLER, ECHO, PROMPT) as answer:
            await answer.frames(form, put)
        assert b"".join(got).count(b"three") == 1

    async def broken(platform: Platform) -> None:
        with pytest.raises(Fault, match="stopped in the middle") as told:
            async with inference.answer(platform, CALLER, ECHO, PROMPT) as answer:
                await answer.frames(V1("chat.completion"), nothing)
        assert told.value.row is UNAVAILABLE

    assert with_mortals(tmp_path / "nothing", mortals=1, words=0, work=work) == 2
    assert with_mortals(tmp_path / "two", mortals=1, words=2, work=broken) >= 1


def test_a_request_that_kills_every_engine_ends(tmp_path: Path) -> None:
    """After three; other kinds of questions are asked again in the same way."""

    async def work(platform: Platform) -> None:
        with pytest.raises(Fault, match="stopped in the middle"):
            async with inference.answer(platform, CALLER, ECHO, PROMPT) as answer:
                await answer.into(Whole())

    async def vectors(platform: Platform) -> None:
        assert len((await inference.embed(platform, CALLER, ECHO, ["a", "b"])).rows) == 2

    assert with_mortals(tmp_path / "all", mortals=9, words=0, work=work) in (3, 4)
    assert with_mortals(tmp_path / "two", mortals=2, words=0, work=vectors) == 3
