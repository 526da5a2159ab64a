"""One connection: opened through a proxy or not, with TLS or not; closed for good by whoever drops it."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING, Final

from . import socks
from .http1 import MAX_HEAD, BrokenAnswer, Head, not_http, parse_head
from .proxies import Proxy, basic

if TYPE_CHECKING:
    import ssl

    from .pool import Key, Place

AT_ONCE: Final = 64 * 1024  # bytes received at once
CLOSE_ENOUGH_S: Final = 0.005  # a wait that may be so much longer is not told anew: it is a system call
LONGEST_S: Final = 1e6  # a socket cannot be told to wait longer than some weeks


class HungUp(BrokenAnswer):
    """The other side closed the connection and had not answered."""


class Connection:
    """A socket, opened by `open`. Its calls wait until `ends_at` (monotonic), or, where that is None, each of
    them for `silence_s` seconds, or, where that is None as well, as long as it takes.

    was_used: a call was answered on it, and nothing has come of another answer. left: bytes received and not
    used yet."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.place: Place | None = None
        self.kept_at = 0.0
        self.was_used = False
        self.ends_at: float | None = None
        self.silence_s: float | None = None
        self.left = b""
        self._socket: socket.socket | None = None
        self._wait_s: float | None = None  # as the socket was told
        self._pid = os.getpid()

    @property
    def is_open(self) -> bool:
        """True between `open` and `hang_up`."""
        return self._socket is not None

    def is_quiet(self) -> bool:
        """True when nothing waits to be read. Before a request that means: the server has not hung up."""
        if self._socket is None:
            return False
        return not _readable(self._socket)

    def open(
        self, host: str, port: int, proxy: Proxy | None, trust: ssl.SSLContext | None, by: float
    ) -> None:
        """Connect until `by`, monotonic. trust: for TLS with the server, or without one with the proxy.

        OSError, TimeoutError or BrokenAnswer where that fails; the connection is closed then."""
        self._pid, self.was_used, self.left, self.ends_at = os.getpid(), False, b"", by
        far = (host, port) if proxy is None else (proxy.host, proxy.port)
        try:
            self._socket, self._wait_s = _connected(*far, by), -1.0
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None and proxy.is_socks:
                socks.connect(self.send, self._exactly, proxy, host, port)
            elif proxy is not None and self.key[3]:
                self._tunnel(host, port, proxy)
            if trust is not None:
                name = host if self.key[3] else far[0]
                secure = trust.wrap_socket(self._timed(), server_hostname=name, do_handshake_on_connect=False)
                self._socket = secure  # ours to close, also when the handshake is interrupted
                secure.do_handshake()
        except BaseException:
            self.hang_up()
            raise

    def _tunnel(self, host: str, port: int, proxy: Proxy) -> None:
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        authorization = basic(proxy.name, proxy.password)
        says = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
        self.send(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n{says}\r\n".encode())
        answer = self.head()
        if not 200 <= answer.status < 300:
            raise BrokenAnswer(f"the proxy answered {answer.status} when it was asked for a tunnel")
        if self.left:
            raise BrokenAnswer("the proxy said more than it was asked")

    def send(self, data: bytes) -> None:
        """Send all of this."""
        self._timed().sendall(data)

    def receive(self) -> bytes:
        """What is there, at least one byte; empty when the other side has hung up."""
        return self._timed().recv(AT_ONCE)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._timed().recv(size - len(data))
            if not more:
                raise BrokenAnswer("the proxy closed the connection before it had connected to the server")
            data += more
        return data

    def _timed(self) -> socket.socket:
        """The socket, told how long it may wait from now on."""
        sock = self._socket
        if sock is None:
            raise ConnectionAbortedError("the connection was closed in the meantime")
        if self.ends_at is not None:
            wait_s: float | None = _seconds_until(self.ends_at)
        else:
            wait_s = None if self.silence_s is None else min(self.silence_s, LONGEST_S)
        told_s = self._wait_s
        if wait_s is None or told_s is None:
            is_told = wait_s is told_s
        else:
            is_told = wait_s <= told_s < wait_s + CLOSE_ENOUGH_S
        if not is_told:
            sock.settimeout(wait_s)
            self._wait_s = wait_s
        return sock

    def head(self) -> Head:
        """The head of the answer, once it is there; what follows it is in `left`."""
        data, seen, size = self.left, 0, 0
        while True:
            end = data.find(b"\r\n\r\n", max(seen - 3, 0))
            if end >= 0:
                head = parse_head(data[:end])
                if head.status == 101:
                    raise BrokenAnswer("the server changes to another protocol")
                self.left = data[end + 4 :]
                if head.status >= 200:
                    return head
                size += end + 4  # an interim one, as 103: the answer is still to come
                data, seen = self.left, 0
                continue
            if not b"HTTP/1.".startswith(data[:7]):
                raise not_http(data)
            seen = len(data)
            if size + seen > MAX_HEAD:
                raise BrokenAnswer(f"the head of the answer is longer than {MAX_HEAD} bytes")
            more = self.receive()
            if not more:
                if data or size:
                    raise BrokenAnswer("connection closed in the head of the answer")
                raise HungUp("connection closed before message completed")
            self.was_used = False
            data += more

    def hang_up(self) -> None:
        """Close the socket now, and keep the place for another one."""
        sock, self._socket = self._socket, None
        if sock is not None:
            try:
                if self._pid == os.getpid():  # in a forked child it is the parent's: that one goes on
                    sock.shutdown(socket.SHUT_RDWR)  # even where a child has a copy, or a thread waits in it
            except OSError:
                pass  # the other side was quicker
            finally:
                sock.close()

    def close(self) -> None:
        """Close the socket now, and give the place back."""
        self.hang_up()
        place, self.place = self.place, None
        if place is not None:
            place.leave()

    def __del__(self) -> None:
        if os is not None:
            self.close()
        elif self._socket is not None:  # at the very end of an interpreter, when modules are gone already
            self._socket.close()


def _connected(host: str, port: int, by: float) -> socket.socket:
    """A socket that is connected with one of the host's addresses; each gets its share of the time."""
    addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    failure: OSError = OSError("the host has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_seconds_until(by) / (len(addresses) - number))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def _seconds_until(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return min(left, LONGEST_S)


def _readable(sock: socket.socket) -> bool:
    if hasattr(select, "poll"):  # takes any number of sockets, where `select` ends at 1,024
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
