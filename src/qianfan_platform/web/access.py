"""Request ids and the access log: one JSON line for each request, without secrets.

Lines are gathered and handed to the logger a few times a second, several in one record: writing each by itself
would cost more than answering the request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import orjson
from starlette.types import Scope

from qianfan_platform.web.envelopes import spelt

log = logging.getLogger("qianfan_platform.access")

ID_HEADERS: Final = frozenset({b"request_id", b"x-bce-request-id"})
TOTAL_S: Final = 3600.0  # seconds of one answer, unless the server was told otherwise
GATHER_S: Final = 0.2
GATHERED: Final = 500  # lines of one record
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SHOWN_QUERY: Final = frozenset(
    {"Action", "after", "expireInSeconds", "grant_type"}
)  # the rest may be secret
_NO_CLIENT: Final = ("", 0)
_ids = random.Random()  # ids tell requests apart; nobody may do anything by knowing one


@dataclass(slots=True)
class Trace:
    """What is known of one request while it is served; kept in the scope under `trace`.

    headers: more headers of the answer, written exactly as they are spelt here. total_s: the longest answer.
    status: of the answer, once it has begun."""

    request_id: str
    route: str = ""
    owner: int | None = None
    app: str = ""
    headers: Mapping[str, str] | None = None
    total_s: float = TOTAL_S
    status: int = 0

    def stamp(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that begins now: those given, the request id, and `headers`."""
        self.status = status
        stamped = [*headers, (b"x-baidu-request-id", self.request_id.encode())]
        if self.headers:
            stamped += spelt(self.headers)
        return stamped


def trace_of(scope: Scope) -> Trace:
    """The request's trace; a fresh one when the front door is not wrapped around the application."""
    found: Trace | None = scope.get("trace")
    if found is None:
        found = scope["trace"] = Trace(request_id_of(scope))
    return found


def request_id_of(scope: Scope) -> str:
    """The id that the client chose, when it is harmless; else a fresh one of 24 hex characters."""
    for name, value in scope["headers"]:
        if name in ID_HEADERS and (chosen := harmless_id(value)):
            return chosen
    return fresh_id()


def harmless_id(value: bytes) -> str | None:
    """The value of a header as a request id, when it can be one."""
    text = value.decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else None


def fresh_id() -> str:
    """A request id of 24 hex characters."""
    return f"{_ids.getrandbits(96):024x}"


def masked_query(raw: bytes) -> str:
    """The query with every value hidden that is not known to be harmless."""
    if not raw:
        return ""
    if raw.startswith(b"access_token=") and b"&" not in raw:
        return "access_token=***"
    pairs = parse_qsl(raw[:4096].decode("latin-1"), keep_blank_values=True)
    return "&".join(
        f"{quote(name[:64])}={quote(value[:64]) if name in _SHOWN_QUERY else '***'}" for name, value in pairs
    )


class AccessLines:
    """The lines that are not handed on yet."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, scope: Scope, trace: Trace, started: float) -> None:
        """Note one request that is over. started: perf_counter seconds."""
        if not log.isEnabledFor(logging.INFO):
            return
        self._lines.append(orjson.dumps(_line(scope, trace, started)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        elif len(self._lines) >= GATHERED:
            self.flush()

    def flush(self) -> None:
        """Hand on all lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            log.info("%s", b"\n".join(lines).decode())


def _line(scope: Scope, trace: Trace, started: float) -> dict[str, Any]:
    return {
        "time": time.time(),  # unix seconds
        "request_id": trace.request_id,
        "method": scope["method"],
        "path": scope["path"][:512],
        "query": masked_query(scope.get("query_string", b"")),
        "route": trace.route,
        "owner": trace.owner,
        "app": trace.app,
        "client": (scope.get("client") or _NO_CLIENT)[0],
        "status": trace.status,  # 0: it never began to answer
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }
