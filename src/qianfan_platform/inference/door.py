"""What every route of inference does before and after its own work: who calls, who answers, how it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qianfan.contract.routes import Family
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.catalogue.catalogue import Kind
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.web import hot
from qianfan_platform.web.access import trace_of

from . import conversations, operations
from .conversations import Prompt
from .frames import V1, V2, Whole
from .members import Body
from .operations import Admitted

Authenticate = Callable[[Request, Family], Awaitable[Caller]]
Handler = Callable[[Request, Caller], Awaitable[Response]]
SERVED_BY = "X-Qianfan-Served-By"
IGNORED = "X-Qianfan-Ignored"


class Door:
    """The way into inference: one for all its routes."""

    def __init__(self, platform: Platform, authenticate: Authenticate) -> None:
        self.platform, self._authenticate = platform, authenticate
        self._finder = operations.Finder(platform)

    def route(self, path: str, family: Family, handler: Handler, method: str = "POST") -> Route:
        """A route whose caller is known before `handler` runs; failures answer in the family's shape."""
        authenticate = self._authenticate

        async def guarded(request: Request) -> Response:
            trace = trace_of(request.scope)
            trace.route = path
            try:
                caller = await authenticate(request, family)
                trace.owner, trace.app = caller.owner, caller.app
                return await handler(request, caller)
            except hot.Left:
                return Response(status_code=499)
            except Exception as error:
                return hot.failed(request, family, error)

        return Route(path, guarded, methods=[method])

    async def find(
        self, request: Request, caller: Caller, endpoint: str, kind: Kind | None = None
    ) -> Answering:
        """Who answers for an endpoint or a model; the answer's headers will say so. Raises Fault."""
        answering = await self._finder.find(caller.owner, endpoint, kind)
        if answering.served_by:
            hot.add_headers(request, {SERVED_BY: answering.served_by})
        return answering

    def tell_ignored(self, request: Request, body: Body) -> None:
        """Name in a header what the caller asked for and does not get."""
        if names := conversations.ignored(body):
            hot.add_headers(request, {IGNORED: quote(", ".join(names), safe=", ")})

    def admitted(self, request: Request) -> Admitted:
        """Puts what the caller is told of limits into the answer's headers."""
        return partial(hot.add_headers, request)

    async def whole(
        self, request: Request, caller: Caller, answering: Answering, prompt: Prompt, whole: Whole
    ) -> None:
        """Add every piece of the answer to `whole`. Raises hot.Left when the caller did not wait for it."""
        with hot.watching(request):
            async with operations.answer(
                self.platform, caller, answering, prompt, self.admitted(request)
            ) as deltas:
                await deltas.into(whole)

    def stream(
        self,
        request: Request,
        caller: Caller,
        answering: Answering,
        prompt: Prompt,
        form: V1 | V2,
        family: Family,
        *,
        tail: bytes = b"",
    ) -> Response:
        """An event stream of the answer: what `form` makes of each piece, sent at once."""

        async def frames(put: hot.Put) -> None:
            async with operations.answer(
                self.platform, caller, answering, prompt, self.admitted(request)
            ) as deltas:
                await deltas.frames(form, put)

        return hot.EventStream(frames, family, tail=tail)
