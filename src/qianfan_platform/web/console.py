"""The console as one application: authenticate, read, check, one transaction, answer in the family's shape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Path

from qianfan.contract import routes as contract
from qianfan.contract.errors import (
    CONSOLE_PARAMETER,
    NOT_BUILT,
    NOT_FOUND,
    UNSUPPORTED_METHOD,
    WRONG_METHOD,
    Fault,
)
from qianfan.contract.routes import Family, Route
from qianfan_platform.store import out_of_space
from qianfan_platform.web import bodies, idempotency, openapi
from qianfan_platform.web.asgi import exchange_of
from qianfan_platform.web.call import Authenticate, Call, Identity, Visit, base_url_of, source_of
from qianfan_platform.web.envelopes import Json, answer, error_response, internal
from qianfan_platform.web.exchange import Exchange
from qianfan_platform.web.front import Front
from qianfan_platform.web.hot import HotRoute
from qianfan_platform.web.router import Entry, RawEntry, Router

if TYPE_CHECKING:
    from qianfan_platform.store import Store

log = logging.getLogger("qianfan_platform.web")

IDEMPOTENCY_HEADER = "idempotency-key"
ELSEWHERE = {  # paths that published clients know and this platform has no use for: why, and what to do instead
    "/v2/charge": ("nothing is sold here: models and services cost nothing", "leave the call out"),
    "/v2/memory": ("system memories are not kept here", "put what a model must know into `system`"),
}


def build_console(
    routers: Iterable[Router],
    *,
    store: Store,
    authenticate: Authenticate,
    platform: Any,
    hot: Sequence[HotRoute] = (),
    extra: Sequence[BaseRoute] = (),
    body_limit: int = bodies.DEFAULT_LIMIT,
) -> Front:
    """The application that answers every documented route.

    hot: routes that go before all others, such as those of inference and the token endpoint (see Front).
    extra: Starlette routes that go before those of the routers.
    body_limit: bytes of a JSON body. What no router answers says so (NOT_BUILT); it is never a 404."""
    routers = list(routers)
    entries = [entry for router in routers for entry in router.entries]
    raws = [raw for router in routers for raw in router.raws]
    console = _Console(store, authenticate, platform, body_limit)
    app = Starlette(exception_handlers={HTTPException: _unknown, Exception: _unexpected})
    app.router.redirect_slashes = False
    routes = app.router.routes
    routes.extend(Path(route.path, _never, methods=[*route.methods]) for route in hot)
    routes.extend(extra)
    routes.extend(Path(raw.path, partial(console.serve_raw, raw), methods=raw.methods) for raw in raws)

    by_path: dict[str, dict[str | None, Entry]] = {}
    for entry in [*entries, *_not_built(entries)]:
        by_path.setdefault(entry.route.path, {}).setdefault(entry.route.action, entry)
    taken = {(path, method) for path, methods in _served(routes) for method in methods}
    for path, actions in by_path.items():
        method = next(iter(actions.values())).route.method
        if (path, method) not in taken:
            routes.append(Path(path, partial(console.serve, actions), methods=[method]))

    @cache
    def document() -> dict[str, Any]:
        return openapi.document(entries, raws)

    routes.append(Path("/openapi.json", lambda request: Json(document()), methods=["GET"]))
    return Front(app, hot)


async def _never(request: Request) -> Response:
    """Stands for a hot route, so that other methods of its path are refused as such; the front door answers it."""
    raise AssertionError(f"{request.url.path} is a hot route")


def _served(routes: Iterable[BaseRoute]) -> Iterable[tuple[str, set[str]]]:
    for route in routes:
        if isinstance(route, Path):
            yield route.path, set(route.methods or ())


def _not_built(entries: Sequence[Entry]) -> Iterable[Entry]:
    """An entry for each documented route that nobody registered."""
    built = {entry.route for entry in entries}

    async def handler(route: Route, call: Call) -> Any:
        name = f"{route.path}?Action={route.action}" if route.action else route.path
        raise Fault(NOT_BUILT, f"{name} is not built yet")

    for route in vars(contract).values():
        if isinstance(route, Route) and route not in built:
            yield Entry(route, partial(handler, route), write=False)


class _Console:
    """What all console routes share."""

    def __init__(self, store: Store, authenticate: Authenticate, platform: Any, body_limit: int) -> None:
        self.store = store
        self.authenticate = authenticate
        self.platform = platform
        self.body_limit = body_limit

    async def serve(self, actions: dict[str | None, Entry], request: Request) -> Response:
        """Answer a console route: `actions` of one path, or the path alone under None."""
        exchange = exchange_of(request.scope)
        family = next(iter(actions.values())).route.family
        exchange.route = request.url.path

        async def work() -> Response:
            entry = _entry(actions, request)
            if entry.route.action:
                exchange.route = f"{entry.route.path}?Action={entry.route.action}"
            identity = await self._identity(exchange, family)
            raw = await exchange.read(self.body_limit)
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise Fault(CONSOLE_PARAMETER, f"{exchange.route} takes no form", "send one JSON object")
            return await self._call(entry, identity, request, bodies.parse(raw))

        return await _guarded(family, exchange.request_id, work)

    async def serve_raw(self, raw: RawEntry, request: Request) -> Response:
        """Answer a raw route: its handler streams by itself."""
        exchange = exchange_of(request.scope)
        exchange.route = raw.path

        async def work() -> Response:
            identity = None if raw.public else await self._identity(exchange, raw.family)
            result = await raw.handler(self._visit(identity, request))
            if isinstance(result, Response):
                return result
            return Json(answer(raw.family, result, exchange.request_id))

        return await _guarded(raw.family, exchange.request_id, work)

    async def _identity(self, exchange: Exchange, family: Family) -> Identity:
        identity = await self.authenticate(exchange, family)
        exchange.owner, exchange.app = identity.owner, identity.app
        return identity

    def _visit(self, identity: Identity | None, request: Request) -> Visit:
        return Visit(
            owner=identity.owner if identity else 0,
            app=identity.app if identity else "",
            kind=identity.kind if identity else "",
            query=dict(request.query_params),
            request_id=exchange_of(request.scope).request_id,
            source=source_of(request.headers),
            base_url=base_url_of(request),
            platform=self.platform,
            request=request,
        )

    async def _call(
        self, entry: Entry, identity: Identity, request: Request, sent: dict[str, Any]
    ) -> Response:
        source = source_of(request.headers, sent)
        body = bodies.check(entry.body, bodies.tidy(sent, entry.aliases), strict=entry.strict)
        visit = self._visit(identity, request)
        visit.source = source
        key = request.headers.get(IDEMPOTENCY_HEADER) if entry.write else None
        if key is not None and not 0 < len(key) <= idempotency.MAX_KEY:
            raise Fault(CONSOLE_PARAMETER, f"Idempotency-Key must have 1 to {idempotency.MAX_KEY} characters")

        async def once() -> Response:
            opened = self.store.transaction() if entry.write else self.store.reading()
            async with opened as tx:
                call = Call(**vars(visit), tx=tx, body=body, idempotency_key=key)
                if key is None:
                    result, again = await entry.handler(call), False
                else:
                    result, again = await idempotency.once(call, entry.route, entry.handler)
                # Written down before the commit: what cannot be answered is not kept either.
                response = Json(answer(entry.route.family, result, visit.request_id))
            if again:
                response.headers["Idempotency-Replayed"] = "true"
            return response

        if key is None:
            return await once()
        return await idempotency.redone(once)


def _entry(actions: dict[str | None, Entry], request: Request) -> Entry:
    if None in actions:
        return actions[None]
    named = request.query_params.getlist("Action")
    if len(named) > 1:
        raise Fault(CONSOLE_PARAMETER, "param[Action] invalid: the query names two actions", "name one")
    asked = named[0] if named else ""
    entry = actions.get(asked)
    if entry is None:
        known = ", ".join(sorted(name for name in actions if name))
        said = f"Action={asked[:64]} is unknown here" if asked else "the query names no Action"
        raise Fault(CONSOLE_PARAMETER, f"param[Action] invalid: {said}", f"{request.url.path} knows: {known}")
    return entry


async def _guarded(family: Family, request_id: str, work: Callable[[], Any]) -> Response:
    """The answer of `work`, or its error in the family's shape."""
    try:
        return await work()  # type: ignore[no-any-return]
    except Fault as fault:
        return error_response(family, fault, request_id)
    except Exception as error:
        if out_of_space(error):
            log.error("request %s: there is no space left for the database", request_id)
            full = "the disk of the platform is full; nothing was kept"
            return error_response(
                family, internal(family, full, "ask its operator to free space"), request_id
            )
        log.exception("request %s failed unexpectedly", request_id)
        return error_response(family, internal(family), request_id)


