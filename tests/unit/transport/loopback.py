"""A real HTTP server on a loopback port that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Seen:
    """One request as it arrived. Header names in lower case; `at`: monotonic seconds."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What to answer. body: an object (JSON), bytes, or a list of pieces, each sent after `pace_s`.

    wait_s: before the status line. drop: hang up without an answer. cut: end the pieces without the last one
    that HTTP wants. close: hang up after the answer, without having said so."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    pace_s: float = 0.0
    drop: bool = False
    cut: bool = False
    close: bool = False


def stream(*events: Any, pace_s: float = 0.0, cut: bool = False) -> Answer:
    """An event stream of these objects; a text is sent as it is."""
    pieces = [
        f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events
    ]
    return Answer(pieces, headers={"Content-Type": "text/event-stream"}, pace_s=pace_s, cut=cut)


class Loopback:
    """`answers` are given one after the other, then `always`. Token requests are answered by themselves."""

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.tokens: list[Seen] = []
        self.answers: deque[Answer | Callable[[Seen], Answer]] = deque()
        self.always: Answer | Callable[[Seen], Answer] = Answer({"result": "ok", "id": "as-1"})
        self.token_answer: Callable[[int], Answer] = lambda n: Answer(
            {"access_token": f"token-{n}", "expires_in": 2592000}
        )
        self.connections = 0
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if certificate:
            self._server.socket = certificate.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for client in list(self._clients):  # else each would stay open as long as its client keeps it
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def next_answer(self, seen: Seen) -> Answer:
        with self._lock:
            if seen.path == "/oauth/2.0/token":
                self.tokens.append(seen)
                return self.token_answer(len(self.tokens))
            self.seen.append(seen)
            answer = self.answers.popleft() if self.answers else self.always
        return answer(seen) if callable(answer) else answer


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024  # hundreds of callers come at once in some tests


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with loopback._lock:
                loopback.connections += 1
                loopback._clients.add(self.connection)

        def finish(self) -> None:
            with loopback._lock:
                loopback._clients.discard(self.connection)
            super().finish()

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, ssl.SSLError):
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = loopback.next_answer(Seen(self.command, self.path, headers, body, time.monotonic()))
            time.sleep(answer.wait_s)
            if answer.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status)
            if isinstance(answer.body, list):
                self._send_pieces(answer)
            else:
                self._send_whole(answer)
            if answer.close:
                self.close_connection = True

        do_GET = do_POST

        def do_CONNECT(self) -> None:
            """What a proxy does for HTTPS: it carries bytes, and sees none of them."""
            headers = {name.lower(): value for name, value in self.headers.items()}
            loopback.seen.append(Seen(self.command, self.path, headers, b"", time.monotonic()))
            host, _, port = self.path.partition(":")
            with socket.create_connection((host, int(port))) as far:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=_carry, args=(far, self.connection))
                back.start()
                _carry(self.connection, far)
                back.join()
            self.close_connection = True

        def _send_whole(self, answer: Answer) -> None:
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _send_pieces(self, answer: Answer) -> None:
            for name, value in {"Transfer-Encoding": "chunked", **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for number, piece in enumerate(answer.body):
                if number:
                    time.sleep(answer.pace_s)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if answer.cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

    return Handler
