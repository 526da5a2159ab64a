"""The HTTP client: options, and two ways to send. What sends is loaded when it is first used.

Redirects are not followed: a signed request must not travel on. What goes wrong becomes `ConnectionLost` or
`RequestTimeoutError`, in the same words for both ways."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from qianfan.config import SETTINGS, Config

from .call import Reply, Request

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .pool import Pool
    from .sync_client import SyncClient

USER_AGENT: Final = "open-qianfan"
POOLS: Final = 32  # sets of options that are kept at once
STALE_S: Final = 1.0  # a kept-alive connection that had been closed fails at once, a broken server later


_lock = Lock()  # held while clients are made


@dataclass(frozen=True)
class Options:
    """What connections are made with.

    idle_s: longest silence of the server within a stream, seconds; 0 = no limit. max_connections: 0 = no limit."""

    idle_s: float = 0.0
    connect_s: float = 10.0
    verify: bool = True
    ca_file: str | None = None
    proxy: str = ""
    max_connections: int = 0


def options_of(config: Config, idle_s: float, verify: bool | None = None) -> Options:
    """The options that settings ask for. The environment names further CA files, as other clients read them."""
    return _options(
        idle_s,
        config.CONNECT_TIMEOUT or SETTINGS["CONNECT_TIMEOUT"][1],
        config.SSL_VERIFICATION_ENABLED if verify is None else verify,
        config.SSL_CA_FILE,
        config.PROXY,
        config.MAX_CONNECTIONS,
    )


@lru_cache(maxsize=64)
def _options(
    idle_s: float, connect_s: float, verify: bool, ca_file: str | None, proxy: str, max_connections: int
) -> Options:
    ca_file = ca_file or os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return Options(idle_s, connect_s, verify, ca_file or None, proxy, max_connections)


class HttpClient:
    """Sends requests: `send` in the caller's thread, `asend` on the caller's event loop.

    pool: connections of `send` that are shared with other clients; None: its own."""

    def __init__(self, options: Options, pool: Pool | None = None) -> None:
        self._options = options
        self._pool = pool
        self._sync_client: SyncClient | None = None
        self._async_client: AsyncClient | None = None

    def send(self, request: Request) -> Reply:
        """Send, and wait for the answer, or for the start of a stream."""
        return (self._sync_client or self._sync()).send(request)

    async def asend(self, request: Request) -> Reply:
        """The same for an event loop."""
        return await (self._async_client or self._async()).send(request)

    def _sync(self) -> SyncClient:
        from .pool import Pool
        from .sync_client import SyncClient

        with _lock:
            if self._sync_client is None:
                pool = self._pool or Pool(self._options.max_connections)
                self._sync_client = SyncClient(self._options, pool)
            return self._sync_client

    def _async(self) -> AsyncClient:
        from .async_client import AsyncClient

        with _lock:
            if self._async_client is None:
                self._async_client = AsyncClient(self._options)
            return self._async_client


_clients: dict[Options, HttpClient] = {}
_pools: dict[tuple[object, ...], Pool] = {}
_of_parents: list[dict[Options, HttpClient]] = []  # kept: closing what pyreqwest runs would hang in a child


def client_for(options: Options) -> HttpClient:
    """The client for these options. Connections of `send` are shared by those that differ in their times only.

    A forked child has none of its parent's."""
    client = _clients.get(options)
    if client is None:
        from .pool import Pool

        shared = (options.verify, options.ca_file, options.proxy, options.max_connections)
        with _lock:
            pool = _pools.get(shared) or _pools.setdefault(shared, Pool(options.max_connections))
            client = _clients.get(options) or _clients.setdefault(options, HttpClient(options, pool))
            _drop_oldest(_clients)
            _drop_oldest(_pools)
    return client


def _drop_oldest(kept: dict[Any, Any]) -> None:
    while len(kept) > POOLS:
        del kept[next(iter(kept))]  # calls that use it go on


def _forget() -> None:
    global _clients, _pools, _lock
    for pool in _pools.values():
        pool.abandon()
    _of_parents.append(_clients)
    _clients, _pools, _lock = {}, {}, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
