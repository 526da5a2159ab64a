"""For the hot routes of inference: bodies, errors, event streams, and noticing that the reader left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qianfan.contract import sse
from qianfan.contract.errors import INVALID_JSON, ErrorRow, Fault
from qianfan.contract.routes import Family
from qianfan_platform.web import bodies
from qianfan_platform.web.access import trace_of
from qianfan_platform.web.envelopes import Json, dumps, error_body, error_response, internal

log = logging.getLogger("qianfan_platform.web")
T = TypeVar("T")

BODY_LIMIT: Final = 8 * 1024 * 1024  # bytes


class _Spelt(bytes):
    """A header name that keeps its capitals: the server asks for `lower()` before it writes the name."""

    def lower(self) -> bytes:
        return self


def spelt(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Raw headers written exactly so; some published clients match the case of `Content-Type` or
    `X-Ratelimit-Limit-Requests`."""
    return [(_Spelt(name.encode()), value.encode("latin-1")) for name, value in headers.items()]


class Left(Exception):
    """The client went away before its answer was ready."""


async def read_object(
    request: Request, *, limit: int = BODY_LIMIT, row: ErrorRow = INVALID_JSON
) -> dict[str, Any]:
    """The body as a JSON object, without `ak` and `sk`. Raises Fault(row)."""
    raw = await bodies.read(request, limit=limit, row=row)
    parsed = bodies.parse(raw, row=row)
    for name in bodies.SECRET_MEMBERS & parsed.keys():
        del parsed[name]
    return parsed


def request_id(request: Request) -> str:
    """The id of this request, as answered in X-Baidu-Request-Id."""
    return trace_of(request.scope).request_id


def note(request: Request, *, route: str, owner: int | None = None, app: str = "") -> None:
    """Tell the access log which route this is and who calls."""
    trace = trace_of(request.scope)
    trace.route, trace.owner, trace.app = route, owner, app


def failed(request: Request, family: Family, error: Exception) -> Response:
    """The answer to `error`: a Fault in the family's shape, anything else logged and told as internal."""
    return error_response(family, _fault(family, error, request_id(request)), request_id(request))


def _fault(family: Family, error: Exception, ident: str) -> Fault:
    if isinstance(error, Fault):
        return error
    log.error("request %s failed unexpectedly", ident, exc_info=error)
    return internal(family)


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`; when the client leaves first, the work is cancelled and Left is raised.

    The body must have been read before."""
    async with _watched(request.receive):
        return await work


@asynccontextmanager
async def _watched(receive: Receive) -> AsyncGenerator[None]:
    """Cancel what runs inside when the client leaves, and raise Left instead."""
    inside = asyncio.current_task()
    assert inside is not None
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        inside.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if left and inside.uncancel() == 0:
            raise Left from None
        raise
    finally:
        watcher.cancel()
    if left:  # cancelled after the last await: the wish must not hit what comes next
        inside.uncancel()
        raise Left


class EventStream(Response):
    """An event stream of JSON frames, each sent at once, closed as soon as the reader leaves.

    frames: bytes of one event each (`contract.sse.encode`); closed (`aclose`) in every case. An error before
    the first frame is answered as plain JSON, a later one as a last frame. tail: sent at a good end, such as
    `data: [DONE]` for V2."""

    def __init__(
        self,
        frames: AsyncGenerator[bytes],
        family: Family = "inference",
        *,
        headers: Mapping[str, str] | None = None,
        tail: bytes = b"",
    ) -> None:
        self.frames = frames
        self.family: Family = family
        self.tail = tail
        self.status_code = 200
        self.background = None
        self.body = b""
        self.media_type = sse.MEDIA_TYPE
        self.charset = ""
        own = {"Content-Type": sse.MEDIA_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        self.start: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": spelt({**own, **(headers or {})}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _watched(receive), aclosing(self.frames):
                await self._send_all(scope, receive, send)
        except Left:
            log.debug("request %s: the reader left", trace_of(scope).request_id)

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        last = self.tail
        try:
            async for frame in self.frames:
                if not started:
                    await send(self.start)
                    started = True
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            ident = trace_of(scope).request_id
            fault = _fault(self.family, error, ident)
            if not started:
                await error_response(self.family, fault, ident)(scope, receive, send)
                return
            last = sse.encode(dumps(error_body(self.family, fault, ident)))
        if not started:
            await send(self.start)
        await send({"type": "http.response.body", "body": last, "more_body": False})


__all__ = [
    "BODY_LIMIT", "EventStream", "Json", "Left", "failed", "note", "read_object", "request_id", "spelt", "unless_left",
]  # fmt: skip
