"""The front door: gives each request its id, finds hot routes by table, counts, and writes the access log.

Hot routes are found by one look into a table and answered without anything between them and the connection;
everything else is the console's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sized
from typing import Final

from starlette.types import ASGIApp

from qianfan_platform.web import asgi, faults
from qianfan_platform.web.access import ID_HEADERS, AccessLines, fresh_id, harmless_id
from qianfan_platform.web.exchange import TOTAL_S, Exchange, Left
from qianfan_platform.web.hot import HotRoute, failed

log = logging.getLogger("qianfan_platform.web")

LEFT: Final = 499  # the status of an answer that nobody waited for, as nginx calls it
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_READ: Final = ID_HEADERS | _FORWARDED | {faults.HEADER}
_JSON: Final = ((b"content-type", b"application/json"),)
_HERE: Final = ("127.0.0.1", "::1")


class Front:
    """Hot routes by table, the rest to `app`. `X-Baidu-Request-Id` is in every answer."""

    def __init__(self, app: ASGIApp, hot: Iterable[HotRoute] = ()) -> None:
        self.app = app
        self.lines = AccessLines()
        self.total_s = TOTAL_S  # of one answer
        self.connections: Sized = ()  # those of the server, when it tells
        self.answered: Counter[tuple[str, int]] = Counter()  # (route, status) → requests
        self._counts = faults.Counts()
        self._whole: dict[tuple[str, str], HotRoute] = {}  # by method and path
        self._last: dict[tuple[str, str], HotRoute] = {}  # by method and all of the path but its last part
        self._rest: list[HotRoute] = []  # whose parameter may have slashes
        for route in hot:
            for method in route.methods:
                if route.rest:
                    self._rest.append(route)
                else:
                    table = self._last if "{" in route.path else self._whole
                    table.setdefault((method, route.head), route)

    def place(self, exchange: Exchange) -> None:
        """The head of a request is there: give it its id, and its handler when its route is hot."""
        exchange.total_s = self.total_s
        if not _READ.isdisjoint(exchange.fields):
            self._read(exchange)
        if not exchange.request_id:
            exchange.request_id = fresh_id()
        route = self._whole.get((exchange.method, exchange.path)) or self._with_parameter(exchange)
        if route is not None:
            exchange.route, exchange.hot = route.path, route

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request, count it, and write its line."""
        try:
            if exchange.hot is None:
                await asgi.run(self.app, exchange)
            else:
                await self._answer_hot(exchange, exchange.hot)
        except Left:
            exchange.status = exchange.status or LEFT
            log.debug("request %s: the reader left", exchange.request_id)
        finally:
            self.answered[exchange.route or "other", exchange.status] += 1
            self.lines.add(exchange)

    async def _answer_hot(self, exchange: Exchange, route: HotRoute) -> None:
        try:
            reply = await route.handler(exchange)
        except Left:
            raise
        except Exception as error:
            reply = failed(exchange, route.family, error)
        if isinstance(reply, bytes):
            if exchange.faulty is None and not exchange.line.write_paused:
                exchange.reply(reply)
            else:
                await exchange.respond(200, _JSON, reply)
        elif reply is not None:
            await exchange.respond(reply.status_code, reply.raw_headers, bytes(reply.body))

    def _with_parameter(self, exchange: Exchange) -> HotRoute | None:
        path, method = exchange.path, exchange.method
        head, _, last = path.rpartition("/")
        end = ""
        if not last:
            head, _, last = head.rpartition("/")
            end = "/"
        found = self._last.get((method, head + "/" + end))
        if found is not None and last:
            exchange.param = last
            return found
        for route in self._rest:
            if path.startswith(route.head) and len(path) > len(route.head) and method in route.methods:
                exchange.param = path[len(route.head) :]
                return route
        return None

    def _read(self, exchange: Exchange) -> None:
        """What headers ask for: an id, faults; and the client that a proxy names."""
        for name, value in exchange.headers:
            if name == faults.HEADER:
                exchange.wish = faults.Faulty(value.decode("latin-1"), self._counts)
            elif name in ID_HEADERS:
                exchange.request_id = exchange.request_id or harmless_id(value)
            elif name in _FORWARDED:
                _forwarded(exchange, name, value.decode("latin-1"))


def _forwarded(exchange: Exchange, name: bytes, value: str) -> None:
    """Take the client's address and scheme from a proxy on this machine; anybody else's word is not taken."""
    if exchange.line.address not in _HERE:
        return
    if name == b"x-forwarded-proto":
        if value.strip() in ("http", "https"):
            exchange.scheme = value.strip()
        return
    for address in reversed([part.strip() for part in value[:1024].split(",")]):
        if address and address not in _HERE:  # the nearest that is no proxy of this machine
            exchange.address = address[:64]
            return
