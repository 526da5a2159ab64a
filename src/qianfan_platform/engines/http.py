"""A small HTTP/1.1 client for engines that answer on plain HTTP: one request, its answer as it comes.

Written for streams of very many very small pieces: bytes go from the socket through httptools to whoever
waits, without a thread or a queue between. A reader that falls behind stops the reading of the socket.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httptools

from qianfan_platform.engines.protocol import EngineFailed

AHEAD: Final = 256 * 1024  # bytes of an answer kept for a slow reader before the socket is left alone
MAX_HEAD: Final = 64 * 1024  # bytes of a status line and headers
MAX_BODY: Final = 256 * 1024 * 1024  # bytes of an answer that is read whole
IDLE_S: Final = 4.0  # an unused connection is kept this long; common servers close theirs after five seconds


class ConnectionLost(EngineFailed):
    """The connection broke, or could not be made."""


class Silent(EngineFailed):
    """Nothing came for too long: the server counts as hung."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Http:
    """Requests to the server at `base`, such as `http://127.0.0.1:8000/v1`. Belongs to one event loop.

    idle_s: the longest silence. keep: how many unused connections stay open; 0 for a connection per request.
    what: how errors name the server."""

    base: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    idle_s: float = 120.0
    connect_s: float = 5.0
    keep: int = 0
    what: str = "the engine"

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        assert parts.scheme == "http"
        assert parts.hostname is not None
        self._host, self._port = parts.hostname, parts.port or 80
        self._path = parts.path.rstrip("/")
        name = f"[{self._host}]" if ":" in self._host else self._host
        connection = "keep-alive" if self.keep else "close"
        lines = {"host": f"{name}:{self._port}", "accept": "*/*", "connection": connection, **self.headers}
        self._head = "".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode("latin-1")
        self._unused: list[Exchange] = []
        self.heard = 0.0  # when the server last said anything to anybody, loop time

    async def open(self, method: str, path: str, body: bytes | None = None) -> Exchange:
        """Send a request; return when its status and headers are here. The caller closes what it gets.

        path: after the base; one that begins with `//` is taken from the root of the server. Raises
        ConnectionLost, Silent."""
        target = path[1:] if path.startswith("//") else f"{self._path}/{path}"
        request = f"{method} {target} HTTP/1.1\r\n".encode() + self._head
        if body is not None:
            request += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        request += b"\r\n" + (body or b"")
        while True:
            exchange = self._take()
            used = exchange is not None
            exchange = exchange or await self._connect()
            try:
                await exchange.send(request)
                return exchange
            except ConnectionLost:
                exchange.close()
                if not used or exchange.status:  # a kept connection may have been closed while we wrote
                    raise
            except BaseException:
                exchange.close()
                raise

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request and read its answer whole. Raises as `open` does, and when it is too large."""
        exchange = await self.open(method, path, body)
        try:
            return Answer(exchange.status, exchange.headers, await exchange.whole())
        finally:
            exchange.close()

    async def close(self) -> None:
        """Close the unused connections."""
        self.keep = 0
        while self._unused:
            self._unused.pop().drop()

    def take_back(self, exchange: Exchange) -> bool:
        """Keep a connection whose answer was read to its end; False when there is no room."""
        if len(self._unused) >= self.keep:
            return False
        self._unused.append(exchange)
        return True

    def forget(self, exchange: Exchange) -> None:
        """An unused connection was closed by the server."""
        if exchange in self._unused:
            self._unused.remove(exchange)

    def _take(self) -> Exchange | None:
        now = asyncio.get_running_loop().time()
        while self._unused:
            exchange = self._unused.pop()
            if exchange.usable(now):
                return exchange
            exchange.drop()
        return None

    async def _connect(self) -> Exchange:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_s):
                _, exchange = await loop.create_connection(lambda: Exchange(self), self._host, self._port)
        except TimeoutError:
            raise ConnectionLost(f"{self.what} took no connection within {self.connect_s:g} s") from None
        except OSError as problem:
            raise ConnectionLost(f"{self.what} cannot be reached: {_reason(problem)}") from problem
        return exchange


class Exchange(asyncio.Protocol):
    """One request and its answer on a connection. `read` until it gives b"", and `leave` in any case."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._watch: asyncio.TimerHandle | None = None
        self._problem: EngineFailed | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._size = self._head = 0
        self._headed = self._done = self._paused = self._reusable = False
        self._waiter: asyncio.Future[None] | None = None
        self._since = self._loop.time()

    async def send(self, request: bytes) -> None:
        """Write a request and wait for the head of its answer."""
        self._begin()
        if self._problem is not None:
            raise self._problem
        self._watch = self._loop.call_later(self._http.idle_s, self._look)
        self._transport.write(request)
        while not self._headed:
            await self._more()

    async def read(self) -> bytes:
        """What has come, at least one byte; b"" at the end of the answer. Raises ConnectionLost, Silent."""
        while not self._parts:
            if self._done:
                return b""
            await self._more()
        parts, self._parts, self._size = self._parts, [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def whole(self, most: int = MAX_BODY) -> bytes:
        """The body to its end. Raises EngineFailed when it is larger than `most` bytes."""
        body = bytearray()
        while piece := await self.read():
            body += piece
            if len(body) > most:
                raise EngineFailed(f"{self._http.what} answered with more than {most} bytes")
        return bytes(body)

    def close(self) -> None:
        """Give the connection back when its answer was read to the end, hang up otherwise. May be repeated."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        else:
            return
        fit = self._done and not self._parts and self._problem is None and self._reusable
        self._since = self._loop.time()
        if not fit or self._transport.is_closing() or not self._http.take_back(self):
            self.drop()

    async def leave(self) -> None:
        """`close`, for callers that know the other client as well."""
        self.close()

    def drop(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def usable(self, now: float) -> bool:
        """True while the server has not closed this unused connection, nor is about to."""
        return self._problem is None and not self._transport.is_closing() and now - self._since < IDLE_S

    async def _more(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._since = self._loop.time()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._problem is not None and not self._parts and not self._done:
            raise self._problem

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, problem: EngineFailed) -> None:
        if self._problem is None:
            self._problem = problem
        self._wake()

    def _look(self) -> None:
        """Silence counts while somebody waits; a reader that is slow itself is nobody's fault.

        Before its answer begins a request may stand in the server's line: the server is well while others hear it."""
        left = self._http.idle_s
        if self._waiter is not None:
            since = self._since if self._headed else max(self._since, self._http.heard)
            left -= self._loop.time() - since
            if left <= 0:
                self._fail(
                    Silent(f"{self._http.what} was silent for {self._http.idle_s:g} s and counts as hung")
                )
                self.drop()
                return
        self._watch = self._loop.call_later(max(left, 0.01), self._look)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._watch is None:  # nobody asked: a server that says something now means to close
            self._http.forget(self)
            self.drop()
            return
        self._http.heard = self._loop.time()
        if not self._headed:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
            if not self._headed and self._head > MAX_HEAD:
                raise httptools.HttpParserError("too long a head")
        except httptools.HttpParserError as problem:
            self._fail(EngineFailed(f"{self._http.what} does not speak HTTP: {problem}"))
            self.drop()
            return
        self._wake()

    def eof_received(self) -> None:
        framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")
        if self._headed and not framed:
            self._done = True  # such a body ends with its connection
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.forget(self)
        if not self._done:
            self._fail(ConnectionLost(f"the connection to {self._http.what} was lost"))

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # what comes before is no answer yet
            self.status, self._headed = status, True
        else:
            self.headers.clear()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)
        if self._size > AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._headed:
            self._done = True
            self._reusable = self._parser.should_keep_alive()


def _reason(problem: OSError) -> str:
    """What went wrong, without the address that asyncio puts into its texts."""
    if isinstance(problem, socket.gaierror):
        return "its host is not known"
    return os.strerror(problem.errno) if problem.errno else "no connection could be made"
