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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urljoin

from qianfan.contract.errors import Fault

from .addresses import PORTS, Allow, ascii_host, checked_url, forbidden, refused

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_BLOCK: Final = 256 * 1024
_PATIENCE_S: Final = 60.0  # of silence, and of a slow server, before it is left
_SLOWEST: Final = 1024  # bytes a second
_SAFE_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
T = TypeVar("T")


async def fetch(
    url: str,
    into: Path,
    *,
    allow: Allow,
    limit_bytes: int,
    timeout_s: float,
    patience_s: float = _PATIENCE_S,
) -> Path:
    """Download `url` with GET; returns where it lies.

    into: the file to write, or an existing folder (then the URL's last part names the file). timeout_s: for
    all of it, redirects and names included. patience_s: for the head of an answer, for silence, and for a server
    that sends less than 1 KiB a second. Raises Fault, which names the rule; nothing is left behind."""
    download = _Download(allow, limit_bytes, timeout_s, patience_s)
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
    visit = _Request(allow, limit_bytes, timeout_s)
    try:
        return await asyncio.to_thread(visit.run, method, url, dict(headers or {}), body)
    finally:
        visit.abort()


class _Visit:
    """What is done with a server, in a thread; `abort` from outside ends it at once."""

    def __init__(
        self, allow: Allow, limit_bytes: int, timeout_s: float, patience_s: float | None = None
    ) -> None:
        self._allow = allow
        self._limit = limit_bytes
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._patience_s = min(timeout_s if patience_s is None else patience_s, timeout_s)
        self._slow = False
        self._socket: socket.socket | None = None
        self._aborted = threading.Event()

    def abort(self) -> None:
        """Close the connection under the reader."""
        self._aborted.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _give_up(self) -> None:
        self._slow = True
        self.abort()

    @contextlib.contextmanager
    def _ended_after(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        # A server may send a byte a second for ever: no timeout of a single read would notice.
        watchdog = threading.Timer(max(seconds, 0), end)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def _watched(self, work: Callable[[], T], where: Callable[[], SplitResult]) -> T:
        """The result of `work`; what goes wrong is told as a Fault about the URL that `where` gives."""
        with self._ended_after(self._deadline - time.monotonic(), self.abort):
            try:
                return work()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._failed(where(), error) from None

    def _failed(self, parts: SplitResult, error: Exception) -> Fault:
        late = time.monotonic() >= self._deadline
        if late or (self._aborted.is_set() and not self._slow):
            why = f"it took longer than {self._timeout_s:g} s"
            return refused(parts, why, "try again, or use a faster server")
        if self._slow or isinstance(error, TimeoutError):
            why = f"the server was silent, or sent less than {_SLOWEST} bytes a second, for {self._patience_s:g} s"
            return refused(parts, why, "try again, or use a faster server")
        if isinstance(error, http.client.IncompleteRead):
            return refused(parts, "the server sent less than it announced", "try again")
        if isinstance(error, ssl.SSLCertVerificationError):
            return refused(parts, f"its certificate does not hold ({error.verify_message})")
        if isinstance(error, socket.gaierror):
            return refused(parts, "its host name is not known")
        return refused(
            parts, f"the connection failed ({getattr(error, 'strerror', None) or type(error).__name__})"
        )

    @contextlib.contextmanager
    def _asked(
        self, parts: SplitResult, method: str, headers: Mapping[str, str], body: bytes
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer of one server to one request."""
        host = ascii_host(parts.hostname or "")
        port = parts.port or PORTS[parts.scheme]
        connection = _Pinned(self, parts.scheme, host, port, self._addresses(parts, host, port))
        try:
            path = parts.path or "/"
            target = f"{path}?{parts.query}" if parts.query else path
            if not target.isascii():
                raise refused(parts, "its path is not percent-encoded")
            own = {"Accept-Encoding": "identity", "User-Agent": "open-qianfan"}
            with self._ended_after(self._patience_s, self._give_up):
                connection.request(method, target, body=body or None, headers={**headers, **own})
                answer = connection.getresponse()
            # Closed by us: once the answer ends with the connection, nobody else holds its socket.
            with contextlib.closing(answer) as response:
                yield response
        finally:
            connection.close()
            self._socket = None

    def _blocks(self, parts: SplitResult, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body as it comes, at most the limit, and whole."""
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise refused(parts, "the server compressed the answer unasked")
        if response.length is not None and response.length > self._limit:
            raise self._too_large(parts)
        size = lately = 0
        since = time.monotonic()
        while block := response.read1(_BLOCK):
            size, lately = size + len(block), lately + len(block)
            if size > self._limit:
                raise self._too_large(parts)
            if (span := time.monotonic() - since) >= self._patience_s:
                if lately < _SLOWEST * span:
                    self._give_up()
                since, lately = time.monotonic(), 0
            if self._aborted.is_set():
                raise TimeoutError
            yield block
        if self._aborted.is_set():  # the end may be of our own making
            raise TimeoutError
        if response.length:  # read1 does not tell a short body
            raise http.client.IncompleteRead(b"", response.length)

    def _too_large(self, parts: SplitResult) -> Fault:
        return refused(parts, f"it is larger than {self._limit} bytes", "split it, or upload it as a file")

    def _addresses(self, parts: SplitResult, host: str, port: int) -> list[Any]:
        """What the name stands for; every address is judged, and only these are connected to."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not self._allow.has(parts.hostname or "", port):
            for entry in found:
                address = ipaddress.ip_address(str(entry[4][0]).split("%")[0])
                why = forbidden(address)
                if why is not None:
                    raise refused(
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
            plain.settimeout(min(left, self._patience_s))
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
                    raise refused(following, "a redirect leads from https to http")
                parts = following
            raise refused(parts, f"more than {MAX_REDIRECTS} redirects")

        return self._watched(follow, lambda: parts)

    def _hop(self, parts: SplitResult, into: Path) -> Path | str:
        """Ask one server: the file, or where it says to go."""
        with self._asked(parts, "GET", {}, b"") as response:
            if response.status in _REDIRECTS:
                onward = response.getheader("Location")
                if not onward:
                    raise refused(parts, "a redirect without a target")
                return onward
            if response.status != 200:
                raise refused(parts, f"the server answered HTTP {response.status}")
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
        self.default_port = PORTS[scheme]
        self._visit = visit
        self._scheme = scheme
        self._addresses = addresses

    def connect(self) -> None:
        plain = self._visit.connect(self._addresses)
        self.sock = self._visit.wrapped(plain, self.host) if self._scheme == "https" else plain


def _file_name(path: str) -> str:
    last = path.rsplit("/", 1)[-1]
    return last if _SAFE_FILE.fullmatch(last) else "download"
