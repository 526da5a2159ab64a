"""Bringing a database to the newest tables, once, however many processes start at the same moment.

The whole upgrade is one transaction that begins with the lock (SQLite: BEGIN IMMEDIATE, PostgreSQL: a
transaction's advisory lock): it has happened, or it has not. Those who come second find nothing to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

WAIT_S = 120.0  # for another process that migrates
_LOCK_NUMBER = 0x71_69_61_6E_66_61_6E  # "qianfan": any constant that nobody else uses


class MadeByNewer(Exception):
    """The database has tables of a later version of this program."""


def config(connection: Connection, *, compares: bool = False) -> Config:
    """Alembic's configuration; nothing is read from a file. compares: with the tables of the rooms."""
    settings = Config()
    settings.set_main_option(
        "script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%")
    )
    settings.set_main_option("path_separator", "os")
    settings.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    settings.attributes.update(connection=connection, compares=compares)
    return settings


async def upgrade(address: URL, revision: str = "head") -> None:
    """Migrate the database at `address` (an async driver's). Raises MadeByNewer, or the driver's errors."""
    engine = create_async_engine(address, poolclass=NullPool)
    try:
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _on_connect)
            event.listen(engine.sync_engine, "begin", _on_begin)
            await _use_wal(engine)
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK_NUMBER})
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    try:
        command.upgrade(config(connection), revision)
    except CommandError as error:
        if "Can't locate revision" in str(error):
            raise MadeByNewer(
                "its tables are of a newer version; update open-qianfan, or restore a backup"
            ) from None
        raise


def downgrade(connection: Connection, revision: str) -> None:
    """Undo the migrations after `revision` ("base": all), and lose what their tables hold."""
    command.downgrade(config(connection), revision)


async def _use_wal(engine: AsyncEngine) -> None:
    """Switch the file to WAL, which it then keeps. SQLite does not wait for this by itself: ask again."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            async with engine.connect() as connection:
                driver = await connection.get_raw_connection()
                await driver.driver_connection.execute_fetchall("PRAGMA journal_mode=WAL")  # type: ignore[union-attr]
            return
        except (
            OperationalError,
            sqlite3.OperationalError,
        ) as error:  # the driver's own, asked past SQLAlchemy
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        await asyncio.sleep(0.05)


def _on_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(WAIT_S * 1000)}")
    cursor.execute("PRAGMA foreign_keys=OFF")  # a table that is built anew is dropped for a moment
    cursor.close()


def _on_begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
