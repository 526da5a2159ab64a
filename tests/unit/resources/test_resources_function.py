"""Functions for models that read and write text."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

from qianfan import Function, Messages
from qianfan.errors import ArgumentNotFoundError, InvalidArgumentError
from qianfan.resources.llm.actions import ActionReader, parsed, spoken

WEATHER = {
    "name": "weather",
    "description": "天气 of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ASK = [{"role": "user", "content": "北京 weather?"}]
WANTS = 'Thought: I look.\nAction: weather\nAction Input: {"city": "北京"}'
CALL = {"name": "weather", "arguments": '{"city": "北京"}', "thoughts": "I look."}


def asked(client: Function, is_async: bool, *args: Any, **kwargs: Any) -> list[Any]:
    async def ask() -> list[Any]:
        answer: Any = await client.ado(*args, **kwargs)
        return [piece async for piece in answer] if kwargs.get("stream") else [answer]

    if is_async:
        return asyncio.run(ask())
    answer: Any = client.do(*args, **kwargs)
    return list(answer) if kwargs.get("stream") else [answer]


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
def test_a_text_that_asks_for_a_function_becomes_a_call(
    server: Loopback, settings: Any, is_async: bool
) -> None:
    """The functions stand in the system text, behind the caller's own; no `functions` member is sent."""
    server.answers.append(Answer({"result": WANTS, "finish_reason": "stop"}))
    (got,) = asked(Function(), is_async, ASK, [WEATHER], system="Be kind.")
    assert (got["result"], got["function_call"], got["finish_reason"]) == ("", CALL, "function_call")
    sent = server.seen[0].json
    assert set(sent) == {"messages", "stream", "system", "extra_parameters"}
    assert sent["system"].startswith("Be kind.\n\n")
    assert json.dumps(WEATHER, ensure_ascii=False, separators=(",", ":")) in sent["system"]
    assert server.seen[0].path.endswith("/chat/ernie-func-8k")


@both
def test_the_result_of_a_call_goes_back_as_an_observation(
    server: Loopback, settings: Any, is_async: bool
) -> None:
    """The whole round with Messages: ask, call, result, answer."""
    server.answers += [Answer({"result": WANTS}), Answer({"result": "20 degrees"})]
    messages, client = Messages(), Function()
    messages.append("北京 weather?")
    (first,) = asked(client, is_async, messages, [WEATHER])
    messages.append(first)
    messages.append('{"t": 20}')
    (second,) = asked(client, is_async, messages, functions=[WEATHER])
    assert second["result"] == "20 degrees"
    assert "function_call" not in second
    assert server.seen[1].json["messages"] == [
        *ASK,
        {"role": "assistant", "content": WANTS},
        {"role": "user", "content": 'Observation: {"t": 20}'},
    ]


@both
def test_a_native_call_is_left_as_it_is(server: Loopback, settings: Any, is_async: bool) -> None:
    """A server that knows functions answers with its own call, whole and as a stream."""
    body = {"result": "", "function_call": {"name": "weather", "arguments": "{}"}, "is_end": True}
    server.answers += [Answer(body), stream(body)]
    (whole,) = asked(Function(), is_async, ASK, [WEATHER])
    (piece,) = asked(Function(), is_async, ASK, [WEATHER], stream=True)
    assert whole["function_call"] == piece["function_call"] == {"name": "weather", "arguments": "{}"}


@both
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "call"),
    [
        (WANTS, "", CALL),
        ("Let me see.\n" + WANTS, "Let me see.\n", CALL),
        ("Actually, Thoughts are free.\nYes", "Actually, Thoughts are free.\nYes", None),
        ("Action: none of them", "Action: none of them", None),
        ("Thought: I know it.\nIt is 20", "Thought: I know it.\nIt is 20", None),
    ],
)
def test_a_stream_shows_text_and_holds_calls_back(
    server: Loopback, settings: Any, is_async: bool, size: int, text: str, shown: str, call: Any
) -> None:
    """Cut at any place: text comes as it is, the call with the last piece, nothing twice."""
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    pieces = [{"result": part, "is_end": n == len(parts) - 1} for n, part in enumerate(parts)]
    server.answers.append(stream(*pieces))
    got = asked(Function(), is_async, ASK, [WEATHER], stream=True)
    assert "".join(piece["result"] for piece in got) == shown
    assert got[-1].get("function_call") == call
    assert got[-1]["is_end"]
    assert [piece.get("function_call") for piece in got[:-1]] == [None] * (len(got) - 1)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('Action: a\nAction Input: {"x": "}\\""} and more', {"name": "a", "arguments": '{"x": "}\\""}', "thoughts": ""}),
        ('Action：`a`\n\nAction Input：```json\n{"x": 1}\n```', {"name": "a", "arguments": '{"x": 1}', "thoughts": ""}),
        ("Thought: why\nAction: a\nAction Input: {}", {"name": "a", "arguments": "{}", "thoughts": "why"}),
        ('Action: a\nAction Input: {"x": 1', None),
        ("Action: a\nAction Input: {x}", None),
        ("Action: a\nAction Input: 7", None),
        ("Action Input: {}", None),
        ("plain text", None),
    ],
)  # fmt: skip
def test_calls_are_read_from_texts(text: str, call: Any) -> None:
    """Only a whole JSON object makes a call; fences, quotes and what follows do not matter."""
    assert parsed(text) == call


def test_turns_are_written_in_words() -> None:
    """A call keeps its thoughts; other turns stay as they are."""
    assert spoken(ASK[0]) == ASK[0]
    call = {"role": "assistant", "content": "", "function_call": {"name": "a", "arguments": "{}"}}
    assert spoken(call) == {"role": "assistant", "content": "Action: a\nAction Input: {}"}


def test_a_reader_gives_back_what_it_held() -> None:
    """Each character once, in order."""
    reader = ActionReader()
    text = "one\nThought\nAct two\n  Action"
    shown = "".join(reader.feed(char) for char in text)
    rest, call = reader.close()
    assert (shown + rest, call) == (text, None)


@pytest.mark.parametrize(
    ("functions", "says"),
    [([{"description": "x"}], "no name"), ([{"name": "a", "parameters": {1: set()}}], "JSON")],
)
def test_a_function_that_cannot_be_described_is_refused(
    functions: list[Any], says: str, server: Loopback, settings: Any
) -> None:
    """Before anything is sent."""
    with pytest.raises((InvalidArgumentError, ArgumentNotFoundError), match=says):
        Function().do(ASK, functions)
    assert server.seen == []
