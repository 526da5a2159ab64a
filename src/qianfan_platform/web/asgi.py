"""The console's road: an ASGI application that answers an exchange."""

from __future__ import annotations

import logging
from typing import Any, Final

from starlette.types import ASGIApp, Message, Scope

from qianfan_platform.web.exchange import EXCHANGE, Exchange, Left

log = logging.getLogger("qianfan_platform.web")

_VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}
_FAILED: Final = b"Internal Server Error"


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of a request of the console."""
    found: Exchange = scope[EXCHANGE]
    return found


async def run(app: ASGIApp, exchange: Exchange) -> None:
    """Let `app` answer. What it raises is logged; the client sees HTTP 500, or a broken connection."""
    road = _Road(exchange)
    try:
        await app(_scope(exchange), road.receive, road.send)
    except Left:
        raise
    except Exception:
        log.exception("request %s failed unexpectedly", exchange.request_id)
        if not exchange.status and not exchange.line.lost:
            kind = (b"content-type", b"text/plain; charset=utf-8")
            exchange.keep_alive = False
            exchange.start(500, [kind, (b"content-length", b"%d" % len(_FAILED))])
            exchange.write(_FAILED, more=False)
    if not exchange.over:
        exchange.line.cut(graceful=True)


def _scope(exchange: Exchange) -> Scope:
    line = exchange.line
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": "1.1",
        "server": line.server,
        "client": (exchange.address, line.client[1]) if line.client else None,
        "scheme": exchange.scheme,
        "root_path": "",
        "method": exchange.method,
        "path": exchange.path,
        "raw_path": exchange.raw_path,
        "query_string": exchange.query,
        "headers": exchange.headers,
        "state": {},
        EXCHANGE: exchange,
    }


class _Road:
    """`receive` and `send` of one request."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._read = False  # to its end

    async def receive(self) -> Message:
        exchange = self._exchange
        while not (exchange.over or exchange.line.lost):
            body = b"".join(exchange.take())
            if not self._read and (body or exchange.whole):
                self._read = exchange.whole
                return {"type": "http.request", "body": body, "more_body": not exchange.whole}
            await exchange.more()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        exchange, kind = self._exchange, message["type"]
        if kind == "http.response.start" and not exchange.status:
            exchange.start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body" and exchange.status and not exchange.over:
            await exchange.send(message.get("body", b""), message.get("more_body", False))
        elif not exchange.line.lost:
            raise RuntimeError(f"{kind} does not belong here in an answer")
