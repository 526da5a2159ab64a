"""Request ids and the access log: one JSON line for each request, without secrets."""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("qianfan_platform.access")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SHOWN_QUERY: Final = frozenset(
    {"Action", "after", "expireInSeconds", "grant_type"}
)  # the rest may be secret
_NO_CLIENT: Final = ("", 0)


@dataclass(slots=True)
class Trace:
    """What is known of one request while it is served; kept in the scope under `trace`."""

    request_id: str
    route: str = ""
    owner: int | None = None
    app: str = ""


def trace_of(scope: Scope) -> Trace:
    """The request's trace; a fresh one when the access log is not wrapped around the application."""
    found: Trace | None = scope.get("trace")
    if found is None:
        found = scope["trace"] = Trace(_request_id(scope))
    return found


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name in (b"request_id", b"x-bce-request-id"):
            text: str = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(text):
                return text
    return secrets.token_hex(12)


def masked_query(raw: bytes) -> str:
    """The query with every value hidden that is not known to be harmless."""
    if not raw:
        return ""
    pairs = parse_qsl(raw[:4096].decode("latin-1"), keep_blank_values=True)
    return "&".join(
        f"{quote(name[:64])}={quote(value[:64]) if name in _SHOWN_QUERY else '***'}" for name, value in pairs
    )


class AccessLog:
    """ASGI middleware: gives each request its id, answers it in X-Baidu-Request-Id, writes the line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        trace = scope["trace"] = Trace(_request_id(scope))
        header = (b"x-baidu-request-id", trace.request_id.encode())
        status = 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        finally:
            if log.isEnabledFor(logging.INFO):
                log.info("%s", orjson.dumps(_line(scope, trace, status, started)).decode())


def _line(scope: Scope, trace: Trace, status: int, started: float) -> dict[str, Any]:
    return {
        "request_id": trace.request_id,
        "method": scope["method"],
        "path": scope["path"][:512],
        "query": masked_query(scope.get("query_string", b"")),
        "route": trace.route,
        "owner": trace.owner,
        "app": trace.app,
        "client": (scope.get("client") or _NO_CLIENT)[0],
        "status": status,  # 0: it never began to answer
        "ms": round((time.perf_counter() - started) * 1000, 2),
    }
