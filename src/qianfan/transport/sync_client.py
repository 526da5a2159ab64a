"""The synchronous HTTP client: plain blocking sockets, so that Ctrl-C comes through and hanging up is immediate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from qianfan.errors import InvalidArgumentError, QianfanError

from .call import Reply, Request, announces_stream, pieces_of
from .client import STALE_S, USER_AGENT, Options
from .connection import Connection, HungUp
from .failures import crowded, late, lost, unsendable
from .http1 import Body, BrokenAnswer, Head, head_of, is_name
from .pool import Key, Pool
from .proxies import PORTS, Proxy, basic, proxy_at, proxy_for
from .tls import certificates, trust

if TYPE_CHECKING:
    import ssl

_BROKEN: Final = (HungUp, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
_BROKEN_TLS: Final = ("SSLEOFError", "SSLZeroReturnError")  # by name: `ssl` is not loaded for plain calls
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_OURS: Final = frozenset({"content-length", "transfer-encoding"})
WAYS: Final = 256  # servers whose addresses are kept in parts
SMALL: Final = 64 * 1024  # bytes of a body that is sent together with its head
_PRINTED: Final = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How one server is reached. prefix: of targets, where a proxy reads them. headers: those that all get."""

    host: str
    port: int
    proxy: Proxy | None
    key: Key
    prefix: str
    headers: dict[str, str]


class SyncClient:
    """Sends requests in the caller's thread, over the connections of `pool`."""

    def __init__(self, options: Options, pool: Pool) -> None:
        self._options = options
        self._pool = pool
        self._ways: dict[str, Way] = {}
        self._trust: ssl.SSLContext | None = None
        if options.ca_file:
            certificates(options.ca_file)  # what is wrong with it is said at the first call, TLS or not
        if options.proxy:
            proxy_at(options.proxy, "QIANFAN_PROXY")

    def send(self, request: Request) -> Reply:
        """Send, and wait for the answer, or for the start of a stream."""
        started, pool = time.monotonic(), self._pool
        try:
            way = self._ways.get(request.base) or self._way(request.base)
            size = _size(request.body)
            head = _head(request, way, size)
        except ValueError as error:  # an address that is none
            raise unsendable(request, str(error)) from None
        try:
            connection = pool.take(way.key, started + request.timeout_s)
        except TimeoutError:
            raise crowded(request, pool.most, time.monotonic() - started) from None
        try:
            return self._sent(connection, way, head, size, request, started)
        except BaseException as error:
            was_used = connection.was_used
            connection.close()
            waited_s = time.monotonic() - started
            stale = was_used and _is_broken(error) and waited_s < STALE_S
            if stale:
                pool.forget(way.key)
            failure = _translated(error, request, waited_s, stale=stale)
            if failure is None:
                raise
            raise failure from None

    def _sent(
        self, connection: Connection, way: Way, head: bytes, size: int, request: Request, started: float
    ) -> Reply:
        options = self._options
        ends_at = None if request.stream else started + request.timeout_s
        if not connection.is_quiet():
            connection.hang_up()
            by = time.monotonic() + options.connect_s
            by = by if ends_at is None else min(by, ends_at)
            connection.open(way.host, way.port, way.proxy, self._tls(way), by)
        connection.silence_s = options.idle_s or None
        connection.ends_at = (
            time.monotonic() + options.idle_s if request.stream and options.idle_s else ends_at
        )
        answer = _asked(connection, head, request.body, size)
        reply = Reply(answer.status, answer.headers, latency_s=time.monotonic() - started)
        body = answer.body()
        if request.stream:
            connection.ends_at = None
            if announces_stream(answer.status, answer.headers):
                reply.chunks = Pieces(self._pool, connection, answer, body, request)
                return reply
        reply.body = _whole(connection, body)
        _done(self._pool, connection, answer, body)
        return reply

    def _tls(self, way: Way) -> ssl.SSLContext | None:
        if not way.key[3] and (way.proxy is None or way.proxy.scheme != "https"):
            return None
        if self._trust is None:
            self._trust = trust(self._options.verify, self._options.ca_file)
        return self._trust

    def _way(self, base: str) -> Way:
        parts = urlsplit(base)
        host = parts.hostname
        if parts.scheme not in PORTS or not host:
            raise ValueError("its address does not begin with http:// or https:// and a host")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        if not _is_plain(host):
            raise ValueError("its host has a character that no host can have")
        own = PORTS[parts.scheme]
        port = parts.port or own
        named = f"[{host}]" if ":" in host else host
        named = named if port == own else f"{named}:{port}"
        proxy = proxy_for(parts.scheme, host, port, self._options.proxy)
        is_secure = parts.scheme == "https"
        if is_secure and proxy is not None and proxy.scheme == "https":
            raise InvalidArgumentError(
                f"TLS with {named} through a proxy that is itself spoken to by TLS is not possible",
                advice="give the proxy's http:// address; what goes through it is encrypted all the same",
            )
        headers = {"Host": named, "User-Agent": USER_AGENT, "Accept": "*/*"}
        headers["Authorization"] = basic(unquote(parts.username or ""), unquote(parts.password or ""))
        prefix = ""
        if proxy is not None and not is_secure and not proxy.is_socks:
            prefix = f"http://{named}"
            headers["Proxy-Authorization"] = basic(proxy.name, proxy.password)
        if len(self._ways) >= WAYS:
            self._ways.clear()
        way = self._ways[base] = Way(host, port, proxy, (host, port, proxy, is_secure), prefix, headers)
        return way


