"""How an answer is written to the connection: in how few writes, with which head, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.console import Wire, connected, heard, over

from qianfan_platform.web.asgi import exchange_of
from qianfan_platform.web.envelopes import spelt
from qianfan_platform.web.exchange import Exchange, Left
from qianfan_platform.web.front import LEFT, Front
from qianfan_platform.web.hot import HotRoute, Reply

pytestmark = pytest.mark.anyio


async def told(messages: list[dict[str, Any]], request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> Wire:
    """What an application that sends these messages writes to the wire."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    connection, wire = connected(Front(app))
    await heard(connection, request.replace(b"\r\n\r\n", b"\r\nrequest_id: r\r\n\r\n"))
    connection.connection_lost(None)
    return wire


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def test_a_small_answer_leaves_in_one_write() -> None:
    """Head and body together; names in small letters, but for those that keep their capitals."""
    headers = [(b"Content-Length", b"2"), *spelt({"X-Ratelimit": "7"})]
    wire = await told([start(*headers), piece(b"hi")])
    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\nX-Ratelimit: 7\r\nx-baidu-request-id: r\r\n\r\nhi"
    ]


async def test_a_name_with_kept_capitals_does_not_change_its_twin() -> None:
    """The same letters, once to be kept and once not, in both orders."""
    for headers in (
        [(b"X-Twin", b"1"), *spelt({"X-Twin": "2"})],
        [*spelt({"X-Twin": "2"}), (b"X-Twin", b"1")],
    ):
        raw = (await told([start(*headers), piece(b"")])).writes[0]
        assert b"x-twin: 1\r\n" in raw
        assert b"X-Twin: 2\r\n" in raw


async def test_the_first_event_brings_the_head_and_each_other_is_one_write() -> None:
    """Chunks, as nothing says how long the answer is."""
    wire = await told([start(), piece(b"one", True), piece(b"two", True), piece(b"")])
    head = b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\nx-baidu-request-id: r\r\n\r\n"
    assert wire.writes == [head + b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


async def test_an_answer_to_head_has_no_body() -> None:
    """Its length is still told."""
    wire = await told([start((b"content-length", b"2")), piece(b"hi")], b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\nx-baidu-request-id: r\r\n\r\n"
    ]


async def test_an_answer_that_closes_says_so() -> None:
    """When the client asked for it, or the application."""
    wire = await told(
        [start((b"content-length", b"0")), piece(b"")], b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert wire.writes[0].endswith(b"connection: close\r\n\r\n")
    assert wire.closed
    wire = await told([start((b"content-length", b"0"), (b"connection", b"Close")), piece(b"")])
    assert wire.writes[0].count(b"connection: ") == 1
    assert wire.closed


@pytest.mark.parametrize(
    "header",
    [(b"x-a", b"1\r\nset-cookie: b"), (b"x-a", b"1\n"), (b"x a", b"1"), (b"x:a", b"1"), (b"", b"\x00")],
)
async def test_a_header_cannot_hold_another(header: tuple[bytes, bytes]) -> None:
    """The answer becomes an internal error; nothing of the header is written."""
    wire = await told([start(header), piece(b"hi")])
    assert wire.writes[0].startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in b"".join(wire.writes)


@pytest.mark.parametrize("body", [b"too long", b"x"])
async def test_a_body_that_is_not_as_long_as_promised_ends_the_connection(body: bytes) -> None:
    """Else the reader would take the next answer for a part of this one."""
    wire = await told([start((b"content-length", b"2")), piece(body)])
    assert wire.closed


async def test_requests_that_wait_in_line_are_answered_in_turn() -> None:
    """A client may send the next before it has the answer; each is told where it was asked."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        body = scope["path"].encode() + b"?" + scope["query_string"]
        await send(start((b"content-length", b"%d" % len(body))))
        await send(piece(body))

    connection, wire = connected(Front(app))
    asked = ["/a?b=1", "/%E4%BD%A0", "http://x/c?d"]
    connection.data_received("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in asked).encode())
    for _ in range(20):
        await asyncio.sleep(0)
    assert [raw.rpartition(b"\r\n\r\n")[2] for raw in wire.writes] == [b"/a?b=1", "/你?".encode(), b"/c?d"]
    connection.connection_lost(None)


async def test_work_is_cancelled_when_its_reader_leaves() -> None:
    """Also when it had left before the work began, on both roads."""
    ended: list[str] = []

    async def work(exchange: Exchange) -> Reply:
        try:
            with exchange:
                await asyncio.sleep(60)
        except Left:
            ended.append(exchange.path)
            raise
        return None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await work(exchange_of(scope))

    loop = asyncio.get_running_loop()
    for path in ("/console", "/hot"):
        raw = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for turns in (1, 0):
            front = Front(app, [HotRoute("/hot", work, ("GET",))])
            connection, _ = connected(front)
            loop.call_soon(connection.data_received, raw)
            for _ in range(turns):
                await asyncio.sleep(0)
            loop.call_soon(connection.connection_lost, None)
            await asyncio.sleep(0)
            await over(connection)
            assert list(front.answered) == [("/hot" if path == "/hot" else "other", LEFT)]
    assert ended == ["/console", "/console", "/hot", "/hot"]


async def told_back(exchange: Exchange) -> Reply:
    return await exchange.read() or b"-"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request is for the console")


async def test_a_hot_request_begins_when_its_body_is_there() -> None:
    """One that waits for a word from us, or says no length, begins with its head."""
    head = b"POST /hot HTTP/1.1\r\nHost: x\r\n"
    connection, wire = connected(Front(nothing, [HotRoute("/hot", told_back)]))
    loop = asyncio.get_running_loop()
    for piece_ in (head + b"Content-Length: 4\r\n\r\n", b"ab"):
        loop.call_soon(connection.data_received, piece_)
        await asyncio.sleep(0.01)
        assert connection._newest is not None
        assert not connection._newest.begun
    await heard(connection, b"cd")
    assert wire.writes[-1].endswith(b"\r\n\r\nabcd")
    for lines, says in (
        (b"Content-Length: 2\r\nExpect: 100-continue", [b"HTTP/1.1 100 Continue\r\n\r\n"]),
        (b"Transfer-Encoding: chunked", []),
    ):
        wire.writes.clear()
        loop.call_soon(connection.data_received, head + lines + b"\r\n\r\n")
        await asyncio.sleep(0.01)
        assert wire.writes == says
        await heard(connection, b"hi" if says else b"2\r\nhi\r\n0\r\n\r\n")
        assert wire.writes[-1].endswith(b"\r\n\r\nhi")
    connection.connection_lost(None)


async def test_a_long_line_of_requests_is_no_deep_pile() -> None:
    """Two thousand that came at once, each answered in its turn."""
    connection, wire = connected(Front(nothing, [HotRoute("/hot/{n}", said_back)]))
    asked = "".join(f"POST /hot/{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" for n in range(2000))
    asyncio.get_running_loop().call_soon(connection.data_received, asked.encode())
    while len(wire.writes) < 2000:
        await asyncio.sleep(0)
    assert [raw.rpartition(b"\r\n\r\n")[2] for raw in wire.writes] == [b"%d" % n for n in range(2000)]
    connection.connection_lost(None)


async def said_back(exchange: Exchange) -> Reply:
    return exchange.param.encode()
