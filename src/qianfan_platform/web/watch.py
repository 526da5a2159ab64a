"""Noticing that the reader left, or that an answer takes too long; then the work on it is cancelled.

A reader that stopped reading is cut off by the protocol, and looks like one that left."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Final

from starlette.types import Receive, Scope

from qianfan_platform.web.access import trace_of

log = logging.getLogger("qianfan_platform.web")

GRACE_S: Final = 0.05  # work that ends within this is not watched: a task of its own would cost more
CUT: Final = (
    "qianfan.cut"  # in the scope: a function that ends the connection; graceful=True sends the rest first
)


class Left(Exception):
    """The client went away, or was cut off, before its answer was whole."""


class _Young:
    """Watches that began within the last GRACE_S: one timer for all of them, for timers cost more than this."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.watches: dict[Watch, None] = {}
        self._timed = False

    def add(self, watch: Watch) -> None:
        self.watches[watch] = None
        if not self._timed:
            self._timed = True
            self.loop.call_later(GRACE_S, self._grow)

    def _grow(self) -> None:
        self._timed = False
        grown, self.watches = self.watches, {}
        for watch in grown:
            watch.begin()


_young: _Young | None = None  # of the loop that runs


def _young_of(loop: asyncio.AbstractEventLoop) -> _Young:
    global _young
    if _young is None or _young.loop is not loop:
        _young = _Young(loop)
    return _young


class Watch:
    """While the block runs: cancel it when the client leaves, and raise Left in its place.

    After the trace's `total_s` seconds the connection is cut, and its reader sees an answer without an end. The
    body must have been read before."""

    __slots__ = (
        "_inside",
        "_left",
        "_loop",
        "_receive",
        "_scope",
        "_timer",
        "_watcher",
        "_young",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self._left = False
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Watch:
        self._inside = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._young = _young_of(self._loop)
        self._young.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is None:
            self._young.watches.pop(self, None)
        else:
            self._watcher.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if not self._left:
            return
        assert self._inside is not None
        if kind is None or issubclass(kind, asyncio.CancelledError):
            # Cancelled by us, perhaps after the last await: the wish must not hit what comes next.
            if self._inside.uncancel() == 0:
                raise Left from None
        else:
            self._inside.uncancel()

    def begin(self) -> None:
        """The work goes on for longer: look after it."""
        self._watcher = self._loop.create_task(self._wait())
        self._timer = self._loop.call_later(trace_of(self._scope).total_s, self._end)

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _end(self) -> None:
        trace = trace_of(self._scope)
        log.warning("request %s was cut after %g s", trace.request_id, trace.total_s)
        cut: Any = self._scope.get(CUT)
        if cut is not None:
            cut()
        self._leave()

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            assert self._inside is not None
            self._inside.cancel()
