"""For the hot routes: how they are declared, bodies, errors, event streams."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.responses import Response

from qianfan.contract import sse
from qianfan.contract.errors import INVALID_JSON, ErrorRow, Fault
from qianfan.contract.routes import Family
from qianfan_platform.web import bodies
from qianfan_platform.web.envelopes import Json, dumps, error_body, error_response, internal, spelt
from qianfan_platform.web.exchange import Exchange, Left

log = logging.getLogger("qianfan_platform.web")
T = TypeVar("T")

BODY_LIMIT: Final = 8 * 1024 * 1024  # bytes
_STREAM_HEADERS: Final = spelt(
    {"Content-Type": sse.MEDIA_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
)

Reply = Response | bytes | None
"""An answer: a Response, bytes of JSON for HTTP 200, or None when all of it is sent already."""

Handler = Callable[[Exchange], Awaitable[Reply]]


@dataclass(frozen=True)
class HotRoute:
    """A route that goes before the console's.

    path: with no parameter, or one as its last part, `{name}`, which may have slashes when it is `{name:path}`.
    handler: may raise, which is answered in the family's shape, and Left."""

    path: str
    handler: Handler
    methods: tuple[str, ...] = ("POST",)
    family: Family = "inference"

    @property
    def head(self) -> str:
        """The path up to its parameter; a slash that follows it is kept."""
        head, _, tail = self.path.partition("{")
        return head + tail.partition("}")[2]

    @property
    def rest(self) -> bool:
        """Whether the parameter may have slashes."""
        return self.path.endswith(":path}")


async def read_object(
    exchange: Exchange, *, limit: int = BODY_LIMIT, row: ErrorRow = INVALID_JSON
) -> dict[str, Any]:
    """The body as a JSON object, without `ak` and `sk`. Raises Fault(row)."""
    parsed = bodies.parse(await exchange.read(limit, row), row=row)
    if not bodies.SECRET_MEMBERS.isdisjoint(parsed):
        for name in bodies.SECRET_MEMBERS & parsed.keys():
            del parsed[name]
    return parsed


def failed(exchange: Exchange, family: Family, error: Exception) -> Json:
    """The answer to `error`: a Fault in the family's shape, anything else logged and told as internal."""
    return error_response(family, _fault(family, error, exchange.request_id), exchange.request_id)


def _fault(family: Family, error: Exception, ident: str) -> Fault:
    if isinstance(error, Fault):
        return error
    log.error("request %s failed unexpectedly", ident, exc_info=error)
    return internal(family)


async def unless_left(exchange: Exchange, work: Awaitable[T]) -> T:
    """The result of `work`; when the client leaves first, the work is cancelled and Left is raised."""
    with exchange:
        return await work


Put = Callable[[bytes], Awaitable[None] | None]
"""Sends one frame: at once, or by awaiting what it returns."""


async def stream(
    exchange: Exchange,
    frames: AsyncGenerator[bytes] | Callable[[Put], Awaitable[None]],
    family: Family = "inference",
    *,
    headers: Mapping[str, str] | None = None,
    tail: bytes = b"",
) -> None:
    """Answer with an event stream of JSON frames, each sent at once, that ends as soon as the reader leaves.

    frames: bytes of one event each (`contract.sse.encode`): a generator, closed (`aclose`) in every case, or a
    function that puts one after the other, cancelled when the reader leaves. An error before the first frame is
    answered as plain JSON, a later one as a last frame. tail: sent at a good end, such as `data: [DONE]` for V2."""
    exchange.opening = _STREAM_HEADERS + spelt(headers) if headers else _STREAM_HEADERS
    last = tail
    try:
        with exchange:
            if isinstance(frames, AsyncGenerator):
                await _pour(frames, exchange.put)
            else:
                await frames(exchange.put)
    except Left:
        raise
    except Exception as error:
        fault = _fault(family, error, exchange.request_id)
        if not exchange.status:
            wrong = error_response(family, fault, exchange.request_id)
            await exchange.respond(wrong.status_code, wrong.raw_headers, wrong.body)
            return
        last = sse.encode(dumps(error_body(family, fault, exchange.request_id)))
    await exchange.send(last, more=False)


async def _pour(frames: AsyncGenerator[bytes], put: Put) -> None:
    async with aclosing(frames):
        async for frame in frames:
            if (waits := put(frame)) is not None:
                await waits


__all__ = [
    "BODY_LIMIT", "Exchange", "Handler", "HotRoute", "Json", "Left", "Put", "Reply", "failed", "read_object", "stream",
    "unless_left",
]  # fmt: skip
