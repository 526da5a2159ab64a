"""The small HTTP client, against servers that answer byte by byte as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qianfan_platform.engines.events import Events, events
from qianfan_platform.engines.http import AHEAD, Answer, ConnectionLost, Http, Silent
from qianfan_platform.engines.protocol import EngineFailed

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def against(handler: Handler, ask: Callable[[Http], Awaitable[Any]], **more: Any) -> Any:
    """What `ask` gives with a client of a server that runs `handler` for each connection."""

    async def body() -> Any:
        async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handled, "127.0.0.1", 0)
        http = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base", **more)
        try:
            async with asyncio.timeout(10):
                return await ask(http)
        finally:
            await http.close()
            server.close()

    return asyncio.run(body())


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def saying(*pieces: bytes) -> Handler:
    """A server that writes these pieces, one write each."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return handler


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "pieces",
    [
        (SIZED,),
        (CHUNKED, b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", SIZED),
        tuple(SIZED[n : n + 1] for n in range(len(SIZED))),
    ],
    ids=["sized", "chunked", "until the end", "after a 100", "byte by byte"],
)
def test_a_body_is_read_however_it_is_framed(pieces: tuple[bytes, ...]) -> None:
    """By length, by chunks, by the end of the connection; in any split."""
    found: Answer = against(saying(*pieces), lambda http: http.ask("GET", "x"))
    assert (found.status, found.body) == (200, b"hello")


def test_the_request_has_path_headers_and_body() -> None:
    """The base comes before the path; `//` leads to the root of the server."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        seen.append(head + (await reader.readexactly(4) if b"content-length" in head else b""))
        writer.write(SIZED)

    async def ask(http: Http) -> None:
        await http.ask("POST", "a/b", b"body")
        await http.ask("GET", "//root")

    against(handler, ask, headers={"authorization": "Bearer k"})
    assert seen[0].startswith(b"POST /base/a/b HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nauthorization: Bearer k\r\n" in seen[0]
    assert seen[0].endswith(b"content-length: 4\r\n\r\nbody")
    assert seen[1].startswith(b"GET /root HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "pieces",
    [(), (b"HTTP/1.1 200 OK\r\nContent-Le",), (SIZED[:-2],), (CHUNKED, b"5\r\nhel")],
    ids=["nothing", "half a head", "half a body", "half a chunk"],
)
def test_an_answer_cut_short_is_a_lost_connection(pieces: tuple[bytes, ...]) -> None:
    """Never a short body that looks whole."""
    with pytest.raises(ConnectionLost, match="the connection to the engine was lost"):
        against(saying(*pieces), lambda http: http.ask("GET", "x"))


def test_garbage_is_not_taken_for_an_answer() -> None:
    """Nor is a head without end."""
    with pytest.raises(EngineFailed, match="does not speak HTTP"):
        against(saying(b"SSH-2.0-OpenSSH\r\n"), lambda http: http.ask("GET", "x"))
    long = b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000 + b"\r\n"
    with pytest.raises(EngineFailed, match="does not speak HTTP: too long a head"):
        against(saying(long), lambda http: http.ask("GET", "x"))


def test_a_server_that_falls_silent_is_hung() -> None:
    """Before the head and in the middle of the body."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        if b"/late " in head:
            writer.write(SIZED[:-2])
        await reader.read()

    for path in ("x", "late"):
        with pytest.raises(Silent, match=r"silent for 0\.1 s"):
            against(silent, lambda http, path=path: http.ask("GET", path), idle_s=0.1)


