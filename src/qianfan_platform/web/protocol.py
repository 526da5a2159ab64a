"""The server's side of a connection: uvicorn's, with limits that hostile clients cannot pass.

What is refused: heads beyond MAX_HEAD bytes or MAX_HEADERS lines (431, 414), a repeated Host, Authorization or
Content-Length (400), heads and bodies that come too slowly (408), more than `most` connections (the one that idled
longest makes room), readers that take nothing for STALL_S (cut; until then at most 64 KiB wait for them here). llhttp refuses bad chunk sizes and Content-Length beside Transfer-Encoding. HTTP/2 is not
spoken. A connection that was refused is closed.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qianfan_platform.web.cycle import Cycle
from qianfan_platform.web.watch import LINE, Watch

log = logging.getLogger("qianfan_platform.web")

MAX_HEAD: Final = 64 * 1024  # bytes of request line and headers
MAX_URL: Final = 16 * 1024
MAX_HEADERS: Final = 128
HEAD_S: Final = 10.0  # for a whole head, from its first byte; also for a connection that says nothing
BODY_IDLE_S: Final = 30.0  # between two pieces of a body
BODY_SLOWEST: Final = 512  # bytes a second, after BODY_IDLE_S
STALL_S: Final = 30.0  # a reader that takes nothing for so long is cut off
CLOSING_S: Final = 10.0  # for the last bytes of a connection that is being closed
MOST: Final = 10_000  # connections
SWEEP_S: Final = 1.0
_ONCE: Final = frozenset({b"host", b"authorization", b"content-length"})


class Keeper:
    """Looks after all connections of one server. most: connections; the others: seconds."""

    def __init__(
        self,
        *,
        most: int = MOST,
        head_s: float = HEAD_S,
        body_idle_s: float = BODY_IDLE_S,
        stall_s: float = STALL_S,
    ) -> None:
        self.most, self.head_s, self.body_idle_s, self.stall_s = most, head_s, body_idle_s, stall_s
        self.connections: dict[Connection, None] = {}  # in order of arrival
        self._timer: asyncio.TimerHandle | None = None
        self._told = 0.0

    def connection(self, **given: Any) -> Connection:
        """A protocol for one connection; for `uvicorn.Config(http=keeper.connection)`."""
        return Connection(self, **given)

    def add(self, connection: Connection) -> None:
        """A client connected."""
        self.connections[connection] = None
        if len(self.connections) > self.most:
            self.make_room(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep)

    def make_room(self, newest: Connection) -> None:
        """Close the idle connection that came first; the newest when none is idle."""
        loop = newest.loop
        if loop.time() - self._told > 60:
            self._told = loop.time()
            log.warning("%d connections are open, which is the most; idle ones are closed", self.most)
        idle = next((one for one in self.connections if one.idle() and one is not newest), newest)
        self.connections.pop(idle, None)
        idle.cut()

    def _sweep(self) -> None:
        self._timer = None
        connections = list(self.connections)
        if not connections:
            return
        loop = connections[0].loop
        now = loop.time()
        for connection in connections:
            connection.look(now)
        self._timer = loop.call_later(SWEEP_S, self._sweep)


class Connection(HttpToolsProtocol):
    """One connection. `phase`: idle (between requests) → head → body → answer."""

    def __init__(self, keeper: Keeper, **given: Any) -> None:
        super().__init__(**given)
        self._keeper = keeper
        self._phase = "idle"
        self._since = self._heard = self.loop.time()
        self._head_bytes = self._body_bytes = 0
        self._silent = True  # nothing was ever said
        self._stuck = self._ending = 0.0  # since when; 0: not
        self._once: set[bytes] = set()
        self.task: asyncio.Task[None] | None = None  # that answers now
        self.watch: Watch | None = None  # whom to tell when the reader leaves
        self.lost = False
        self._answering: Cycle | None = None  # `cycle` is the newest, which may have to wait in line

    # ── called by the transport ──────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._keeper.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeper.connections.pop(self, None)
        super().connection_lost(exc)
        self._leave()

    def data_received(self, data: bytes) -> None:
        if self._phase == "body":
            self._body_bytes += len(data)
            self._heard = self.loop.time()
        else:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD and self._phase == "head":
            self._refuse(431, "the head of the request is too large")

    def pause_writing(self) -> None:
        self._stuck = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = 0.0
        super().resume_writing()

    # ── called by the parser ─────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._silent = False
        self._phase, self._since = "head", self.loop.time()
        self._once.clear()
        self.scope[LINE] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_URL:
            self._refuse(414, "the address of the request is too long")
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _ONCE:
            if name in self._once:
                self._refuse(400, f"the request has two {name.decode()} headers")
                raise _Refused
            self._once.add(name)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, f"the request has more than {MAX_HEADERS} headers")
            raise _Refused

    def on_headers_complete(self) -> None:
        self._phase, self._since = "body", self.loop.time()
        self._heard, self._body_bytes = self._since, 0
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        self._fill_scope()
        busy = self.cycle is not None and not self.cycle.response_complete
        self.cycle = cycle = Cycle(
            self.scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            self.on_response_complete,
        )
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)

    def _fill_scope(self) -> None:
        scope, url = self.scope, self.url
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = self.parser.get_http_version()
        if url.startswith(b"/") and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"], scope["query_string"] = raw_path, query

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        self.task = task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_message_complete(self) -> None:
        self._phase, self._head_bytes = "answer", 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for the timer of an idle connection: the sweep looks after those."""
        self.server_state.total_requests += 1
        if self._phase == "answer":
            self._phase, self._since = "idle", self.loop.time()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._phase = "answer"
            self._start_asgi_task(*self.pipeline.pop())

    # ── limits ───────────────────────────────────────────────────────────────────────────────────

    def idle(self) -> bool:
        """Whether no request is being answered, nor its body sent."""
        return self._phase in ("idle", "head") and (self.cycle is None or self.cycle.response_complete)

    def look(self, now: float) -> None:
        """Close the connection when it is too slow."""
        keeper = self._keeper
        if self.watch is not None:
            self.watch.look(now)
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
        elif self._phase == "idle" and now - self._since > self.timeout_keep_alive:
            self.transport.close()
        elif self._phase == "body" and self._too_slow(now):
            self._refuse(408, "the body of the request did not come in time")

    def _too_slow(self, now: float) -> bool:
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            return False  # it is we who do not read
        most = self._keeper.body_idle_s
        taken_s = now - self._since
        return now - self._heard > most or (taken_s > most and self._body_bytes < BODY_SLOWEST * taken_s)

    def cut(self, *, graceful: bool = False) -> None:
        """End the connection without an end of its answer. graceful: what was written still goes out."""
        if graceful and self._answering is not None:
            self._answering.flush()
        for cycle in (self.cycle, self._answering):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        if graceful:
            self.transport.close()
        else:
            self.transport.abort()

    def _leave(self) -> None:
        self.lost = True
        if self.watch is not None:
            self.watch.leave()

    def send_400_response(self, msg: str) -> None:
        """Called when the parser cannot go on; what was refused has its answer already."""
        if not self.transport.is_closing():
            self._refuse(400, "the request is not HTTP/1.1")

    def _refuse(self, status: int, why: str) -> None:
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and self.cycle.response_started
        if not answering or self._phase == "head":  # else there is no place for this answer
            body = b'{"error_code":100,"error_msg":"' + why.encode() + b'"}'
            phrase = HTTPStatus(status).phrase
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        log.info("a request of %s was refused: %s", self.client[0] if self.client else "?", why)
        self.cut(graceful=True)


class _Refused(Exception):
    """Stops the parser; the answer is written."""
