"""One request and its answer: what came, what is known of it, and what goes out. Both roads use it: the hot routes
directly, the console through ASGI (`web.asgi`)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from qianfan.contract.errors import CONSOLE_PARAMETER, ErrorRow, Fault
from qianfan_platform.web.bodies import DEFAULT_LIMIT, TooLarge, must_fit
from qianfan_platform.web.envelopes import spelt

if TYPE_CHECKING:
    from qianfan_platform.web.faults import Faulty
    from qianfan_platform.web.hot import HotRoute
    from qianfan_platform.web.protocol import Connection

Headers = Iterable[tuple[bytes, bytes]]
AHEAD: Final = 64 * 1024  # bytes of a body that are kept before somebody reads it
EXCHANGE: Final = "qianfan.exchange"  # in the scope of the console
TOTAL_S: Final = 3600.0  # seconds of one answer, unless the server was told otherwise
BODILESS: Final = frozenset({204, 304})
_STATUS: Final = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_CLOSE: Final = re.compile(rb"(?:^|,)\s*close\s*(?:,|$)", re.IGNORECASE)


class Left(Exception):
    """The client went away, or was cut off, before its answer was whole."""


class Exchange:
    """One request and its answer.

    What came: `method`, `path` (decoded), `raw_path`, `query` (raw), `headers` (names in small letters), `fields` (the
    same by name, the last of each), `param` (of a hot route), `address` and `scheme` (of the client, which a proxy on
    this machine may name). What is known, for the log and the figures: `request_id`, `route`, `owner`, `app`, and
    `status` once the answer has begun. `total_s`: the longest answer.

    `with exchange:` — the block is cancelled, and raises Left, when the client leaves or the answer takes too long."""

    # Most requests never change these.
    param = route = app = ""
    owner: int | None = None
    request_id = ""
    total_s = TOTAL_S
    status = 0
    begun = over = False  # somebody works on it; the answer is whole
    hot: HotRoute | None = None  # None: it is for the console
    wish: Faulty | None = None  # faults that the client asks for
    faulty: Faulty | None = None  # and gets
    opening: Headers = ()  # headers of an answer of status 200 that begins with its first piece
    task: asyncio.Task[Any] | None = None  # that answers, when it had to wait
    expects = False  # the client sends its body only when it is told to
    whole = False  # all of the body came
    lines = b""  # more headers of the answer
    _size = 0  # bytes of the body that came and were not read
    _waiter: asyncio.Future[None] | None = None
    _watched = _left = False
    _head: bytes | None = None
    _chunked = False
    _promised = 0  # bytes of the answer that are still to come, when it is not chunked

    def __init__(
        self,
        line: Connection,
        method: str,
        raw_path: bytes,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        fields: dict[bytes, bytes],
        keep_alive: bool,
    ) -> None:
        self.line, self.method, self.raw_path, self.path = line, method, raw_path, path
        self.query, self.headers, self.fields, self.keep_alive = query, headers, fields, keep_alive
        self.address, self.scheme = line.address, line.scheme
        self.started = time.monotonic()
        self._body: list[bytes] = []

    # ── what came ────────────────────────────────────────────────────────────────────────────────

    def feed(self, piece: bytes) -> None:
        """A piece of the body came."""
        self._body.append(piece)
        self._size += len(piece)
        if self._size > AHEAD:
            self.line.pause_reading()
        if self._waiter is not None:
            self._wake()

    def complete(self) -> None:
        """The body is whole."""
        self.whole = True
        if self._waiter is not None:
            self._wake()

    async def read(self, limit: int = DEFAULT_LIMIT, row: ErrorRow = CONSOLE_PARAMETER) -> bytes:
        """The whole body, at most `limit` bytes. Raises Fault(row), TooLarge before a byte of it is asked for."""
        must_fit(self.fields, limit, row)
        if self.whole and len(self._body) == 1 and self._size <= limit and not self.line.lost:
            return self.take()[0]  # as most requests are
        chunks: list[bytes] = []
        size = 0
        while not self.whole or self._body:
            if not self._body:
                await self.more()
            if self.line.lost:
                raise Fault(row, "the body ended before it was whole", "send it again")
            size += self._size
            if size > limit:
                raise TooLarge(row, limit)
            chunks += self.take()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def take(self) -> list[bytes]:
        """What came of the body since the last time."""
        taken, self._body, self._size = self._body, [], 0
        return taken

    async def more(self) -> None:
        """Wait until something happens: a piece of the body, its end, the end of the answer or of the client."""
        line = self.line
        if self.over or line.lost:
            return
        if not self.whole:
            if self.expects:
                self.expects = False
                line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            line.resume_reading()
        self._waiter = line.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ── a client that leaves ─────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Exchange:
        if self.line.lost:
            raise Left
        self._watched = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watched = False
        if not self._left:
            return
        assert self.task is not None
        if kind is None or issubclass(kind, asyncio.CancelledError):
            # Cancelled by us, perhaps after the last await: the wish must not hit what comes next.
            if self.task.uncancel() == 0:
                raise Left from None
        else:
            self.task.uncancel()

    def leave(self) -> None:
        """The client is gone: cancel the work for it."""
        self._wake()
        if self._watched and not self._left and self.task is not None:
            self._left = True
            self.task.cancel()

    def too_long(self, now: float) -> bool:
        """Whether the answer takes too long. now: monotonic seconds."""
        return self._watched and now - self.started > self.total_s

    # ── what goes out ────────────────────────────────────────────────────────────────────────────

    def add(self, headers: Mapping[str, str]) -> None:
        """Put more headers into the answer, spelt exactly so. Must come before the answer begins."""
        for name, value in headers.items():
            self.lines += _line(name, value)

    def start(self, status: int, headers: Headers) -> None:
        """Begin the answer. Its head is kept back until the first piece of the body, and leaves with it."""
        lines = [_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status, self.line.date()]
        self._chunked = chunked = self.method != "HEAD" and status not in BODILESS
        said = False
        for name, value in headers:
            begin, framing = _begin(name)
            if _BAD_VALUE.search(value):
                raise RuntimeError("a header of the answer has a value that HTTP does not allow")
            if framing == b"content-length":
                self._promised, self._chunked, chunked = int(value), False, False
            elif framing == b"transfer-encoding":
                chunked = False  # it says so itself
            elif framing and _CLOSE.search(value):
                self.keep_alive, said = False, True
            lines += (begin, value, b"\r\n")
        if chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines += (b"x-baidu-request-id: ", self.request_id.encode(), b"\r\n", self.lines)
        if not (self.keep_alive or said):
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.status, self.expects, self._head = status, False, b"".join(lines)

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer."""
        length = (b"content-length", b"%d" % len(body))
        self.start(status, [*(pair for pair in headers if pair[0] != b"content-length"), length])
        await self.send(body, more=False)

    async def send(self, body: bytes, more: bool = True) -> None:
        """Send a piece of the body, the last unless `more`; with the faults that were asked for."""
        if self.line.write_paused:
            await self.line.drained()
        if self.faulty is None:
            self.write(body, more)
        else:
            await self.faulty.send(self, body, more)

    def put(self, body: bytes) -> Awaitable[None] | None:
        """Send a piece of the body that is not the last: at once, or by awaiting what is returned."""
        if self.faulty is not None or self.line.write_paused:
            return self.send(body)
        self.write(body, True)
        return None

    def write(self, body: bytes, more: bool) -> None:
        """Write a piece of the body. Raises RuntimeError when it is not as long as was promised."""
        if self.line.lost:
            return
        if not self.status:
            self.start(200, self.opening)
        if self.method == "HEAD":
            self._promised, body = 0, b""
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        elif len(body) > self._promised:
            raise RuntimeError("the body of the answer is longer than its Content-Length")
        else:
            self._promised -= len(body)
        if self._head is not None:
            body, self._head = self._head + body, None
        if body:
            self.line.transport.write(body)
        if not more:
            if self._promised:
                raise RuntimeError("the body of the answer is shorter than its Content-Length")
            self.end()

    def reply(self, body: bytes) -> None:
        """The whole answer, at once: JSON with status 200."""
        self.status = 200
        head = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\ncontent-type: application/json\r\nx-baidu-request-id: %b\r\n%b%b\r\n"
        close = b"" if self.keep_alive else b"connection: close\r\n"
        raw = head % (self.line.date(), len(body), self.request_id.encode(), self.lines, close)
        if not self.line.lost:
            self.line.transport.write(raw if self.method == "HEAD" else raw + body)
            self.end()

    def flush(self) -> None:
        """Send the head, when it is still kept back: no body will come."""
        if self._head is not None:
            self.line.transport.write(self._head)
            self._head = None

    def end(self) -> None:
        """The answer is whole."""
        self.over = True
        self._wake()
        self.line.answered(self)


@lru_cache(maxsize=512, typed=True)  # typed: a name that keeps its capitals equals one that does not
def _begin(name: bytes) -> tuple[bytes, bytes]:
    """How a header's line begins, and its name in small letters when it says where the answer ends."""
    if not _NAME.fullmatch(name):
        raise RuntimeError(f"{name!r} cannot be the name of a header")
    small = name.lower()
    return small + b": ", small if small in _FRAMING else b""


@lru_cache(maxsize=1024)
def _line(name: str, value: str) -> bytes:
    ((name_, value_),) = spelt({name: value})
    if _BAD_VALUE.search(value_):
        raise RuntimeError("a header of the answer has a value that HTTP does not allow")
    return _begin(name_)[0] + value_ + b"\r\n"
