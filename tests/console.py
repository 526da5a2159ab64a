"""A console on a loopback port, for the tests of `web` and `accounts`: the server, a plain client, its tables."""

from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn

import qianfan_platform.accounts.tables
import qianfan_platform.web.tables  # noqa: F401  the tables to make
from qianfan_platform.store import Base, Store


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
async def serving(app: Any) -> AsyncIterator[Client]:
    """`app` behind a real server on a free loopback port."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    )
    # pytest hands its own handler to loggers that are shut, which would open this one again
    logging.getLogger("uvicorn.access").disabled = True
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


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
