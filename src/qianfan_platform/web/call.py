"""What a handler is given: who calls, with what, from where."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from starlette.requests import Request

from qianfan.contract.routes import Family
from qianfan_platform.web.exchange import Exchange

if TYPE_CHECKING:
    from qianfan_platform.store import Tx

_SOURCE: Final = re.compile(r"qianfan_(py|go|java|js)_sdk_v?(\d+(?:\.\d+){0,5})", re.IGNORECASE)
_LANGUAGES: Final = {"py": "python", "go": "go", "java": "java", "js": "js"}
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")


class Identity(Protocol):
    """Who calls: the account's id, the app's id, and how they proved it (`token`, `iam`, `bearer`)."""

    @property
    def owner(self) -> int: ...

    @property
    def app(self) -> str: ...

    @property
    def kind(self) -> str: ...


Authenticate = Callable[[Exchange, Family], Awaitable[Identity]]
"""Raises `Fault` (most often `web.Refused`), already in the words of the family."""


@dataclass(frozen=True)
class Source:
    """Which published client speaks. `language` is python, go, java, js, or "" for anyone else."""

    language: str = ""
    version: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: object) -> Source:
        """From a marker such as `qianfan_py_sdk_v0.3.0`; the empty source for anything else."""
        found = _SOURCE.match(text) if isinstance(text, str) else None
        if found is None:
            return cls()
        numbers = tuple(int(part[:9]) for part in found[2].split("."))
        return cls(_LANGUAGES[found[1].lower()], numbers)


def source_of(headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Source:
    """The source named by the header `request-source`, else by the body's `extra_parameters`."""
    source = Source.parse(headers.get("request-source"))
    if source.language or not body:
        return source
    extra = body.get("extra_parameters")
    return Source.parse(extra.get("request_source")) if isinstance(extra, dict) else source


def base_url_of(request: Request) -> str:
    """`scheme://host[:port]` as the client wrote it; our own address when its Host header is not sane."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        server = request.scope.get("server") or ("127.0.0.1", None)
        host = f"{server[0]}:{server[1]}" if server[1] else str(server[0])
    return f"{request.url.scheme}://{host}"


@dataclass
class Visit:
    """One authenticated request, without a transaction: what a raw handler gets."""

    owner: int
    app: str
    kind: str  # how the caller was proven: token, iam (a signature), bearer; "" on a public route
    query: dict[str, str]
    request_id: str
    source: Source
    base_url: str  # scheme://host as the client sees it
    platform: Any
    request: Request


@dataclass
class Call(Visit):
    """One request of a console route, inside its transaction."""

    tx: Tx
    body: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