async def _unknown(request: Request, error: Exception) -> Response:
    """A path or method that no route answers."""
    path, request_id = request.url.path, exchange_of(request.scope).request_id
    family = family_of(path)
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        fault = Fault(WRONG_METHOD, f"{request.method} is not supported on {path[:200]}", f"use {allowed}")
    elif family == "inference":
        fault = Fault(UNSUPPORTED_METHOD)
    elif path in ELSEWHERE:
        fault = Fault(CONSOLE_PARAMETER, *ELSEWHERE[path])
    else:
        fault = Fault(NOT_FOUND, f"no route has the path {path[:200]}", "/openapi.json lists the routes")
        family = "openai" if family == "openai" else "v2"
    return error_response(family, fault, request_id)


async def _unexpected(request: Request, error: Exception) -> Response:
    request_id = exchange_of(request.scope).request_id
    log.error("request %s failed unexpectedly", request_id, exc_info=error)
    family = family_of(request.url.path)
    return error_response(family, internal(family), request_id)


def family_of(path: str) -> Family:
    """The family whose error shape a client of `path` reads."""
    if path.startswith(contract.INFERENCE_PREFIX):
        return "inference"
    for route in vars(contract).values():
        if isinstance(route, Route) and route.path == path:
            return route.family
    if path.startswith(("/v2/chat", "/v2/embeddings", "/v2/models", "/v2/completions")):
        return "openai"
    return "finetune" if path.startswith(contract.CONSOLE_PREFIX) else "v2"
