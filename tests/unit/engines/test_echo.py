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
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Tool,
)
from qianfan_platform.engines.start import start

ASK = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one two  three\nfour"}]


def answer(
    sampling: Sampling | None = None,
    *,
    messages: Any = ASK,
    adapter: str | None = None,
    whole: bool = False,
    **spec: Any,
):
    """Every delta of one answer."""

    async def ask() -> list[Delta]:
        engine: Engine = await start(EngineSpec("echo", **spec))
        try:
            pieces = engine.generate(messages, sampling or Sampling(), adapter=adapter, whole=whole)
            return [d async for d in pieces]
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_it_says_the_last_user_message_word_by_word() -> None:
    """Pieces are words; the last delta counts them."""
    deltas = answer()
    assert [d.text for d in deltas] == ["one", " two", "  three", "\nfour", ""]
    assert deltas[-1] == Delta("", "stop", prompt_tokens=6, completion_tokens=4)


def test_an_answer_that_nobody_watches_comes_in_one_piece() -> None:
    """With the same counts; one that takes its time comes word by word all the same, so that it can be counted."""
    assert answer(whole=True) == [Delta("one two  three\nfour", "stop", prompt_tokens=6, completion_tokens=4)]
    cut = answer(Sampling(max_tokens=2), whole=True)
    assert cut == [Delta("one two", "length", prompt_tokens=6, completion_tokens=2)]
    assert len(answer(whole=True, options={"delay_s": 0.001})) == 5


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
        engine = await start(EngineSpec("echo"))
        return (await engine.embed(["a red fox", "the red fox", "blue sea"])).rows

    fox, other_fox, sea = asyncio.run(embed())

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(fox, fox) == pytest.approx(1.0)
    assert cosine(fox, other_fox) > cosine(fox, sea)


WEATHER = Tool("weather", "The weather in a city")


def test_a_script_calls_a_function_that_is_offered() -> None:
    """When it is; otherwise the message is said. After its result comes what the script says to that."""
    script = {"rain?": {"name": "weather", "arguments": {"city": "Rome"}}, "sun": "It is sunny."}
    asked = [{"role": "user", "content": "rain?"}]
    (call,) = answer(Sampling(tools=(WEATHER,)), messages=asked, options={"script": script})
    assert call.finish_reason == "tool_calls"
    assert (call.tool_calls[0].name, json.loads(call.tool_calls[0].arguments)) == (
        "weather",
        {"city": "Rome"},
    )
    for none in (Sampling(), Sampling(tools=(WEATHER,), tool_choice="none")):
        assert answer(none, messages=asked, options={"script": script})[0].text == "rain?"
    told = [*asked, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sun"}]
    said = answer(Sampling(tools=(WEATHER,)), messages=told, options={"script": script})
    assert "".join(delta.text for delta in said) == "It is sunny."


def test_its_options_may_come_from_a_file(tmp_path: Path) -> None:
    """As a catalogue gives them; a file that is no object is an error with its name."""
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"script": {"*": "from the file"}}))
    assert answer(options={"file": str(path)})[0].text == "from"
    path.write_text("[")
    with pytest.raises(EngineFailed, match=r"options\.json of an echo engine must be a JSON object"):
        answer(options={"file": str(path)})


def test_it_ranks_paints_and_counts() -> None:
    """Every method of an engine has an answer that depends on what it is told."""

    async def ask() -> None:
        engine = await start(EngineSpec("echo"))
        scores = await engine.rerank("a red fox", ["blue sea", "the red fox", "a red fox"])
        assert scores.values == sorted(scores.values)
        assert scores.values[-1] == pytest.approx(1.0)
        assert scores.tokens == 3 + 2 + 3 + 3
        one, two = await engine.paint(ImageWish("a fox", size=(64, 32), count=2, seed=1))
        assert one[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(one[16:20], "big"), int.from_bytes(one[20:24], "big")) == (64, 32)
        assert b"a fox" in one
        assert one != two
        assert [one, two] == await engine.paint(ImageWish("a fox", size=(64, 32), count=2, seed=1))
        assert await engine.count_tokens("one two") == 2

    asyncio.run(ask())


def test_a_long_answer_lets_others_run() -> None:
    """Though it never waits for anything."""

    async def ask() -> int:
        engine: Any = await start(EngineSpec("echo"))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other())
        messages = [{"role": "user", "content": "word " * 1000}]
        async for _ in engine.generate(messages, Sampling()):
            pass
        beside.cancel()
        return turns

    assert asyncio.run(ask()) > 20
