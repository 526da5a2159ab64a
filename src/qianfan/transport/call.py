"""The nouns of a call: what is asked (`Call`), what goes out (`Request`), what comes back (`Reply`)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

from qianfan.contract.routes import Route
from qianfan.contract.sse import MEDIA_TYPE
from qianfan.utils.logging import redact

T = TypeVar("T")

PIECE: Final = 1024 * 1024  # bytes read at once from a file that is sent


@dataclass(frozen=True)
class Call:
    """What is asked, in the words of the contract. Members of `body` that are None are not sent.

    content: a body that is not JSON: bytes, or a file that is read while it is sent.
    creates: the call makes something, so that all its attempts carry one idempotency key.
    finish: changes the body of each answer before the caller sees it."""

    route: Route
    body: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Path | None = None
    stream: bool = False
    creates: bool = False
    finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@dataclass(slots=True)
class Request:
    """One HTTP request. `path` and `query` are as on the wire and as signed; `base` is scheme and host.

    timeout_s: whole call, or between two pieces of a stream. Not to be changed: `with_…` make another one."""

    method: str
    base: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes | Path
    timeout_s: float
    stream: bool = False

    @property
    def host(self) -> str:
        """The Host header: name, and the port unless it is the scheme's own."""
        return _host(self.base)

    @property
    def url(self) -> str:
        """The whole address, token included: for sending, never for showing."""
        if not self.query:
            return self.base + self.path
        query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in self.query)
        return f"{self.base}{self.path}?{query}"

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """The same request with more headers."""
        return self._with(headers={**self.headers, **headers})

    def with_query(self, name: str, value: str) -> Request:
        """The same request with one more query parameter, in last place."""
        return self._with(query=(*self.query, (name, value)))

    def within(self, seconds: float) -> Request:
        """The same request with another timeout."""
        return self._with(timeout_s=seconds)

    def _with(
        self,
        query: tuple[tuple[str, str], ...] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Request:
        return Request(
            self.method,
            self.base,
            self.path,
            self.query if query is None else query,
            self.headers if headers is None else headers,
            self.body,
            self.timeout_s if timeout_s is None else timeout_s,
            self.stream,
        )

    def __repr__(self) -> str:
        return redact(f"<Request {self.method} {self.url}>")


@lru_cache(maxsize=64)
def _host(base: str) -> str:
    parts = urlsplit(base)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    own = {"http": 80, "https": 443}.get(parts.scheme)
    return name if parts.port in (None, own) else f"{name}:{parts.port}"


def _quoted(text: str) -> str:
    return text if _PLAIN(text) else quote(text, safe="")


_PLAIN = re.compile(r"[A-Za-z0-9._~-]*", re.ASCII).fullmatch


@dataclass(slots=True)
class Reply:
    """One HTTP answer: `body` whole, or `chunks` as they come. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    chunks: Iterator[bytes] | None = None
    achunks: AsyncIterator[bytes] | None = None
    latency_s: float = 0.0  # from sending to the headers

    @property
    def is_stream(self) -> bool:
        """True when the pieces are still to be read."""
        return self.chunks is not None or self.achunks is not None


def announces_stream(status: int, headers: Mapping[str, str]) -> bool:
    """True when the body of an answer is an event stream."""
    if status != 200:
        return False
    return headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA_TYPE


def pieces_of(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file: what was promised of it, also when it grows meanwhile."""
    with path.open("rb") as file:
        while size and (piece := file.read(min(PIECE, size))):
            size -= len(piece)
            yield piece
    if size:
        raise OSError(f"{path.name} became shorter while it was sent")


@dataclass(slots=True)
class Send:
    """Asks the edge to send a request and to hand back a `Reply`."""

    request: Request


@dataclass(slots=True)
class Sleep:
    """Asks the edge to wait. Seconds."""

    seconds: float


@dataclass(slots=True)
class Do:
    """Asks the edge to run what reads and writes by itself, and to hand back what it returns.

    An event loop runs it in a thread of its own."""

    work: Callable[[], Any]


Effect: TypeAlias = Send | Sleep | Do
Exchange: TypeAlias = Generator[Effect, Any, T]
