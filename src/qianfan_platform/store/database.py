"""Opening the database, and its transactions.

SQLite: WAL mode, any number of readers beside one writer. A writer takes the lock when it begins (BEGIN
IMMEDIATE), never in the middle, so it cannot fail half-way because somebody else wrote. Writers of one process
queue at an asyncio lock, processes at SQLite's busy timeout. `synchronous=NORMAL`: a killed process loses
nothing; a power failure may lose the last moments, never the consistency.
PostgreSQL: READ COMMITTED, as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from qianfan.contract import errors
from qianfan.contract.errors import Fault

from . import migrate
from .transaction import Tx

BUSY_S = 30.0  # how long a writer waits for its turn


class DatabaseFailed(Exception):
    """The database cannot be opened. The text says which, why, and what to do; never the password."""


class Store:
    """The database of one process. Belongs to the event loop that opened it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.dialect: str = engine.dialect.name
        # Heard by `_on_begin` alone, so only by SQLite.
        self._writing = engine.execution_options(begin="BEGIN IMMEDIATE")
        self._turn = asyncio.Lock()  # SQLite has one writer
        self._writers: set[asyncio.Task[Any] | None] = set()

    @classmethod
    async def open(cls, url: str) -> Store:
        """Open `sqlite:///path` or `postgresql://user:password@host/name`, migrated to the newest tables.

        Several processes may open at once: one migrates, the others wait. Raises DatabaseFailed."""
        address = _address(url)
        try:
            await migrate.upgrade(address)
        except migrate.MadeByNewer as error:
            raise DatabaseFailed(f"{printable(address)}: {error}") from None
        except (DBAPIError, OSError) as error:
            reason = str(getattr(error, "orig", error)).strip().splitlines()
            raise DatabaseFailed(
                f"{printable(address)} cannot be opened: {reason[0] if reason else type(error).__name__}; "
                "check the address, that it runs, and that this user may write to it"
            ) from error
        if address.get_backend_name() == "sqlite":
            engine = create_async_engine(address, pool_size=8, max_overflow=24, hide_parameters=True)
            event.listen(engine.sync_engine, "connect", _on_connect)
            event.listen(engine.sync_engine, "begin", _on_begin)
        else:
            engine = create_async_engine(
                address, pool_size=8, max_overflow=24, pool_pre_ping=True, hide_parameters=True
            )
        return cls(engine)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """A transaction that writes: committed at the end, rolled back when the block raises.

        Raises Fault(UNAVAILABLE) when the turn to write did not come within 30 s, RuntimeError when this
        task has one open already (pass that `tx` on)."""
        me = asyncio.current_task()
        if me in self._writers:
            raise RuntimeError("this task has a transaction open already; pass its tx on")
        self._writers.add(me)
        try:
            if self.dialect == "sqlite":
                await self._take_turn()
            try:
                session = self._session(self._writing)
                try:
                    if self.dialect == "sqlite":
                        await _begin(session)
                    tx = Tx(self, session, writable=True)
                    yield tx
                    interrupted = await _finish(session.commit())
                except BaseException:
                    if (interrupted := await _finish(session.close())) is not None:
                        raise interrupted from None
                    raise
                # From here on there is no way back: a cancellation waits until all that follows is done.
                interrupted = await _finish(session.close()) or interrupted
            finally:
                if self.dialect == "sqlite":
                    self._turn.release()
        finally:
            self._writers.discard(me)
        interrupted = await _finish(tx.run_after_commit()) or interrupted
        if interrupted is not None:
            raise interrupted

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """A transaction that only reads; on SQLite it sees one unchanging state and waits for nobody."""
        async with self._session(self._engine) as session:
            yield Tx(self, session, writable=False)

    def _session(self, engine: AsyncEngine) -> AsyncSession:
        return AsyncSession(engine, expire_on_commit=False)

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(BUSY_S):
                await self._turn.acquire()
        except TimeoutError:
            raise _busy() from None


def out_of_space(error: BaseException) -> bool:
    """True when the database could not write for want of disk space."""
    said = str(error.orig) if isinstance(error, OperationalError) else ""
    return "disk is full" in said or "No space left on device" in said  # SQLite's words; PostgreSQL's


def printable(address: URL) -> str:
    """The address without user, password and options."""
    return URL.create(
        address.get_backend_name(), host=address.host, port=address.port, database=address.database
    ).render_as_string()


async def _begin(session: AsyncSession) -> None:
    try:
        await session.connection()
    except OperationalError as error:
        if "locked" in str(error.orig):
            raise _busy() from error
        raise


async def _finish(step: Coroutine[Any, Any, None]) -> asyncio.CancelledError | None:
    """Await `step` to its end even if this task is cancelled meanwhile, and return that cancellation.

    So a transaction is committed and what follows a commit is done, or neither."""
    task = asyncio.ensure_future(step)
    interrupted = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            interrupted = error
    task.result()
    return interrupted


def _busy() -> Fault:
    return Fault(errors.UNAVAILABLE, f"the database was busy with another write for {BUSY_S:g} s")


def _address(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise DatabaseFailed(_FORMS) from None
    backend = address.get_backend_name()
    if backend == "sqlite":
        if not address.database or address.database == ":memory:":
            raise DatabaseFailed(f"the database must be a file that outlives a connection; {_FORMS}")
        try:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseFailed(f"{printable(address)} cannot be opened: {error}") from None
        return address.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        return address.set(drivername="postgresql+psycopg")
    raise DatabaseFailed(f"there is no database of the kind {backend!r}; {_FORMS}")


_FORMS = "the address of a database reads sqlite:///path/to/file or postgresql://user:password@host:port/name"


def _on_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin by itself: `_on_begin` does
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={int(BUSY_S * 1000)}", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
