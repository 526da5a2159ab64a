"""Function calls of models that only write texts: the offer, the shape, the reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan_platform.engines import tools
from qianfan_platform.engines.calling import Stops, calling
from qianfan_platform.engines.protocol import Delta, Message, RequestRefused, Sampling, Tool

WEATHER = Tool(
    "weather", "The weather in a city", {"type": "object", "properties": {"city": {"type": "string"}}}
)
CLOCK = Tool("clock", "The time")
ASK = [{"role": "user", "content": "Is it raining?"}]


def said(written: str, sampling: Sampling, size: int = 3) -> list[Delta]:
    """What a model that writes `written` in pieces says to the caller."""

    async def model(messages: Sequence[Message], held: Sampling) -> AsyncGenerator[Delta, None]:
        assert held.tools == ()
        for place in range(0, len(written), size):
            yield Delta(written[place : place + size])
        yield Delta("", "stop", 7, len(written))

    async def read() -> list[Delta]:
        return [delta async for delta in calling(model, ASK, sampling)]

    return asyncio.run(read())


def offering(*offered: Tool, **more: Any) -> Sampling:
    return Sampling(tools=offered or (WEATHER, CLOCK), **more)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_call_is_read_whole(size: int) -> None:
    """No text, the reason tool_calls, the counts of the engine."""
    (last,) = said('{"name": "weather", "arguments": {"city": "北京"}}', offering(), size)
    assert (last.text, last.finish_reason, last.prompt_tokens) == ("", "tool_calls", 7)
    (call,) = last.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "北京"})
    assert call.id.startswith("call_")


@given(st.text(), st.integers(1, 9))
def test_words_come_through_as_they_were_meant(answer: str, size: int) -> None:
    """Any text, in any split, escaped or not."""
    for ascii_only in (True, False):
        written = json.dumps({"answer": answer}, ensure_ascii=ascii_only)
        found = said(written, offering(), size)
        assert "".join(delta.text for delta in found) == answer
        assert found[-1].finish_reason == "stop"


def test_words_are_said_before_they_are_all_written() -> None:
    """They stream."""
    found = said('{"answer": "one two three four"}', offering())
    assert len([delta for delta in found if delta.text]) > 4


def test_a_stop_word_is_looked_for_in_the_words() -> None:
    """Not in the JSON around them; the answer ends before it."""
    found = said('{"answer": "no rain. But wind."}', offering(stop=("But", '"')))
    assert "".join(delta.text for delta in found) == "no rain. "
    assert (found[-1].finish_reason, found[-1].prompt_tokens) == ("stop", None)


def test_what_cannot_be_read_as_a_call_is_said() -> None:
    """An engine that could not be held to the shape still answers; a name that was not offered is no call."""
    for written in ("It is raining.", '{"name": "other", "arguments": {}}'):
        found = said(written, offering())
        assert "".join(delta.text for delta in found) == written
        assert found[-1].finish_reason == "stop"


def test_without_a_choice_nothing_is_offered() -> None:
    """tool_choice none: the conversation goes on in words."""
    found = said("It is raining.", offering(tool_choice="none"))
    assert "".join(delta.text for delta in found) == "It is raining."


def test_the_shape_has_the_answer_only_when_it_may_be_words() -> None:
    """auto: words or any function; required: any function; a name: that one."""
    auto = tools.schema((WEATHER, CLOCK), "auto")["anyOf"]
    assert [list(shape["properties"]) for shape in auto] == [
        ["answer"],
        ["name", "arguments"],
        ["name", "arguments"],
    ]
    required = tools.schema((WEATHER, CLOCK), "required")["anyOf"]
    assert [shape["properties"]["name"]["const"] for shape in required] == ["weather", "clock"]
    one = tools.schema(tools.chosen((WEATHER, CLOCK), "clock"), "clock")
    assert one["properties"]["name"] == {"const": "clock"}


def test_definitions_of_two_functions_do_not_mix() -> None:
    """Each has its own `$defs`, and they may have the same names."""
    one, two = (
        Tool(
            name,
            "",
            {"type": "object", "$defs": {"x": {"type": kind}}, "properties": {"a": {"$ref": "#/$defs/x"}}},
        )
        for name, kind in (("one", "string"), ("two", "integer"))
    )
    shape = tools.schema((one, two), "required")
    refs = [branch["properties"]["arguments"]["properties"]["a"]["$ref"] for branch in shape["anyOf"]]
    assert [shape["$defs"][ref.removeprefix("#/$defs/")]["type"] for ref in refs] == ["string", "integer"]


def test_a_choice_that_is_not_there_is_refused() -> None:
    """The error names those there are; so is a schema beside tools."""
    with pytest.raises(RequestRefused, match="not among the tools: weather, clock"):
        said("", offering(tool_choice="rain"))
    with pytest.raises(RequestRefused, match="leave one of them out"):
        said("", offering(json_schema={}))
    with pytest.raises(RequestRefused, match="give 64 at most"):
        said("", offering(*[Tool(f"t{n}") for n in range(65)]))


def test_the_history_is_told_in_words() -> None:
    """Calls and results become texts that any template takes; the offer joins the system message."""
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Rain "}, {"type": "text", "text": "there?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                },
                {"id": "2", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sun"},
        {"role": "tool", "tool_call_id": "2", "content": "noon"},
        {"role": "user", "content": "So?"},
    ]
    turns = tools.with_tools(history, (WEATHER,))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0]["content"].startswith("Be brief.\n\nYou can call these functions.")
    assert '"name": "weather"' in turns[0]["content"]
    assert turns[1]["content"] == "Rain there?"
    assert turns[2]["content"].splitlines()[0] == '{"name": "weather", "arguments": {"city": "Rome"}}'
    assert turns[3]["content"] == "Result of weather: sun\nResult of clock: noon\nSo?"


def test_an_image_is_refused_by_a_model_of_words() -> None:
    """The error says what to do."""
    with pytest.raises(RequestRefused, match="name a model that sees images"):
        tools.flat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}])


@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=3),
    st.integers(1, 5),
)
def test_stops_cut_as_on_the_whole_text(text: str, words: list[str], size: int) -> None:
    """In any split: what comes before the first stop word that is complete."""
    stops = Stops(words)
    found = ""
    for place in range(0, len(text), size):
        found += stops.feed(text[place : place + size])
    found += stops.rest()
    ends = [place for word in words if (place := text.find(word)) >= 0]
    if not ends:
        assert (found, stops.met) == (text, False)
    else:
        assert stops.met
        assert text.startswith(found)
        assert all(word not in found for word in words)
