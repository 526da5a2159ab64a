"""How an answer is shown while it comes, and what is kept of it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qianfan.cli.answer import Answer, Lines, Nothing, Plain, receive
from qianfan.cli.markdown import Rendered, settled
from qianfan.transport.response import QfResponse

BLOCKS = "# Title\n\nSome **bold** words.\n\n```python\na = 1\n\nb = 2\n```\n\n- one\n- two\n\nThe end."


def piece(body: dict[str, Any], **headers: str) -> QfResponse:
    return QfResponse(200, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def test_both_interfaces_are_understood() -> None:
    """V1 has `result`, V2 has `choices` with a delta or a message; the last usage counts."""
    one = Answer()
    one.note(piece({"id": "as-1", "result": "he", "usage": {"total_tokens": 1}}))
    one.note(piece({"id": "as-1", "result": "llo", "is_truncated": True, "usage": {"total_tokens": 2}}))
    assert (one.text, one.finish_reason, one.usage) == ("hello", "length", {"total_tokens": 2})
    two = Answer()
    two.note(piece({"choices": [{"delta": {"role": "assistant", "content": "he"}}]}))
    two.note(piece({"choices": [{"delta": {"content": "llo"}, "finish_reason": "stop"}]}))
    two.note(piece({"choices": [], "usage": {"total_tokens": 3}}, X_Qianfan_Served_By="tiny; stand-in"))
    assert (two.text, two.finish_reason, two.usage) == ("hello", "stop", {"total_tokens": 3})
    assert two.served_by == "tiny; stand-in"


def test_the_shape_of_json_is_stable() -> None:
    """These members, always; members of plugins when they came."""
    members = {
        "text", "finish_reason", "usage", "served_by", "request_id", "seconds", "first_piece_seconds",
    }  # fmt: skip
    answer = Answer()
    assert set(answer.as_json()) == members
    answer.note(piece({"result": "x", "meta_info": {"plugin_id": "p"}}))
    assert set(answer.as_json(model="m")) == {*members, "model", "meta_info"}


def test_plain_text_ends_its_line_only_when_there_is_one() -> None:
    """An error before the first piece leaves standard output empty."""
    to = io.StringIO()
    show = Plain(to)
    show.end()
    assert to.getvalue() == ""
    show.piece("a")
    show.piece("b")
    show.end()
    assert to.getvalue() == "ab\n"


def test_json_lines_skip_empty_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    """The first piece of V2 has a role and no text."""
    show = Lines()
    show.piece("")
    show.piece("a")
    show.end()
    assert capsys.readouterr().out == '{"delta":"a"}\n'


def test_whole_answers_and_streams_are_received_alike() -> None:
    """What `ado` returns: one answer, or pieces."""

    async def whole() -> QfResponse:
        return piece({"result": "hello"})

    async def stream() -> AsyncIterator[QfResponse]:
        async def pieces() -> AsyncIterator[QfResponse]:
            yield piece({"result": "hel"})
            yield piece({"result": "lo"})

        return pieces()

    with asyncio.Runner() as runner:
        assert receive(runner, whole, Nothing()).text == "hello"
        assert receive(runner, stream, Nothing()).text == "hello"


def test_the_summary_says_why_an_answer_ended() -> None:
    """Cut by length, or stopped by the user."""
    answer = Answer(
        finish_reason="length", usage={"prompt_tokens": 3, "completion_tokens": 4}, served_by="tiny"
    )
    assert answer.summary() == "3 + 4 tokens · 0.0 s, first after 0.0 s · cut at the longest length · tiny"
    answer.stopped = True
    assert "stopped" in answer.summary()


def test_a_block_is_settled_at_an_empty_line_outside_of_code() -> None:
    """What may still change is not printed for good."""
    assert settled("one\ntwo", 0) == 0
    assert settled("one\n\ntwo", 0) == 5
    assert settled("```\na\n\nb", 0) == 0
    assert settled("```\na\n\nb\n```\n\nc", 0) == len("```\na\n\nb\n```\n\n")
    assert settled("one\n\ntwo\n\nthree", 5) == len("one\n\ntwo\n\n")


@given(st.lists(st.integers(0, len(BLOCKS)), max_size=12))
def test_markdown_is_printed_whole_however_it_was_cut(cuts: list[int]) -> None:
    """Any split into pieces gives each word of the text once, in order."""
    places = [0, *sorted(cuts), len(BLOCKS)]
    to = io.StringIO()
    show = Rendered(Console(file=to, width=60, force_terminal=False))
    for start, end in pairwise(places):
        show.piece(BLOCKS[start:end])
    show.end()
    printed = to.getvalue()
    found = [printed.count(word) for word in ("Title", "bold", "a = 1", "b = 2", "one", "two", "The end.")]
    assert found == [1] * 7, printed
