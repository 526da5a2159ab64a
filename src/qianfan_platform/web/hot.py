"""For the hot routes of inference: bodies, errors, event streams, and noticing that the reader left."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qianfan.contract import sse
from qianfan.contract.errors import INVALID_JSON, ErrorRow, Fault
from qianfan.contract.routes import Family
from qianfan_platform.web import bodies
from qianfan_platform.web.access import Trace, trace_of
from qianfan_platform.web.envelopes import Json, dumps, error_body, error_response, internal, spelt
from qianfan_platform.web.watch import Left, Watch

log = logging.getLogger("qianfan_platform.web")
T = TypeVar("T")

BODY_LIMIT: Final = 8 * 1024 * 1024  # bytes
_STREAM_HEADERS: Final = spelt(
    {"Content-Type": sse.MEDIA_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
)


async def read_object(
    request: Request, *, limit: int = BODY_LIMIT, row: ErrorRow = INVALID_JSON
) -> dict[str, Any]:
    """The body as a JSON object, without `ak` and `sk`. Raises Fault(row)."""
    parsed = bodies.parse(await bodies.read(request, limit=limit, row=row), row=row)
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


def add_headers(request: Request, headers: Mapping[str, str]) -> None:
    """Put more headers into the answer, spelt exactly so, whatever the answer will be.

    Must come before the answer begins; for a stream, before its first frame."""
    if headers:
        trace = trace_of(request.scope)
        trace.headers = {**trace.headers, **headers} if trace.headers else headers


def failed(request: Request, family: Family, error: Exception) -> Response:
    """The answer to `error`: a Fault in the family's shape, anything else logged and told as internal."""
    return error_response(family, _fault(family, error, request_id(request)), request_id(request))


def _fault(family: Family, error: Exception, ident: str) -> Fault:
    if isinstance(error, Fault):
        return error
    log.error("request %s failed unexpectedly", ident, exc_info=error)
    return internal(family)


async def send_whole(response: Response, trace: Trace, send: Send) -> None:
    """Send a whole answer, with the trace's headers."""
    headers = trace.stamp(response.status_code, response.raw_headers)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def watching(request: Request) -> Watch:
    """A block that is cancelled, and raises Left, when the client leaves. The body must have been read before."""
    return Watch(request.scope, request.receive)


async def unless_left(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`; when the client leaves first, the work is cancelled and Left is raised.

    The body must have been read before."""
    with watching(request):
        return await work


Put = Callable[[bytes], Awaitable[None]]
"""Sends one frame."""


class EventStream(Response):
    """An event stream of JSON frames, each sent at once, closed as soon as the reader leaves.

    frames: bytes of one event each (`contract.sse.encode`): a generator, closed (`aclose`) in every case, or a
    function that puts one after the other, cancelled when the reader leaves. An error before the first frame is
    answered as plain JSON, a later one as a last frame. tail: sent at a good end, such as `data: [DONE]` for V2.
    headers: read when the first frame is there."""

    def __init__(
        self,
        frames: AsyncGenerator[bytes] | Callable[[Put], Awaitable[None]],
        family: Family = "inference",
        *,
        headers: Mapping[str, str] | None = None,
        tail: bytes = b"",
    ) -> None:
        self.frames = frames
        self.family: Family = family
        self.tail = tail
        self.more_headers = headers
        self.status_code = 200
        self.background = None
        self.body = b""
        self.media_type = sse.MEDIA_TYPE
        self.charset = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with Watch(scope, receive):
                await self._send_all(scope, send)
        except Left:
            log.debug("request %s: the reader left", trace_of(scope).request_id)

    async def _send_all(self, scope: Scope, send: Send) -> None:
        started = False
        trace = trace_of(scope)

        async def put(frame: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                await self._start(trace, send)
            await send({"type": "http.response.body", "body": frame, "more_body": True})

        last = self.tail
        try:
            if isinstance(self.frames, AsyncGenerator):
                await _pour(self.frames, put)
            else:
                await self.frames(put)
        except Exception as error:
            fault = _fault(self.family, error, trace.request_id)
            if not started:
                await send_whole(error_response(self.family, fault, trace.request_id), trace, send)
                return
            last = sse.encode(dumps(error_body(self.family, fault, trace.request_id)))
        if not started:
            await self._start(trace, send)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _start(self, trace: Trace, send: Send) -> None:
        headers = _STREAM_HEADERS + (spelt(self.more_headers) if self.more_headers else [])
        await send({"type": "http.response.start", "status": 200, "headers": trace.stamp(200, headers)})


async def _pour(frames: AsyncGenerator[bytes], put: Put) -> None:
    async with aclosing(frames):
        async for frame in frames:
            await put(frame)


__all__ = [
    "BODY_LIMIT", "EventStream", "Json", "Left", "add_headers", "failed", "note", "read_object", "request_id",
    "send_whole", "spelt", "unless_left", "watching",
]  # fmt: skip
