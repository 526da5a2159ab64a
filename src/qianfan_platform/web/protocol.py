"""The server's side of a connection, with limits that hostile clients cannot pass.

What is refused: heads beyond MAX_HEAD bytes or MAX_HEADERS lines (431, 414), a repeated Host, Authorization or
Content-Length (400), heads and bodies that come too slowly (408), readers that take nothing for long (cut; until then
at most 64 KiB wait for them here). llhttp refuses bad chunk sizes and Content-Length beside Transfer-Encoding. HTTP/2
and WebSocket are not spoken. A connection that was refused is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.server import ServerState

from qianfan_platform.web.at_once import begin
from qianfan_platform.web.exchange import AHEAD, Exchange

if TYPE_CHECKING:
    from qianfan_platform.web.keeper import Keeper

log = logging.getLogger("qianfan_platform.web")

MAX_HEAD: Final = 64 * 1024  # bytes of request line and headers
MAX_URL: Final = 16 * 1024
MAX_HEADERS: Final = 128
BODY_SLOWEST: Final = 512  # bytes a second, after `body_idle_s`
CLOSING_S: Final = 10.0  # for the last bytes of a connection that is being closed
_ONCE: Final = (b"host", b"authorization", b"content-length")


class Connection(asyncio.Protocol):
    """One connection. `phase`: idle (between requests) → head → body → answer.

    Requests that a client sends ahead wait in line. A hot request begins to be answered when it is whole, or when its
    body is so long, or of such a kind, that somebody must ask for it; a request of the console when its head is there."""

    transport: asyncio.Transport
    _url = b""
    _stuck = _ending = 0.0  # since when; 0: not
    _head_bytes = _body_bytes = 0
    _silent = True  # nothing was ever said
    lost = False  # the client is gone
    read_paused = write_paused = False
    _newest: Exchange | None = None  # whose body comes now, or came last
    _now: Exchange | None = None  # that is being answered, or will be when its body is there
    _writable: asyncio.Future[None] | None = None

    def __init__(
        self,
        keeper: Keeper,
        config: Any,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._keeper, self._front, self._state = keeper, keeper.front, server_state
        self.loop = _loop or asyncio.get_event_loop()
        self._idle_s = config.timeout_keep_alive
        self._headers: list[tuple[bytes, bytes]] = []
        self._waiting: deque[Exchange] = deque()
        self._phase = "idle"
        self._since = self._heard = self.loop.time()
        self.parser: Any = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    # ── called by the transport and the server ───────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._state.connections.add(self)  # type: ignore[arg-type]
        self.server = _address(transport.get_extra_info("sockname"))
        self.client = _address(transport.get_extra_info("peername"))
        self.address = self.client[0] if self.client else ""
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._keeper.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeper.connections.pop(self, None)
        self._state.connections.discard(self)
        self._forget_the_client()
        self._waiting.clear()
        self.parser = None  # it knows us: else both would wait for the garbage collector

    def data_received(self, data: bytes) -> None:
        if self._phase == "body":
            self._body_bytes += len(data)
            self._heard = self.loop.time()
        else:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # we stay with HTTP/1.1
        except httptools.HttpParserError:
            if not self.transport.is_closing():  # what was refused has its answer already
                self._refuse(400, "the request is not HTTP/1.1")
            return
        if self._head_bytes > MAX_HEAD and self._phase == "head":
            self._refuse(431, "the head of the request is too large")

    def pause_writing(self) -> None:
        self._stuck = self.loop.time()
        self.write_paused = True

    def resume_writing(self) -> None:
        self._stuck = 0.0
        self.write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def shutdown(self) -> None:
        """The server ends: close when nothing is being answered, else after the answer."""
        if self._now is None:
            self.transport.close()
        else:
            self._now.keep_alive = False

    # ── called by the parser ─────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []
        self._silent = False
        self._phase, self._since = "head", self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL:
            self._refuse(414, "the address of the request is too long")
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        headers.append((name.lower(), value))
        if len(headers) > MAX_HEADERS:
            self._refuse(431, f"the request has more than {MAX_HEADERS} headers")
            raise _Refused

    def on_headers_complete(self) -> None:
        self._phase, self._since = "body", self.loop.time()
        self._heard, self._body_bytes = self._since, 0
        headers, parser = self._headers, self.parser
        self._headers = []  # what comes after a chunked body is no part of the head
        fields = dict(headers)
        if len(fields) != len(headers):
            self._check(headers)
        url = self._url
        if url.startswith(b"/") and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        keep = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        exchange = Exchange(
            self, parser.get_method().decode("ascii"), raw_path, path, query, headers, fields, keep
        )
        if b"expect" in fields and fields[b"expect"].lower() == b"100-continue":
            exchange.expects = True
        self._front.place(exchange)
        self._newest = exchange
        if self._now is not None:
            self.pause_reading()
            self._waiting.append(exchange)
            return
        self._now = exchange
        if exchange.hot is None or _must_be_asked_for(exchange):
            self._begin(exchange)

    def _check(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Some name came twice."""
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                self._refuse(400, f"the request has two {name.decode()} headers")
                raise _Refused

    def on_body(self, body: bytes) -> None:
        exchange = self._newest
        assert exchange is not None
        if exchange.over:
            return
        exchange.feed(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        exchange = self._newest
        assert exchange is not None
        if exchange.over:
            self._phase, self._since = "idle", self.loop.time()
            return
        self._phase = "answer"
        exchange.complete()
        if exchange is self._now and not exchange.begun:
            self._begin(exchange)

    # ── answering ────────────────────────────────────────────────────────────────────────────────

    def _begin(self, exchange: Exchange) -> None:
        self._state.total_requests += 1
        exchange.begun = True
        if (
            exchange.hot is None or not exchange.whole
        ):  # what came of the body with the head is looked at first
            task: asyncio.Task[None] | None = self.loop.create_task(self._front.answer(exchange))
        else:
            task = begin(self.loop, self._front.answer(exchange))
        if task is not None:
            exchange.task = task
            tasks = self._state.tasks
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def answered(self, exchange: Exchange) -> None:
        """The answer of `exchange` is whole."""
        self._now = None
        if self._phase == "answer" and exchange is self._newest:
            self._phase, self._since = "idle", self.loop.time()
        if not exchange.keep_alive:
            self.transport.close()
        elif not self.transport.is_closing():
            self.resume_reading()
            if self._waiting:
                self._now = self._waiting.popleft()
                self.loop.call_soon(self._next)

    def _next(self) -> None:
        """Begin what waited in line. Not at once: a long line would be a deep pile."""
        exchange = self._now
        if exchange is None or exchange.begun or self.lost:
            return
        if exchange.whole or exchange.hot is None or _must_be_asked_for(exchange):
            self._begin(exchange)

    def date(self) -> bytes:
        """The line of the header `date`."""
        return self._keeper.date(self._state.default_headers)

    # ── flow ─────────────────────────────────────────────────────────────────────────────────────

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    async def drained(self) -> None:
        """Wait until the reader took what waits for it, or is gone."""
        while self.write_paused and not self.lost:
            if self._writable is None or self._writable.done():
                self._writable = self.loop.create_future()
            await asyncio.shield(self._writable)

    # ── limits ───────────────────────────────────────────────────────────────────────────────────

    def idle(self) -> bool:
        """Whether no request is being answered, nor its body sent."""
        return self._phase in ("idle", "head") and self._now is None

    def look(self, now: float) -> None:
        """Close the connection when it is too slow. now: the loop's time."""
        keeper = self._keeper
        if self._now is not None and self._now.too_long(now):
            log.warning("request %s was cut after %g s", self._now.request_id, self._now.total_s)
            self.cut()
        if self.transport.is_closing():
            self._ending = self._ending or now
            if now - self._ending > CLOSING_S:
                self.transport.abort()
        elif self._stuck and now - self._stuck > keeper.stall_s:
            log.warning("an answer was cut: its reader took nothing for %g s", keeper.stall_s)
            self.cut()
        elif self._phase == "head" or (self._phase == "idle" and self._silent):
            if now - self._since > keeper.head_s:
                self._refuse(408, "the head of the request did not come in time")
        elif self._phase == "idle" and now - self._since > self._idle_s:
            self.transport.close()
        elif self._phase == "body" and self._too_slow(now):
            self._refuse(408, "the body of the request did not come in time")

    def _too_slow(self, now: float) -> bool:
        if self.read_paused or (self._newest is not None and self._newest.expects):
            return False  # it is we who do not read
        most = self._keeper.body_idle_s
        taken_s = now - self._since
        return now - self._heard > most or (taken_s > most and self._body_bytes < BODY_SLOWEST * taken_s)

    def cut(self, *, graceful: bool = False) -> None:
        """End the connection without an end of its answer. graceful: what was written still goes out."""
        if graceful and self._now is not None:
            self._now.flush()
        self._forget_the_client()
        if graceful:
            self.transport.close()
        else:
            self.transport.abort()

    def _forget_the_client(self) -> None:
        self.lost = True
        if self.write_paused:
            self.resume_writing()
        if self._now is not None:
            self._now.leave()

    def _refuse(self, status: int, why: str) -> None:
        if self.transport.is_closing():
            return
        answering = self._now is not None and self._now.status
        if not answering or self._phase == "head":  # else there is no place for this answer
            body = b'{"error_code":100,"error_msg":"' + why.encode() + b'"}'
            phrase = HTTPStatus(status).phrase
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        log.info("a request of %s was refused: %s", self.client[0] if self.client else "?", why)
        self.cut(graceful=True)


def _must_be_asked_for(exchange: Exchange) -> bool:
    """Whether the body does not simply come: it is long, of unknown length, or waits for a word from us."""
    length = exchange.fields.get(b"content-length", b"0")
    return exchange.expects or b"transfer-encoding" in exchange.fields or int(length[:20]) > AHEAD


def _address(found: Any) -> tuple[str, int] | None:
    """Host and port of one end of the connection."""
    return (str(found[0]), int(found[1])) if isinstance(found, list | tuple) else None


class _Refused(Exception):
    """Stops the parser; the answer is written."""
