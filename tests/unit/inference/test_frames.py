"""Frames of streams, byte by byte."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from qianfan.contract import sse
from qianfan_platform.engines.protocol import Delta, ToolCall
from qianfan_platform.inference.frames import LONGEST, V1, V2

CALL = ToolCall("call_1", "weather", '{"city": "x"}', "look it up")
LAST = Delta("", "stop", 5, 2)


def events(raw: bytes) -> list[Any]:
    decoder = sse.Decoder()
    return [orjson.loads(event.data) for event in [*decoder.feed(raw), *decoder.close()]]


def test_a_v1_frame_is_one_line_and_one_blank_line() -> None:
    """Written by hand for speed, it must still be exactly what published clients read."""
    form = V1("chat.completion")
    raw = form.frame(Delta('say "你\n'))
    assert re.fullmatch(
        rb'data: \{"id":"as-[a-z0-9]{10}","object":"chat\.completion","created":\d{10},"sentence_id":0,'
        rb'"is_end":false,"result":"say \\"\xe4\xbd\xa0\\n","is_truncated":false,"need_clear_history":false,'
        rb'"usage":\{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1\}\}\n\n',
        raw,
    )
    second, last = events(form.frame(Delta("b", prompt_tokens=5)) + form.frame(Delta("", "length", 5, 2)))
    assert second["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert last == {
        "id": second["id"], "object": "chat.completion", "created": second["created"], "sentence_id": 2,
        "is_end": True, "result": "", "is_truncated": True, "need_clear_history": False,
        "finish_reason": "length", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }  # fmt: skip


def test_a_completion_says_is_safe_as_a_number() -> None:
    """Java reads an integer; there is no is_truncated."""
    form = V1("completion", safe=True)
    first, last = events(form.frame(Delta("a")) + form.frame(LAST))
    assert first["is_safe"] == last["is_safe"] == 1
    assert not isinstance(first["is_safe"], bool)
    assert not {"is_truncated", "finish_reason"} & {*first, *last}


def test_a_call_comes_in_the_last_v1_frame() -> None:
    """Whenever the engine tells of it."""
    form = V1("chat.completion")
    raw = form.frame(Delta(tool_calls=(CALL,))) + form.frame(Delta("", "tool_calls", 5, 2))
    (only,) = events(raw)
    assert only["is_end"]
    assert only["finish_reason"] == "function_call"
    assert only["result"] == ""
    assert only["function_call"] == {
        "name": "weather",
        "thoughts": "look it up",
        "arguments": '{"city": "x"}',
    }


def test_thoughts_have_no_place_on_v1_and_one_of_their_own_on_v2() -> None:
    """They cost tokens on both."""
    form = V1("chat.completion")
    assert form.frame(Delta(reasoning="hm")) == b""
    assert events(form.frame(Delta("a")))[0]["usage"]["completion_tokens"] == 2
    (chunk,) = events(V2("m").frame(Delta(reasoning="hm")))
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "reasoning_content": "hm"}


def test_no_line_outgrows_what_go_reads() -> None:
    """A long piece becomes several frames, numbered on; together they are the text."""
    form, text = V1("chat.completion"), "\x01" * (LONGEST * 2 + 1)
    raw = form.frame(Delta(text)) + form.frame(Delta(text, "stop", 1, 1))
    found = events(raw)
    assert max(map(len, raw.split(b"\n\n"))) < 64 * 1024
    assert [one["sentence_id"] for one in found] == list(range(7))
    assert "".join(one["result"] for one in found) == text * 2
    assert [one["is_end"] for one in found] == [False] * 6 + [True]


def test_half_a_character_does_not_break_the_stream() -> None:
    """An engine that cuts a surrogate pair in two gets a question mark."""
    assert events(V1("chat.completion").frame(Delta("a\ud83d")))[0]["result"] == "a?"
    form = V2("m")
    chunks = events(form.frame(Delta("\ud83d")) + form.frame(Delta("b\ude00")))
    assert [one["choices"][0]["delta"]["content"] for one in chunks] == ["?", "b?"]
    form = V2("m")
    form.whole.add(Delta("\ud83d"))
    form.whole.add(Delta("\ude00", "stop", 1, 2))
    assert orjson.dumps(form.answer())


def test_v2_chunks_are_those_of_openai() -> None:
    """Role first, then pieces, then the reason, with the usage unless it is asked for apart."""
    form = V2('50% "m"')
    chunks = events(form.frame(Delta("a")) + form.frame(Delta("b")) + form.frame(LAST))
    assert [one["choices"][0]["delta"] for one in chunks] == [
        {"role": "assistant", "content": "a"}, {"content": "b"}, {"content": ""},
    ]  # fmt: skip
    assert [one["choices"][0]["finish_reason"] for one in chunks] == [None, None, "stop"]
    assert {one["model"] for one in chunks} == {'50% "m"'}
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["usage"]["total_tokens"] == 7
    apart = events(V2("m", with_usage=True).frame(LAST))
    assert "usage" not in apart[0]
    assert apart[1]["choices"] == []
    assert apart[1]["usage"]["total_tokens"] == 7


def test_v2_calls_are_numbered() -> None:
    """Clients put pieces together by their index."""
    form = V2("m")
    chunks = events(form.frame(Delta(tool_calls=(CALL, CALL))) + form.frame(Delta("", "tool_calls", 5, 2)))
    calls = chunks[0]["choices"][0]["delta"]["tool_calls"]
    assert [call["index"] for call in calls] == [0, 1]
    assert calls[0]["function"] == {"name": "weather", "arguments": '{"city": "x"}'}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_only_one_call_where_only_one_is_wanted() -> None:
    """`parallel_tool_calls` false, whatever the engine does."""
    form, other = V2("m", one_call=True), V2("m", one_call=True)
    chunks = events(form.frame(Delta(tool_calls=(CALL, CALL))) + form.frame(Delta("", "tool_calls", 5, 2)))
    assert len(chunks[0]["choices"][0]["delta"]["tool_calls"]) == 1
    other.whole.add(Delta("", "tool_calls", 5, 2, (CALL, CALL)))
    assert len(other.answer()["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize("count", [0, 3])
def test_a_whole_answer_and_a_stream_say_the_same(count: int) -> None:
    """Text, counts and reason."""
    pieces = [*(Delta(f"{number} ") for number in range(count)), Delta("", "stop", 5, count)]
    whole, form = V1("chat.completion"), V1("chat.completion")
    for piece in pieces:
        whole.whole.add(piece)
    frames = events(b"".join(form.frame(piece) for piece in pieces))
    answer = whole.answer()
    assert "".join(one["result"] for one in frames) == answer["result"]
    for name in ("usage", "finish_reason", "is_truncated", "need_clear_history"):
        assert frames[-1][name] == answer[name]
