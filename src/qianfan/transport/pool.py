"""Connections that wait for their next call, and the places of those that are open at once."""

from __future__ import annotations

import time
from collections import deque
from threading import TIMEOUT_MAX, Lock, RLock
from typing import Final, TypeAlias

from .connection import Connection

IDLE_S: Final = 60.0
KEPT: Final = 100  # connections kept at most, those in use not counted
Key: TypeAlias = tuple[str, int, object, bool]  # host, port, proxy, TLS


class Place:
    """The right to have one connection open. Given back by `leave`, or when nobody holds it any more."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def leave(self) -> None:
        """Give it back. More than once does no harm."""
        self._pool._left(self)

    __del__ = leave


class Pool:
    """Keeps up to 100 connections for 60 s, the latest used first. For many threads.

    most: connections that are open at once, in use and kept; 0 = any number. Who comes when all are in use
    waits in line."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._idle: dict[Key, list[Connection]] = {}
        self._taken: set[int] = set()  # ids of places: holding the places would keep them alive
        self._line: deque[tuple[Place, Lock]] = deque()
        self._lock = RLock()  # a place may be given back by the garbage collector in the middle of anything
        self._swept_at = time.monotonic()

    def take(self, key: Key, ends_at: float) -> Connection:
        """The connection used last, or one to be opened. TimeoutError when no place comes free until `ends_at`."""
        place = self._admitted(ends_at) if self.most > 0 else None
        with self._lock:
            kept = self._idle.get(key)
            if kept and time.monotonic() - kept[-1].kept_at > IDLE_S:
                _close(kept)
            connection = kept.pop() if kept else Connection(key)
            if place is not None and not connection.is_open:
                self._make_room()
        connection.place = place
        return connection

    def keep(self, connection: Connection) -> None:
        """Take a connection back that is ready for another call."""
        now = connection.kept_at = time.monotonic()
        place, connection.place = connection.place, None
        with self._lock:
            self._idle.setdefault(connection.key, []).append(connection)
            if place is not None:
                place.leave()
            if self._count() > KEPT:
                self._close_oldest()
        if now - self._swept_at > IDLE_S:
            self._sweep(now)

    def forget(self, key: Key) -> None:
        """Close what is kept for a server that has hung up: it may have left the others as well."""
        with self._lock:
            _close(self._idle.pop(key, []))

    def abandon(self) -> None:
        """In a forked child: leave the parent's connections to the parent. No lock, for its owner may be gone."""
        for kept in self._idle.values():
            _close(kept)

    def _admitted(self, ends_at: float) -> Place:
        place, gate = Place(self), Lock()
        with self._lock:
            if not self._line and self._enter(place):
                return place
            gate.acquire()
            self._line.append((place, gate))
        try:
            gate.acquire(timeout=min(max(ends_at - time.monotonic(), 0), TIMEOUT_MAX))
        finally:
            with self._lock:
                if (place, gate) in self._line:
                    self._line.remove((place, gate))
        if id(place) not in self._taken:
            raise TimeoutError("no place came free")
        return place

    def _enter(self, place: Place) -> bool:
        self._taken.add(id(place))  # before it is asked whether there is room: one may come back in between
        if len(self._taken) > self.most:
            self._taken.discard(id(place))
            return False
        return True

    def _left(self, place: Place) -> None:
        self._taken.discard(id(place))
        if self._line:
            with self._lock:
                while self._line and self._enter(self._line[0][0]):
                    self._line.popleft()[1].release()

    def _make_room(self) -> None:
        """Close those kept longest, until a place that was taken is one that may be opened."""
        while (count := self._count()) and count + len(self._taken) > self.most:
            self._close_oldest()

    def _count(self) -> int:
        return sum(map(len, self._idle.values()))

    def _close_oldest(self) -> None:
        kept = min((kept for kept in self._idle.values() if kept), key=lambda kept: kept[0].kept_at)
        kept.pop(0).close()

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        with self._lock:
            for key, kept in list(self._idle.items()):
                while kept and now - kept[0].kept_at > IDLE_S:
                    kept.pop(0).close()
                if not kept:
                    del self._idle[key]


def _close(kept: list[Connection]) -> None:
    while kept:
        kept.pop().close()
