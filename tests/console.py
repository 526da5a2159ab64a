"""A console on a loopback port, for the tests of `web` and `accounts`: the server, a plain client, its tables."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

import qianfan_platform.accounts.tables
import qianfan_platform.web.tables  # noqa: F401  the tables to make
from qianfan_platform.store import Base, Store
from qianfan_platform.web.front import Front
from qianfan_platform.web.keeper import Keeper
from qianfan_platform.web.protocol import Connection


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `headers` in lower case."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)


@dataclass(frozen=True)
class Client:
    """Asks the server on `port` by the plainest client there is."""

    port: int

    async def ask(self, path: str, body: Any = b"", method: str = "POST", **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return await asyncio.to_thread(self._ask, method, path, raw, headers)

    def _ask(self, method: str, path: str, raw: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, raw, {k.replace("__", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)
        finally:
            connection.close()


@asynccontextmanager
async def serving(app: Front) -> AsyncIterator[Client]:
    """`app`, a front door, behind a real server on a free loopback port."""
    http: Any = Keeper(app).connection
    server = uvicorn.Server(
        uvicorn.Config(app.app, http=http, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


class Wire(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


def connected(front: Front) -> tuple[Connection, Wire]:
    """A connection to `front` whose transport keeps what is written."""
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    config = uvicorn.Config(front.app, log_config=None, lifespan="off")
    connection = Keeper(front).connection(config=config, server_state=state, app_state={})
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


async def heard(connection: Connection, raw: bytes) -> None:
    """Give a connection what came for it as a transport does: in no task. Returns when its work is over."""
    loop = asyncio.get_running_loop()
    loop.call_soon(connection.data_received, raw)
    await asyncio.sleep(0)
    await over(connection)


async def over(connection: Connection) -> None:
    """Wait for the end of the work on the newest request."""
    exchange = connection._newest
    assert exchange is not None
    if exchange.task is not None:
        await exchange.task


async def make_tables(store: Store) -> None:
    async with store._engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


@pytest.fixture
def serve() -> Callable[[Any], Any]:
    return serving


@pytest.fixture
async def small_store(tmp_path: Path) -> AsyncIterator[Store]:
    """SQLite, with the tables of the imported rooms."""
    store = await Store.open(f"sqlite:///{tmp_path}/web.db")
    await make_tables(store)
    yield store
    await store.close()


@pytest.fixture
async def both_stores(store: Store) -> Store:
    """SQLite and PostgreSQL, with the tables of the imported rooms."""
    await make_tables(store)
    return store
