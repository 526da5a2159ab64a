"""Streams tell the truth: whole, or an error that has what had come."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

from qianfan.contract.routes import V2_CHAT, Route
from qianfan.errors import APIError, RequestError, RequestTimeoutError, StreamInterrupted
from qianfan.resources import ChatCompletion
from qianfan.transport.call import Call, Reply, Request
from qianfan.transport.streams import StreamReader

ASK = [{"role": "user", "content": "hi"}]
ONE, TWO = {"result": "one ", "is_end": False}, {"result": "two", "is_end": False}
END = {"result": "", "is_end": True, "usage": {"total_tokens": 3}}


def reader(call: Call | None = None) -> StreamReader:
    call = call or Call(Route("/chat/x", "inference"), stream=True)
    return StreamReader(call, Request("POST", "http://h", "/x", (), {}, b"{}", 1.0), Reply(200, {}))


def chat(server: Loopback) -> ChatCompletion:
    return ChatCompletion(ak=f"stream-{server.port}", sk="s")


def collect(server: Loopback, is_async: bool, **options: Any) -> tuple[list[Any], Exception | None]:
    """The pieces that came, and the error that ended them."""
    pieces: list[Any] = []

    async def read() -> None:
        async for piece in await chat(server).ado(ASK, stream=True, **options):
            pieces.append(piece)

    try:
        if is_async:
            asyncio.run(read())
        else:
            for piece in chat(server).do(ASK, stream=True, **options):
                pieces.append(piece)
    except Exception as error:
        return pieces, error
    return pieces, None


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
def test_a_whole_stream_gives_its_pieces(server: Loopback, settings: Any, is_async: bool) -> None:
    """Increments in order, the end mark, the times, and the request without its token."""
    server.always = stream(ONE, TWO, END)
    pieces, error = collect(server, is_async)
    assert error is None
    assert [piece["result"] for piece in pieces] == ["one ", "two", ""]
    assert pieces[-1]["is_end"]
    assert pieces[0].statistic["first_token_latency"] <= pieces[-1].statistic["total_latency"]
    assert server.seen[0].json["stream"] is True
    assert "token-1" not in repr(pieces[0])


@both
@pytest.mark.parametrize("cut", [False, True], ids=["ended", "cut"])
def test_a_stream_without_its_end_mark_raises_with_the_text(
    server: Loopback, settings: Any, is_async: bool, cut: bool
) -> None:
    """Whether the body ended properly or the connection broke: what had come is not taken for whole."""
    server.always = stream(ONE, TWO, cut=cut)
    pieces, error = collect(server, is_async)
    assert len(pieces) == 2
    assert isinstance(error, StreamInterrupted)
    assert error.text == "one two"


@both
def test_a_broken_end_after_the_end_mark_is_no_error(server: Loopback, settings: Any, is_async: bool) -> None:
    """The answer is whole; how the connection ended does not matter."""
    server.always = stream(ONE, END, cut=True)
    pieces, error = collect(server, is_async)
    assert (len(pieces), error) == (2, None)


@both
def test_an_error_in_mid_stream_is_typed(server: Loopback, settings: Any, is_async: bool) -> None:
    """The pieces before it are delivered, then the error with its code and request id."""
    server.always = stream(ONE, {"error_code": 336100, "error_msg": "high load", "id": "as-9"})
    pieces, error = collect(server, is_async)
    assert [piece["result"] for piece in pieces] == ["one "]
    assert isinstance(error, APIError)
    assert (error.error_code, error.req_id) == (336100, "as-9")


@both
def test_an_error_before_the_stream_is_raised_by_the_call(
    server: Loopback, settings: Any, is_async: bool
) -> None:
    """A JSON body in place of a stream, and an HTTP error, are errors of the call; the first is retried."""
    server.answers.append(Answer({"error_code": 18, "error_msg": "qps"}))
    server.answers.append(stream(ONE, END))
    pieces, error = collect(server, is_async, retry_count=2, backoff_factor=0, retry_jitter=0)
    assert (len(pieces), error) == (2, None)
    server.answers.append(Answer(b"<html>no</html>", 502))
    pieces, error = collect(server, is_async)
    assert isinstance(error, RequestError)
    assert error.status_code == 502


@both
def test_a_silent_stream_is_interrupted_with_its_text(
    server: Loopback, settings: Any, is_async: bool
) -> None:
    """The idle timeout ends it; the cause is kept."""
    server.always = stream(ONE, TWO, pace_s=1.0)
    pieces, error = collect(server, is_async, request_timeout=0.2)
    assert len(pieces) == 1
    assert isinstance(error, StreamInterrupted)
    assert isinstance(error.cause, RequestTimeoutError)
    assert error.text == "one "


def test_json_without_data_inside_a_stream_is_understood() -> None:
    """Some gateways send the error bare, with the type of a stream."""
    bare = reader()
    assert bare.feed(b'{"error_code": 336000, "error_msg": "Internal error"}') == []
    with pytest.raises(APIError, match="Internal error"):
        bare.close()


def test_v2_ends_with_done() -> None:
    """`[DONE]` is the end mark and no piece; without it, and without a finish reason, the stream is not whole."""
    delta = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    whole = reader(Call(V2_CHAT, stream=True))
    assert len(whole.feed(delta + b"data: [DONE]\n\n")) == 1
    assert whole.close() == []
    part = reader(Call(V2_CHAT, stream=True))
    part.feed(delta)
    with pytest.raises(StreamInterrupted) as error:
        part.close()
    assert error.value.text == "hi"


def test_an_event_that_is_not_json_is_an_error() -> None:
    """A broken server is named as such."""
    with pytest.raises(RequestError, match="not JSON"):
        reader().feed(b"data: {oops\n\n")


def test_a_named_event_keeps_its_name() -> None:
    """Plugin streams say what each event is."""
    (piece,) = reader().feed(b'event: plugin\ndata: {"plugin_info": []}\n\n')
    assert piece["_event"] == "plugin"


def test_leaving_a_stream_hangs_up(server: Loopback, settings: Any) -> None:
    """`with`, and `close()`, end the reading."""
    server.always = stream(*[ONE] * 100, pace_s=0.01)
    with chat(server).do(ASK, stream=True) as pieces:
        assert next(pieces)["result"] == "one "
    assert list(pieces) == []


def test_what_was_sent_is_shown_without_secrets(server: Loopback, settings: Any) -> None:
    """Token and signature are in no text of an answer, and the body is there to be read."""
    settings.ACCESS_KEY, settings.SECRET_KEY = "access-key-1", "secret-1"
    by_token = chat(server).do(ASK)
    by_iam = ChatCompletion().do(ASK)
    for answer in (by_token, by_iam):
        shown = json.dumps(
            [repr(answer), answer.request.url, answer.request.headers, answer.request.query], default=str
        )
        assert "token-1" not in shown
        assert "bce-auth-v1" not in shown
        assert answer.request.json_body["messages"] == ASK
