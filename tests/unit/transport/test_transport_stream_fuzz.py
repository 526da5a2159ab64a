"""Streams in any split and in any state of repair: the right answers, or a typed error with the text so far."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loopback import Loopback, stream

from qianfan.contract.routes import V2_CHAT, Route
from qianfan.errors import APIError, ConnectionLost, QianfanError, RequestError, StreamInterrupted
from qianfan.resources import ChatCompletion
from qianfan.transport.call import Call, Reply, Request
from qianfan.transport.streams import AsyncStream, Stream, StreamReader

V1 = Call(Route("/chat/x", "inference"), stream=True)
V2 = Call(V2_CHAT, stream=True)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keep_alives = st.sampled_from(
    ["", ": ping{0}{0}", ":{0}", "id: 7{0}", "retry: 10{0}", "what: ever{0}{0}", "{0}"]
)
newlines = st.sampled_from(["\n", "\r\n", "\r"])
spaces = st.sampled_from(["data: ", "data:"])
cuts = st.lists(st.integers(0, 100_000), max_size=12)


def reader(call: Call) -> StreamReader:
    return StreamReader(call, Request("POST", "http://h", "/x", (), {}, b"{}", 1.0), Reply(200, {}))


def split(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(at)]


def read(call: Call, chunks: list[bytes]) -> tuple[list[Any], QianfanError | None]:
    """The bodies that came, and the error that ended them."""
    bodies: list[Any] = []
    try:
        for answer in Stream(reader(call), iter(chunks)):
            bodies.append(answer.body)
    except QianfanError as error:
        return bodies, error
    return bodies, None


def aread(call: Call, chunks: list[bytes]) -> tuple[list[Any], QianfanError | None]:
    """The same for asyncio."""
    bodies: list[Any] = []

    async def pieces() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> QianfanError | None:
        try:
            async for answer in AsyncStream(reader(call), pieces()):
                bodies.append(answer.body)
        except QianfanError as error:
            return error
        return None

    return bodies, asyncio.run(collect())


def shown(outcome: tuple[list[Any], QianfanError | None]) -> tuple[Any, ...]:
    bodies, error = outcome
    return bodies, type(error), str(error), error and error.text


@st.composite
def streams(draw: Callable[..., Any]) -> tuple[list[dict[str, Any]], bytes]:
    """Events of a whole V1 answer, and how a server may write them."""
    events = [
        {"sentence_id": n, "result": text, "is_end": False} for n, text in enumerate(draw(st.lists(texts)))
    ]
    events.append({"sentence_id": len(events), "result": draw(texts), "is_end": True})
    newline, space = draw(newlines), draw(spaces)
    raw = draw(st.sampled_from(["", "\ufeff"]))
    for event in events:
        raw += draw(keep_alives).format(newline)
        raw += space + json.dumps(event, ensure_ascii=draw(st.booleans())) + newline * 2
    return events, raw.encode()


@given(streams(), cuts)
def test_any_split_of_any_valid_stream_gives_the_same_chunks(
    written: tuple[list[dict[str, Any]], bytes], places: list[int]
) -> None:
    """LF, CRLF, CR, BOM, comments, keep-alives, unknown fields, missing spaces; cut anywhere."""
    events, raw = written
    assert read(V1, split(raw, places)) == (events, None)


WHOLE = (
    '\ufeff: hello\n\ndata: {"result": "你", "is_end": false}\n\n'
    'event: plugin\r\ndata: {"result": "好", "is_end": false}\r\n\r\n'
    'data: {"result": "!",\ndata: "is_end": true}\n\n'
).encode()
BROKEN = WHOLE.replace(b'"is_end": true', b'"is_end": tru')
ENDS_BADLY = WHOLE.replace(b'"is_end": true', b'"error_code": 336100, "error_msg": "high load"')
UNENDED = WHOLE.replace(b'"is_end": true', b'"is_end": false')


@pytest.mark.parametrize(
    "raw", [WHOLE, BROKEN, ENDS_BADLY, UNENDED], ids=["whole", "bad JSON", "error", "no end"]
)
def test_every_split_in_two_and_byte_by_byte_is_the_same(raw: bytes) -> None:
    """Also for streams that fail: the same pieces first, then the same error with the same text."""
    wanted = shown(read(V1, [raw]))
    assert wanted[0][:2] == [
        {"result": "你", "is_end": False},
        {"result": "好", "is_end": False, "_event": "plugin"},
    ]
    for place in range(len(raw)):
        assert shown(read(V1, [raw[:place], raw[place:]])) == wanted
    assert shown(read(V1, [bytes([byte]) for byte in raw])) == wanted
    assert shown(aread(V1, [raw[:40], raw[40:]])) == wanted


@given(streams(), st.integers(0, 100_000), cuts)
def test_a_stream_cut_anywhere_is_never_taken_for_whole(
    written: tuple[list[dict[str, Any]], bytes], place: int, places: list[int]
) -> None:
    """Before the end mark it is StreamInterrupted, or RequestError for half an event; with what had come."""
    events, raw = written
    raw = raw[: place % len(raw)]
    bodies, error = read(V1, split(raw, places))
    if bodies and bodies[-1]["is_end"]:
        assert (bodies, error) == (events, None)
    else:
        assert isinstance(error, (StreamInterrupted, RequestError))
        assert bodies == events[: len(bodies)]
        assert error.text == "".join(body["result"] for body in bodies)


@given(st.binary(max_size=200), cuts)
@example(b"\xff\xfe\x00data", [])
@example(b"data: [1]\n\ndata: 7\n\ndata: null\n\n", [])
@example(b'data: {"choices": [7]}\n\n', [])
@example(b'data: {"choices": 7}\n\n', [])
@example(b'data: {"usage": [1], "result": 7}\n\n', [])
@example(b'data: {"error": {"code": [1]}}\n\n', [])
@example(b'data: {"error_code": [1], "error_msg": 7}\n\n', [])
@example(b"data: " + b"[" * 2000 + b"\n\n", [])
def test_garbage_is_a_typed_error(raw: bytes, places: list[int]) -> None:
    """Whatever a server sends in place of a stream ends in an error of ours, and in no other."""
    for call in (V1, V2):
        bodies, error = read(call, split(raw, places))
        assert bodies == [] or isinstance(bodies[0], dict)
        assert isinstance(error, QianfanError)
        assert isinstance(error.text, str)


@given(st.lists(texts, min_size=1, max_size=6), st.binary(min_size=1, max_size=30), cuts)
@example(["a"], b"}", [])
def test_garbage_behind_good_events_keeps_what_had_come(
    said: list[str], garbage: bytes, places: list[int]
) -> None:
    """Every error of a stream has the text so far."""
    good = b"".join(
        b'data: {"result":' + json.dumps(text).encode() + b',"is_end":false}\n\n' for text in said
    )
    bodies, error = read(V1, split(good + b"data: {" + garbage + b"\n\n", places))
    assert [body["result"] for body in bodies[: len(said)]] == said  # `{` and `}` make one that says nothing
    assert error is not None
    assert error.text == "".join(said)


def test_a_line_that_never_ends_is_refused_with_the_text_so_far() -> None:
    """Memory is bounded, and the error says so."""
    one = reader(V1)
    one._decoder.max_line = 1000
    chunks = [b'data: {"result":"so far","is_end":false}\n\n', *[b"x" * 400] * 4]
    with pytest.raises(RequestError, match="longer than 1000") as error:
        list(Stream(one, iter(chunks)))
    assert error.value.text == "so far"


def test_a_token_refused_in_mid_stream_and_a_lost_connection_have_the_text() -> None:
    """An error by code, and one of the connection, both after the first piece."""
    first = b'data: {"result":"so far","is_end":false}\n\n'
    bodies, refused = read(V1, [first + b'data: {"error_code":111,"error_msg":"expired"}\n\n'])
    assert (len(bodies), type(refused), refused and refused.text) == (1, APIError, "so far")

    def breaks() -> Iterator[bytes]:
        yield first
        raise ConnectionLost("gone")

    with pytest.raises(StreamInterrupted) as lost:
        list(Stream(reader(V1), breaks()))
    assert (lost.value.text, type(lost.value.cause)) == ("so far", ConnectionLost)


def test_closing_inside_the_loop_ends_it() -> None:
    """No error, no further piece; the pieces that were not asked for are not read."""
    pieces = Stream(reader(V1), iter([b'data: {"result":"a","is_end":false}\n\n'] * 5))
    count = 0
    for _ in pieces:
        count += 1
        pieces.close()
    assert count == 1
    assert pieces.code == 200
    assert pieces.headers == {}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_piece_is_there_when_it_was_sent(server: Loopback, settings: Any, is_async: bool) -> None:
    """Ten events, 50 ms apart: the first within a moment, the median gap as it was sent."""
    events = [{"result": str(n), "is_end": n == 9} for n in range(10)]
    server.always = stream(*events, pace_s=0.05)
    chat = ChatCompletion(ak=f"paced-{server.port}", sk="s")
    chat.access_token()
    times: list[float] = []
    started = time.monotonic()

    async def collect() -> None:
        async for _ in await chat.ado([{"role": "user", "content": "hi"}], stream=True):
            times.append(time.monotonic() - started)

    if is_async:
        asyncio.run(collect())
    else:
        for _ in chat.do([{"role": "user", "content": "hi"}], stream=True):
            times.append(time.monotonic() - started)
    assert len(times) == 10
    assert times[0] < 0.2
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 0.035 < statistics.median(gaps) < 0.075, gaps