class Pieces(Iterator[bytes]):
    """The pieces of a stream as they come. Dropping it, or `close`, hangs up; its end keeps the connection."""

    def __init__(
        self,
        pool: Pool,
        connection: Connection,
        answer: Head,
        body: Body,
        request: Request,
    ) -> None:
        self._pool, self._answer, self._body = pool, answer, body
        self._connection: Connection | None = connection
        self._request = request

    def __next__(self) -> bytes:
        while (connection := self._connection) is not None:
            try:
                piece = b"" if self._body.ended else _piece(connection, self._body)
            except BaseException as error:
                self.close()
                failure = _translated(error, self._request)
                if failure is None:
                    raise
                raise failure from None
            if self._body.ended:
                self._connection = None
                _done(self._pool, connection, self._answer, self._body)
            if piece:
                return piece
        raise StopIteration

    def close(self) -> None:
        """Hang up, unless the end was reached."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _asked(connection: Connection, head: bytes, body: bytes | Path, size: int) -> Head:
    """Send, and wait for the head of the answer. A server may refuse a large body before it has read it."""
    try:
        _send(connection, head, body, size)
    except (BrokenPipeError, ConnectionResetError) as broken:
        if connection.was_used:
            raise
        try:
            answer = connection.head()
        except (OSError, BrokenAnswer):
            raise broken from None
        answer.keeps = False
        return answer
    return connection.head()


def _send(connection: Connection, head: bytes, body: bytes | Path, size: int) -> None:
    if isinstance(body, Path):
        connection.send(head)
        for piece in pieces_of(body, size):
            connection.send(piece)
    elif size <= SMALL:
        connection.send(head + body)
    else:
        connection.send(head)
        connection.send(body)


def _piece(connection: Connection, body: Body) -> bytes:
    data, connection.left = connection.left, b""
    if not data:
        data = connection.receive()
        if not data:
            body.hang_up()
    return body.feed(data)


def _whole(connection: Connection, body: Body) -> bytes:
    parts = []
    while not body.ended:
        parts.append(_piece(connection, body))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _done(pool: Pool, connection: Connection, answer: Head, body: Body) -> None:
    """The body is whole: keep the connection, if nothing speaks against it."""
    if answer.keeps and not body.rest and not connection.left:
        connection.was_used = True
        pool.keep(connection)
    else:
        connection.close()


def _size(body: bytes | Path) -> int:
    return body.stat().st_size if isinstance(body, Path) else len(body)


def _head(request: Request, way: Way, size: int) -> bytes:
    length = size if size or request.method in _WITH_BODY else None
    target = request.url[len(request.base) :]
    if not _is_plain(target):
        target = quote(target, safe=_PRINTED)
    own = _own_headers(way, tuple(request.headers), request.stream)
    return head_of(request.method, f"{way.prefix}{target}", own, request.headers, length)


def _is_plain(target: str) -> bool:
    return target.isascii() and target.isprintable() and " " not in target


@lru_cache(maxsize=256)
def _own_headers(way: Way, given: tuple[str, ...], is_stream: bool) -> str:
    """The headers that are ours, where the request has none of that name."""
    names = {name.lower() for name in given}
    for name in given:
        if not is_name(name):
            raise ValueError(f"{name!r} is not the name of a header")
    if names & _OURS:
        raise ValueError(f"the header {min(names & _OURS)} is not yours to set")
    packing = "identity" if is_stream else "gzip"  # what packs a stream tends to hold pieces back
    own = {**way.headers, "Accept-Encoding": packing}
    return "".join(
        f"{name}: {value}\r\n" for name, value in own.items() if value and name.lower() not in names
    )


def _is_broken(error: BaseException) -> bool:
    return isinstance(error, _BROKEN) or type(error).__name__ in _BROKEN_TLS


def _translated(
    error: BaseException, request: Request, waited_s: float | None = None, *, stale: bool = False
) -> QianfanError | None:
    """Our error; None for what is none of the connection's, as Ctrl-C."""
    if isinstance(error, TimeoutError):
        return late(request, str(error), waited_s)
    if isinstance(error, (OSError, BrokenAnswer)):
        return lost(request, getattr(error, "strerror", None) or str(error), stale=stale)
    if isinstance(error, ValueError):  # the name of a host that cannot be one
        return unsendable(request, str(error))
    return None
