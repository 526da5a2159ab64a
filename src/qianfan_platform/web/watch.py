"""Noticing that the reader left, or that an answer takes too long; then the work on it is cancelled.

The server's connection tells both to the Watch of its answer (`web.protocol`), at no cost to those who stay. A
reader that stopped reading is cut off by the connection, and looks like one that left. Under another ASGI server
a task of its own waits for the end of the connection.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Final, Protocol

from starlette.types import Receive, Scope

from qianfan_platform.web.access import trace_of

log = logging.getLogger("qianfan_platform.web")

LINE: Final = "qianfan.line"  # in the scope: the connection, where it is one of this server


class Left(Exception):
    """The client went away, or was cut off, before its answer was whole."""


class Line(Protocol):
    """What a Watch needs of the connection.

    task: the one that answers now. watch: whom to tell when the reader leaves. lost: it has left."""

    task: asyncio.Task[None] | None
    watch: Watch | None
    lost: bool

    def cut(self, *, graceful: bool = False) -> None:
        """End the connection. graceful: what was written still goes out."""


class Watch:
    """While the block runs: cancel it when the client leaves, and raise Left in its place.

    After the trace's `total_s` seconds, to the second, the connection is cut, and its reader sees an answer without
    an end. The body must have been read before."""

    __slots__ = ("_inside", "_left", "_line", "_receive", "_scope", "_since", "_watcher")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self._left = False
        self._line: Line | None = scope.get(LINE)
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Watch:
        line = self._line
        self._since = asyncio.get_running_loop().time()
        if line is None:
            self._inside = asyncio.current_task()
            self._watcher = asyncio.create_task(self._wait())
            return self
        self._inside, line.watch = line.task, self
        if line.lost:
            self.leave()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.watch = None
        elif self._watcher is not None:
            self._watcher.cancel()
        if not self._left:
            return
        assert self._inside is not None
        if kind is None or issubclass(kind, asyncio.CancelledError):
            # Cancelled by us, perhaps after the last await: the wish must not hit what comes next.
            if self._inside.uncancel() == 0:
                raise Left from None
        else:
            self._inside.uncancel()

    def look(self, now: float) -> None:
        """Cut the connection when the answer has taken too long. now: the loop's time."""
        trace = trace_of(self._scope)
        if now - self._since <= trace.total_s or self._left:
            return
        log.warning("request %s was cut after %g s", trace.request_id, trace.total_s)
        if self._line is not None:
            self._line.cut()
        self.leave()

    def leave(self) -> None:
        """The reader is gone: cancel the work."""
        if not self._left:
            self._left = True
            assert self._inside is not None
            self._inside.cancel()

    async def _wait(self) -> None:
        loop: Any = asyncio.get_running_loop()
        timer = loop.call_later(trace_of(self._scope).total_s, lambda: self.look(loop.time() + 1))
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.leave()
        finally:
            timer.cancel()
