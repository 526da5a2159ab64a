"""Looks after the connections of a server: how many there are, how long each may take."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from qianfan_platform.web.front import Front
from qianfan_platform.web.protocol import Connection

log = logging.getLogger("qianfan_platform.web")

HEAD_S: Final = 10.0  # for a whole head, from its first byte; also for a connection that says nothing
BODY_IDLE_S: Final = 30.0  # between two pieces of a body
STALL_S: Final = 30.0  # a reader that takes nothing for so long is cut off
MOST: Final = 10_000  # connections; beyond, the one that idled longest makes room
SWEEP_S: Final = 1.0


class Keeper:
    """Looks after all connections of one server, whose requests `front` answers. most: connections; the others: seconds."""

    def __init__(
        self,
        front: Front,
        *,
        most: int = MOST,
        head_s: float = HEAD_S,
        body_idle_s: float = BODY_IDLE_S,
        stall_s: float = STALL_S,
    ) -> None:
        self.front = front
        self.most, self.head_s, self.body_idle_s, self.stall_s = most, head_s, body_idle_s, stall_s
        self.connections: dict[Connection, None] = {}  # in order of arrival
        self._timer: asyncio.TimerHandle | None = None
        self._told = 0.0
        self._dated: Any = None  # what `_date` was made of
        self._date = b""

    def date(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The line of the header `date`, which the server makes anew every second."""
        if headers is not self._dated:
            self._dated, self._date = headers, b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return self._date

    def connection(self, **given: Any) -> Connection:
        """A protocol for one connection; for `uvicorn.Config(http=keeper.connection)`."""
        return Connection(self, **given)

    def add(self, connection: Connection) -> None:
        """A client connected."""
        self.connections[connection] = None
        if len(self.connections) > self.most:
            self.make_room(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(SWEEP_S, self._sweep)

    def make_room(self, newest: Connection) -> None:
        """Close the idle connection that came first; the newest when none is idle."""
        loop = newest.loop
        if loop.time() - self._told > 60:
            self._told = loop.time()
            log.warning("%d connections are open, which is the most; idle ones are closed", self.most)
        idle = next((one for one in self.connections if one.idle() and one is not newest), newest)
        self.connections.pop(idle, None)
        idle.cut()

    def _sweep(self) -> None:
        self._timer = None
        connections = list(self.connections)
        if not connections:
            return
        loop = connections[0].loop
        now = loop.time()
        for connection in connections:
            connection.look(now)
        self._timer = loop.call_later(SWEEP_S, self._sweep)