def test_who_stands_in_line_is_not_lost_while_others_are_served() -> None:
    """An answer that has not begun is waited for as long as the server speaks to anybody."""

    async def one_by_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        if b"/base/first" in head:
            writer.write(CHUNKED)
            for _ in range(8):
                writer.write(b"1\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
            writer.write(b"0\r\n\r\n")
        else:
            await asyncio.sleep(0.7)
            writer.write(SIZED)
        await writer.drain()

    async def both(http: Http) -> list[bytes]:
        answers = await asyncio.gather(http.ask("GET", "first"), http.ask("GET", "second"))
        return [answer.body for answer in answers]

    assert against(one_by_one, both, idle_s=0.3) == [b"x" * 8, b"hello"]


def test_a_slow_reader_is_not_taken_for_a_silent_server_and_bounds_memory() -> None:
    """The socket is left alone once enough is kept; nothing is lost."""
    sent = 8 * 1024 * 1024
    written = [0]

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % sent)
        while written[0] < sent:
            writer.write(b"x" * 65536)
            await writer.drain()
            written[0] += 65536

    async def ask(http: Http) -> int:
        exchange = await http.open("GET", "x")
        await asyncio.sleep(0.4)  # longer than idle_s
        before = written[0]
        assert before < sent, "the server could write all while nobody read"
        assert exchange._size < 2 * AHEAD
        body = await exchange.whole()
        exchange.close()
        return len(body)

    assert against(flood, ask, idle_s=0.2) == sent


def test_a_body_over_the_limit_is_refused() -> None:
    """The limit is the caller's."""

    async def ask(http: Http) -> None:
        exchange = await http.open("GET", "x")
        try:
            await exchange.whole(most=4)
        finally:
            exchange.close()

    with pytest.raises(EngineFailed, match="more than 4 bytes"):
        against(saying(SIZED), ask)


def test_connections_are_kept_and_a_stale_one_costs_no_request() -> None:
    """Two requests share a connection; when the server closed it meanwhile, the next one opens another."""
    connections = [0]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        for _ in range(2):
            await head_of(reader)
            writer.write(SIZED)

    async def ask(http: Http) -> list[int]:
        counts = []
        for _ in range(5):
            assert (await http.ask("GET", "x")).body == b"hello"
            counts.append(connections[0])
        return counts

    assert against(handler, ask, keep=2) == [1, 1, 2, 2, 3]
    connections[0] = 0
    assert against(handler, ask, keep=0) == [1, 2, 3, 4, 5]


def test_leaving_an_answer_hangs_up() -> None:
    """The server sees the end at once, also when the reader is cancelled."""

    async def ask(http: Http) -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await head_of(reader)
            writer.write(CHUNKED + b"1\r\nx\r\n")
            await reader.read()
            if not gone.done():
                gone.set_result(None)
            writer.close()

        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        mine = Http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

        async def read() -> None:
            exchange = await mine.open("GET", "x")
            try:
                while await exchange.read():
                    pass
            finally:
                exchange.close()

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait_for(gone, 2)
        server.close()

    against(saying(), ask)


def test_no_server_is_a_connection_that_cannot_be_made() -> None:
    """The error says who and why."""

    async def ask() -> None:
        await Http("http://127.0.0.1:1", what="the upstream").ask("GET", "x")

    with pytest.raises(ConnectionLost, match="the upstream cannot be reached"):
        asyncio.run(ask())


STREAM = (
    b': ping\n\nevent: x\ndata: {"a":1}\n\ndata:{"b":2}\r\n\r\ndata: two\ndata: lines\n\ndata: [DONE]\n\n'
)
DATA = [b'{"a":1}', b'{"b":2}', b"two\nlines", b"[DONE]"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_in_any_split(size: int) -> None:
    """Comments and names are left out, lines of one event are joined."""
    decoder = Events()
    found = [data for n in range(0, len(STREAM), size) for data in decoder.feed(STREAM[n : n + size])]
    assert found == DATA


def test_a_stream_without_its_end_marker_is_broken_off() -> None:
    """What came before is given, then the error."""

    async def ask(http: Http) -> list[bytes]:
        exchange = await http.open("GET", "x")
        found: list[bytes] = []

        async def read() -> None:
            async for data in events(exchange):
                found.append(data)

        with pytest.raises(ConnectionLost, match="broke its answer off"):
            await read()
        exchange.close()
        return found

    body = b"data: 1\n\ndata: 2\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert against(saying(head + body), ask) == [b"1", b"2"]
