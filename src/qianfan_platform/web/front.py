"""The front door: gives each request its id, finds hot routes by table, counts, and writes the access log.

Hot routes are found by one look into a table and go round the console's own middleware and routing; everything
else is the console's.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sized
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qianfan_platform.web import faults
from qianfan_platform.web.access import ID_HEADERS, TOTAL_S, AccessLines, Trace, fresh_id, harmless_id
from qianfan_platform.web.envelopes import Json
from qianfan_platform.web.hot import send_whole
from qianfan_platform.web.watch import Left

log = logging.getLogger("qianfan_platform.web")

Endpoint = Callable[[Request], Awaitable[Response]]
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_READ: Final = ID_HEADERS | _FORWARDED | {faults.HEADER}
_HERE: Final = ("127.0.0.1", "::1")
_LAST: Final = "{}"  # stands for the last part of a path


class Front:
    """ASGI: hot routes by table, the rest to `app`. `X-Baidu-Request-Id` is in every answer.

    hot: routes without parameters, or with one as the last part of the path; others stay with `app`."""

    def __init__(self, app: ASGIApp, hot: Iterable[BaseRoute] = ()) -> None:
        self.app = app
        self.lines = AccessLines()
        self.total_s = TOTAL_S  # of one answer
        self.connections: Sized = ()  # those of the server, when it tells
        self._counts = faults.Counts()
        self.answered: Counter[tuple[str, int]] = Counter()  # (route, status) → requests
        self._hot: dict[tuple[str, str], tuple[Endpoint, str, str]] = {}
        for route in hot:
            if isinstance(route, Route) and _takes_a_request(route) and (place := _place(route.path)):
                for method in route.methods or ():
                    self._hot.setdefault((method, place[0]), (route.endpoint, place[1], route.path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        ident = wish = ""
        if not _READ.isdisjoint(dict(scope["headers"])):
            ident, wish = _read(scope)
        trace = scope["trace"] = Trace(ident or fresh_id(), total_s=self.total_s)
        if wish:
            faulty = scope[faults.FAULTS] = faults.Faulty(wish, scope, send, self._counts)
            send = faulty.send
        found = self._find(scope["method"], scope["path"])
        try:
            if found is None:
                await self.app(scope, receive, _stamping(trace, send))
            else:
                scope["path_params"] = found[1]
                response = await found[0](Request(scope, receive, send))
                if isinstance(response, Json):
                    await send_whole(response, trace, send)
                else:
                    await response(scope, receive, _stamping(trace, send))
        except Left:
            log.debug("request %s: the connection is gone", trace.request_id)
        finally:
            self.answered[(found[2] if found else trace.route) or "other", trace.status] += 1
            self.lines.add(scope, trace, started)

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, Any], str] | None:
        found = self._hot.get((method, path))
        if found is not None:
            return found[0], {}, found[2]
        head, _, last = path.rpartition("/")
        if not last:
            head, _, last = head.rpartition("/")
            found = self._hot.get((method, f"{head}/{_LAST}/"))
        else:
            found = self._hot.get((method, f"{head}/{_LAST}"))
        if found is None or not found[1] or not last:
            return None
        return found[0], {found[1]: last}, found[2]


def _read(scope: Scope) -> tuple[str, str]:
    """The id and the faults that the client wishes, "" for none; the address behind a proxy goes into the scope."""
    ident = wish = ""
    for name, value in scope["headers"]:
        if name == faults.HEADER:
            wish = value.decode("latin-1")
        elif name in _FORWARDED:
            _forwarded(scope, name, value.decode("latin-1"))
        elif name in ID_HEADERS:
            ident = ident or harmless_id(value) or ""
    return ident, wish


def _stamping(trace: Trace, send: Send) -> Send:
    """`send`, with the trace's headers put into an answer that does not have them yet."""

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start" and not trace.status:
            message["headers"] = trace.stamp(message["status"], message.get("headers", ()))
        await send(message)

    return stamped


def _forwarded(scope: Scope, name: bytes, value: str) -> None:
    """Take the client's address and scheme from a proxy on this machine; anybody else's word is not taken."""
    peer = scope.get("peer") or (scope.get("client") or ("", 0))[0]
    if peer not in _HERE:
        return
    scope["peer"] = peer
    if name == b"x-forwarded-proto":
        if value.strip() in ("http", "https"):
            scope["scheme"] = value.strip()
        return
    for address in reversed([part.strip() for part in value[:1024].split(",")]):
        if address and address not in _HERE:  # the nearest that is no proxy of this machine
            scope["client"] = (address[:64], 0)
            return


def _takes_a_request(route: Route) -> bool:
    """Whether the endpoint is a function; the others are ASGI applications."""
    endpoint = route.endpoint
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return inspect.isfunction(endpoint) or inspect.ismethod(endpoint)


def _place(path: str) -> tuple[str, str] | None:
    """Where a route stands in the table, and the name of its parameter; None when the table cannot hold it."""
    if "{" not in path:
        return path, ""
    head, _, last = path.rstrip("/").rpartition("/")
    name = last[1:-1]
    if "{" in head or last != f"{{{name}}}" or not name.isidentifier():
        return None
    return f"{head}/{_LAST}{'/' if path.endswith('/') else ''}", name
