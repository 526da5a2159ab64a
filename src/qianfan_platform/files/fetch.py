"""The one gate for URLs that strangers give us: where they lead is checked before a byte is sent, at each hop."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import os
import re
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_BLOCK: Final = 256 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_SAFE_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
T = TypeVar("T")


@dataclass(frozen=True)
class Allow:
    """Hosts that may be fetched from though their address is private: (host, port), port None for any."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Allow:
        """From `HOST` or `HOST:PORT`; IPv6 in brackets. Raises ValueError."""
        found = set()
        for text in texts:
            try:
                parts = urlsplit(f"//{text}")
                if not parts.hostname or parts.path or parts.query or "@" in text:
                    raise ValueError
                found.add((parts.hostname, parts.port))
            except ValueError:
                raise ValueError(f"{text!r} is not HOST or HOST:PORT") from None
        return cls(frozenset(found))

    def has(self, host: str, port: int) -> bool:
        """Whether this host and port were allowed by name."""
        return (host, None) in self.hosts or (host, port) in self.hosts


async def fetch(url: str, into: Path, *, allow: Allow, limit_bytes: int, timeout_s: float) -> Path:
    """Download `url` with GET; returns where it lies.

    into: the file to write, or an existing folder (then the URL's last part names the file). timeout_s: for
    all of it, redirects and names included. Raises Fault, which names the rule; nothing is left behind."""
    download = _Download(allow, limit_bytes, time.monotonic() + timeout_s, timeout_s)
    try:
        return await asyncio.to_thread(download.run, url, into)
    finally:
        download.abort()


@dataclass(frozen=True)
class Answer:
    """What a server said. media_type: of its Content-Type, lower case, without parameters."""

    status: int
    media_type: str
    body: bytes


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    allow: Allow,
    limit_bytes: int,
    timeout_s: float,
) -> Answer:
    """Ask a server through the same gate; any status is an answer.

    Redirects are not followed: they could carry a credential to where it does not belong. Raises Fault."""
    visit = _Request(allow, limit_bytes, time.monotonic() + timeout_s, timeout_s)
    try:
        return await asyncio.to_thread(visit.run, method, url, dict(headers or {}), body)
    finally:
        visit.abort()


def _refused(parts: SplitResult | None, why: str, advice: str = "check the URL") -> Fault:
    # The query is left out: it may hold a signature.
    where = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200] if parts else "the URL"
    return Fault(CONSOLE_PARAMETER, f"{ascii(where)[1:-1]} cannot be fetched: {why}", advice)


def checked_url(url: str) -> SplitResult:
    """The parts of a URL that may be fetched as far as its text tells. Raises Fault."""
    if len(url) > 8192 or any(ord(mark) <= 0x20 or ord(mark) == 0x7F for mark in url) or "\\" in url:
        raise _refused(None, "it has spaces, control characters or backslashes, or is too long")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(None, "it is not well formed") from None
    if parts.scheme not in _PORTS:
        raise _refused(None, "only http and https are fetched")
    if "@" in parts.netloc:
        raise _refused(None, "it holds a user name or password", "leave credentials out of the URL")
    if "#" in url:
        raise _refused(parts, "it has a fragment")
    host = parts.hostname or ""
    if not (_NAME.fullmatch(_ascii(host)) or _literal(host)) or port == 0:
        raise _refused(None, "its host or port is not valid")
    return parts


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return ""


