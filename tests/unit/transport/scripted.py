"""A server that sends exactly the bytes that it is told to, and notes when its client leaves."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import TypeAlias

Step: TypeAlias = bytes | float  # send this; wait so many seconds
OK: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
EVENTS: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Scripted:
    """Answers every request with the same steps, then waits for the next one; `closes` hangs up instead.

    left_at: when clients left, monotonic seconds. open, most_open: connections now, and at most at once."""

    def __init__(self, *steps: Step, closes: bool = False, family: int = socket.AF_INET) -> None:
        self.steps: Sequence[Step] = steps
        self.closes = closes
        self.requests: list[bytes] = []
        self.left_at: list[float] = []
        self.connections = self.open = self.most_open = 0
        self.asked = threading.Semaphore(0)  # released for every request
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._listening = socket.socket(family)
        self._listening.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listening.listen(1024)
        self.port = self._listening.getsockname()[1]
        self.url = f"http://{'[::1]' if family == socket.AF_INET6 else '127.0.0.1'}:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Scripted:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join()
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(5)
            assert not thread.is_alive(), "a connection does not end"

    def wait_until_left(self, count: int = 1, within_s: float = 2.0) -> float:
        """When the last of `count` clients left, monotonic; fails when that takes longer."""
        ends_at = time.monotonic() + within_s
        while len(self.left_at) < count and time.monotonic() < ends_at:
            time.sleep(0.002)
        assert len(self.left_at) >= count, "nobody left"
        return self.left_at[count - 1]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.add(client)
                self.connections += 1
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                while (request := _request(client)) is not None:
                    self.requests.append(request)
                    self.asked.release()
                    for step in self.steps:
                        if isinstance(step, bytes):
                            client.sendall(step)
                        elif _leaves(client, step):
                            return
                    if self.closes:
                        return
        except ConnectionError:
            pass
        finally:
            with self._lock:
                self.open -= 1
                self._clients.discard(client)
            self.left_at.append(time.monotonic())


def _request(client: socket.socket) -> bytes | None:
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = client.recv(65536)
        if not more:
            return None
        data += more
    found = _LENGTH.search(data, 0, end + 2)
    size = end + 4 + (int(found[1]) if found else 0)
    while len(data) < size:
        data += client.recv(65536)
    return data


def _leaves(client: socket.socket, within_s: float) -> bool:
    ready, _, _ = select.select([client], [], [], within_s)
    return bool(ready) and client.recv(65536) == b""
