"""What every route of inference does before and after its own work: who calls, who answers, how it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from qianfan.contract.routes import Family
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.catalogue.catalogue import Kind
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.web import hot
from qianfan_platform.web.envelopes import dumps
from qianfan_platform.web.hot import Exchange, HotRoute, Reply

from . import conversations, operations
from .conversations import Prompt
from .frames import V1, V2
from .members import Body

Authenticate = Callable[[Exchange, Family], Awaitable[Caller]]
Handler = Callable[[Exchange, Caller], Awaitable[Reply]]
SERVED_BY = "X-Qianfan-Served-By"
IGNORED = "X-Qianfan-Ignored"


class Door:
    """The way into inference: one for all its routes."""

    def __init__(self, platform: Platform, authenticate: Authenticate) -> None:
        self.platform, self._authenticate = platform, authenticate
        self._finder = operations.Finder(platform)

    def route(self, path: str, family: Family, handler: Handler, *methods: str) -> HotRoute:
        """A route whose caller is known before `handler` runs; failures answer in the family's shape."""
        authenticate = self._authenticate

        async def known(exchange: Exchange) -> Reply:
            caller = await authenticate(exchange, family)
            exchange.owner, exchange.app = caller.owner, caller.app
            return await handler(exchange, caller)

        return HotRoute(path, known, methods or ("POST",), family)

    async def find(
        self, exchange: Exchange, caller: Caller, endpoint: str, kind: Kind | None = None
    ) -> Answering:
        """Who answers for an endpoint or a model; the answer's headers will say so. Raises Fault."""
        answering = self._finder.known(endpoint, kind) or await self._finder.find(
            caller.owner, endpoint, kind
        )
        if answering.served_by:
            exchange.add({SERVED_BY: answering.served_by})
        return answering

    def tell_ignored(self, exchange: Exchange, body: Body) -> None:
        """Name in a header what the caller asked for and does not get."""
        if names := conversations.ignored(body):
            exchange.add({IGNORED: quote(", ".join(names), safe=", ")})

    async def whole(
        self, exchange: Exchange, caller: Caller, answering: Answering, prompt: Prompt, form: V1 | V2
    ) -> bytes:
        """The answer in one piece. Raises hot.Left when the caller did not wait for it."""
        with exchange:
            asked = operations.answer(self.platform, caller, answering, prompt, exchange.add, whole=True)
            async with asked as deltas:
                await deltas.into(form.whole)
        return dumps(form.answer())

    async def stream(
        self,
        exchange: Exchange,
        caller: Caller,
        answering: Answering,
        prompt: Prompt,
        form: V1 | V2,
        family: Family,
        *,
        tail: bytes = b"",
    ) -> None:
        """An event stream of the answer: what `form` makes of each piece, sent at once."""

        async def frames(put: hot.Put) -> None:
            async with operations.answer(self.platform, caller, answering, prompt, exchange.add) as deltas:
                await deltas.frames(form, put)

        await hot.stream(exchange, frames, family, tail=tail)