def _literal(host: str) -> Address | None:
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def forbidden(address: Address) -> str | None:
    """Why an address must not be reached, such as `loopback`; None when it is a public one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and (address in _NAT64 or int(address) >> 32 == 0):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and int(address) > 1:
            return forbidden(inner)
    for word, holds in (
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("unspecified", address.is_unspecified),
        ("multicast", address.is_multicast),
        ("private", address.is_private),
        ("reserved", address.is_reserved or not address.is_global),
    ):
        if holds:
            return word
    return None


class _Visit:
    """What is done with a server, in a thread; `abort` from outside ends it at once."""

    def __init__(self, allow: Allow, limit_bytes: int, deadline: float, timeout_s: float) -> None:
        self._allow = allow
        self._limit = limit_bytes
        self._deadline = deadline
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._aborted = threading.Event()

    def abort(self) -> None:
        """Close the connection under the reader."""
        self._aborted.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _watched(self, work: Callable[[], T], where: Callable[[], SplitResult]) -> T:
        """The result of `work`; what goes wrong is told as a Fault about the URL that `where` gives."""
        # A server may send a byte a second for ever: no timeout of a single read would notice.
        watchdog = threading.Timer(max(self._deadline - time.monotonic(), 0), self.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            return work()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(where(), error) from None
        finally:
            watchdog.cancel()

    def _failed(self, parts: SplitResult, error: Exception) -> Fault:
        if time.monotonic() >= self._deadline or isinstance(error, TimeoutError):
            return _refused(
                parts, f"it took longer than {self._timeout_s:g} s", "try again, or use a faster server"
            )
        if isinstance(error, http.client.IncompleteRead):
            return _refused(parts, "the server sent less than it announced", "try again")
        if isinstance(error, ssl.SSLCertVerificationError):
            return _refused(parts, f"its certificate does not hold ({error.verify_message})")
        if isinstance(error, socket.gaierror):
            return _refused(parts, "its host name is not known")
        return _refused(
            parts, f"the connection failed ({getattr(error, 'strerror', None) or type(error).__name__})"
        )

    @contextlib.contextmanager
    def _asked(
        self, parts: SplitResult, method: str, headers: Mapping[str, str], body: bytes
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer of one server to one request."""
        host = _ascii(parts.hostname or "")
        port = parts.port or _PORTS[parts.scheme]
        connection = _Pinned(self, parts.scheme, host, port, self._addresses(parts, host, port))
        try:
            path = parts.path or "/"
            target = f"{path}?{parts.query}" if parts.query else path
            if not target.isascii():
                raise _refused(parts, "its path is not percent-encoded")
            own = {"Accept-Encoding": "identity", "User-Agent": "open-qianfan"}
            connection.request(method, target, body=body or None, headers={**headers, **own})
            # Closed by us: once the answer ends with the connection, nobody else holds its socket.
            with contextlib.closing(connection.getresponse()) as response:
                yield response
        finally:
            connection.close()
            self._socket = None

    def _blocks(self, parts: SplitResult, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body as it comes, at most the limit, and whole."""
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise _refused(parts, "the server compressed the answer unasked")
        if response.length is not None and response.length > self._limit:
            raise self._too_large(parts)
        size = 0
        while block := response.read1(_BLOCK):
            size += len(block)
            if size > self._limit:
                raise self._too_large(parts)
            if self._aborted.is_set():
                raise TimeoutError
            yield block
        if self._aborted.is_set():  # the end may be of our own making
            raise TimeoutError
        if response.length:  # read1 does not tell a short body
            raise http.client.IncompleteRead(b"", response.length)

    def _too_large(self, parts: SplitResult) -> Fault:
        return _refused(parts, f"it is larger than {self._limit} bytes", "split it, or upload it as a file")

    def _addresses(self, parts: SplitResult, host: str, port: int) -> list[Any]:
        """What the name stands for; every address is judged, and only these are connected to."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not self._allow.has(parts.hostname or "", port):
            for entry in found:
                address = ipaddress.ip_address(str(entry[4][0]).split("%")[0])
                why = forbidden(address)
                if why is not None:
                    raise _refused(
                        parts,
                        f"its host leads to {address}, which is a {why} address",
                        f"an operator can allow it: --allow-fetch {host}:{port}",
                    )
        return found

    def connect(self, addresses: list[Any]) -> socket.socket:
        """A connection to the first of the judged addresses that answers."""
        last: OSError = OSError("no address")
        for family, kind, protocol, _, address in addresses:
            left = self._deadline - time.monotonic()
            if left <= 0 or self._aborted.is_set():
                raise TimeoutError
            plain = socket.socket(family, kind, protocol)
            plain.settimeout(left)
            self._socket = plain
            try:
                plain.connect(address)
                return plain
            except OSError as error:
                last = error
                plain.close()
        raise last

    def wrapped(self, plain: socket.socket, host: str) -> socket.socket:
        """The same connection inside TLS, the certificate checked for `host`."""
        self._socket = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        return self._socket


class _Request(_Visit):
    """One request, its answer kept in memory."""

    def run(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """Ask the server that the URL names."""
        parts = checked_url(url)
        return self._watched(lambda: self._answer(parts, method, headers, body), lambda: parts)

    def _answer(self, parts: SplitResult, method: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._asked(parts, method, headers, body) as response:
            media_type = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            return Answer(response.status, media_type, b"".join(self._blocks(parts, response)))


class _Download(_Visit):
    """One file, wherever redirects lead."""

    def run(self, url: str, into: Path) -> Path:
        """Follow the URL to its bytes."""
        parts = checked_url(url)

        def follow() -> Path:
            nonlocal parts
            for _ in range(MAX_REDIRECTS + 1):
                onward = self._hop(parts, into)
                if isinstance(onward, Path):
                    return onward
                following = checked_url(urljoin(parts.geturl(), onward))
                if parts.scheme == "https" and following.scheme == "http":
                    raise _refused(following, "a redirect leads from https to http")
                parts = following
            raise _refused(parts, f"more than {MAX_REDIRECTS} redirects")

        return self._watched(follow, lambda: parts)

    def _hop(self, parts: SplitResult, into: Path) -> Path | str:
        """Ask one server: the file, or where it says to go."""
        with self._asked(parts, "GET", {}, b"") as response:
            if response.status in _REDIRECTS:
                onward = response.getheader("Location")
                if not onward:
                    raise _refused(parts, "a redirect without a target")
                return onward
            if response.status != 200:
                raise _refused(parts, f"the server answered HTTP {response.status}")
            return self._save(parts, response, into)

    def _save(self, parts: SplitResult, response: http.client.HTTPResponse, into: Path) -> Path:
        target = into / _file_name(parts.path) if into.is_dir() else into
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            with draft.open("xb") as file:
                for block in self._blocks(parts, response):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)
        return target


class _Pinned(http.client.HTTPConnection):
    """A connection that goes to judged addresses, whatever the name means by now."""

    def __init__(self, visit: _Visit, scheme: str, host: str, port: int, addresses: list[Any]) -> None:
        super().__init__(host, port)
        self.default_port = _PORTS[scheme]
        self._visit = visit
        self._scheme = scheme
        self._addresses = addresses

    def connect(self) -> None:
        plain = self._visit.connect(self._addresses)
        self.sock = self._visit.wrapped(plain, self.host) if self._scheme == "https" else plain


def _file_name(path: str) -> str:
    last = path.rsplit("/", 1)[-1]
    return last if _SAFE_FILE.fullmatch(last) else "download"
