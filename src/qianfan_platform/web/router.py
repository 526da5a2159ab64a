"""Routes of a room: what it answers, and with which body. `console` turns them into an application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from qianfan.contract.routes import Family, Route
from qianfan_platform.web.call import Call, Visit

Handler = Callable[[Call], Awaitable[Any]]
RawHandler = Callable[[Visit], Awaitable[Any]]
H = TypeVar("H", bound=Handler)
R = TypeVar("R", bound=RawHandler)


@dataclass(frozen=True)
class Entry:
    """A route and who answers it. `write` picks the kind of transaction; `strict` names unknown members."""

    route: Route
    handler: Handler
    body: Any = None
    write: bool = True
    strict: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawEntry:
    """A path whose handler reads and writes by itself. `public`: anyone may call it, owner is 0."""

    path: str
    methods: tuple[str, ...]
    family: Family
    handler: RawHandler
    public: bool = False


class Router:
    """The routes of one room.

    aliases: other spellings of members that published clients send, such as `{"maker": "marker"}`."""

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self.aliases = dict(aliases or {})
        self.entries: list[Entry] = []
        self.raws: list[RawEntry] = []

    def v1(
        self, route: Route, body: Any = None, write: bool = True, strict: bool = False
    ) -> Callable[[H], H]:
        """Register the handler of a V1 console route; it returns the `result`.

        body: a TypedDict, checked by pydantic; None takes any object. strict: refuse unknown members."""
        if route.family == "v2":
            raise ValueError(f"{route.path} is a V2 route; register it with v2")
        return self._add(route, body, write, strict)

    def v2(
        self, route: Route, body: Any = None, write: bool = True, strict: bool = False
    ) -> Callable[[H], H]:
        """Register the handler of a V2 route, an action on a path; it returns the `result`."""
        if route.family != "v2":
            raise ValueError(f"{route.path} is no V2 route; register it with v1")
        return self._add(route, body, write, strict)

    def raw(
        self, path: str, methods: Sequence[str] = ("POST",), *, family: Family = "v2", public: bool = False
    ) -> Callable[[R], R]:
        """Register a handler that streams: it gets a `Visit`, no transaction, and its own `request`.

        It returns a Response, or the `result` for the family's envelope. Faults are answered as elsewhere."""

        def register(handler: R) -> R:
            self.raws.append(RawEntry(path, tuple(methods), family, handler, public))
            return handler

        return register

    def _add(self, route: Route, body: Any, write: bool, strict: bool) -> Callable[[H], H]:
        if any(entry.route == route for entry in self.entries):
            raise ValueError(f"{route.path} {route.action or ''} is registered twice")

        def register(handler: H) -> H:
            self.entries.append(Entry(route, handler, body, write, strict, self.aliases))
            return handler

        return register
