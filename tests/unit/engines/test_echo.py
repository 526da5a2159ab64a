"""The echo engine answers what it is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from qianfan_platform.engines.protocol import (
    Adapter,
    Delta,
    Engine,
    EngineFailed,
    EngineSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
)
from qianfan_platform.engines.start import start

ASK = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one two  three\nfour"}]


def answer(sampling: Sampling | None = None, *, messages: Any = ASK, adapter: str | None = None, **spec: Any):
    """Every delta of one answer."""

    async def ask() -> list[Delta]:
        engine: Engine = await start(EngineSpec("echo", **spec))
        try:
            return [d async for d in engine.generate(messages, sampling or Sampling(), adapter=adapter)]
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_it_says_the_last_user_message_word_by_word() -> None:
    """Pieces are words; the last delta counts them."""
    deltas = answer()
    assert [d.text for d in deltas] == ["one", " two", "  three", "\nfour", ""]
    assert deltas[-1] == Delta("", "stop", prompt_tokens=6, completion_tokens=4)


def test_a_script_decides_the_answer() -> None:
    """By message, or for every message."""
    deltas = answer(options={"script": {"one two  three\nfour": "yes it is", "*": "no"}})
    assert "".join(d.text for d in deltas) == "yes it is"
    other = answer(messages=[{"role": "user", "content": "else"}], options={"script": {"*": "no"}})
    assert "".join(d.text for d in other) == "no"


@pytest.mark.parametrize(
    ("sampling", "text", "reason"),
    [
        (Sampling(max_tokens=2), "one two", "length"),
        (Sampling(max_tokens=4), "one two  three\nfour", "stop"),
        (Sampling(stop=("three", "four")), "one two", "stop"),
    ],
)
def test_stop_and_max_tokens_are_honoured(sampling: Sampling, text: str, reason: str) -> None:
    """The answer ends where it is told to."""
    deltas = answer(sampling)
    assert "".join(d.text for d in deltas) == text
    assert deltas[-1].finish_reason == reason


def test_a_failure_comes_after_the_words_before_it() -> None:
    """`fail_after` words come out, then the error."""

    async def ask() -> list[str]:
        engine = await start(EngineSpec("echo", options={"fail": "out of luck", "fail_after": 2}))
        said: list[str] = []
        answering = engine.generate(ASK, Sampling())
        said.extend([(await anext(answering)).text, (await anext(answering)).text])
        with pytest.raises(EngineFailed, match="out of luck"):
            await anext(answering)
        assert not engine.alive()
        with pytest.raises(EngineFailed):
            await engine.health()
        return said

    assert asyncio.run(ask()) == ["one", " two"]


def test_leaving_stops_the_work() -> None:
    """After aclose nothing is under way."""

    async def leave() -> None:
        engine: Any = await start(EngineSpec("echo", options={"delay_s": 0.001}))
        answering = engine.generate(ASK, Sampling())
        assert (await anext(answering)).text == "one"
        assert engine.working == 1
        await answering.aclose()
        assert engine.working == 0

    asyncio.run(leave())


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    """The error counts."""
    with pytest.raises(PromptTooLong) as caught:
        answer(context=5)
    assert (caught.value.tokens, caught.value.limit) == (6, 5)


def test_an_adapter_is_a_script_of_its_own(tmp_path: Path) -> None:
    """It goes before the script of the engine; an unknown one is refused."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"*": "tuned"}))
    adapters = (Adapter("a", path),)
    assert answer(adapter="a", adapters=adapters)[0].text == "tuned"
    assert answer(adapters=adapters)[0].text == "one"
    with pytest.raises(RequestRefused, match="it has: a"):
        answer(adapter="b", adapters=adapters)


def test_embeddings_of_texts_that_share_words_are_near() -> None:
    """Cosine 1 with itself, more with a likeness than with a stranger."""

    async def embed() -> list[list[float]]:
        return await (await start(EngineSpec("echo"))).embed(["a red fox", "the red fox", "blue sea"])

    fox, other_fox, sea = asyncio.run(embed())

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(fox, fox) == pytest.approx(1.0)
    assert cosine(fox, other_fox) > cosine(fox, sea)
