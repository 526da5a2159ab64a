"""The database is brought to the newest tables, once, and the migrations say what the rooms declare."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from qianfan_platform.store import DatabaseFailed, Store, migrate, revise

pytestmark = pytest.mark.anyio

OPEN = """
import asyncio, sys
from qianfan_platform.store import Store
async def main():
    store = await Store.open(sys.argv[1])
    await store.close()
asyncio.run(main())
"""


async def test_migrations_and_tables_say_the_same(empty_database_url: str) -> None:
    """When this fails: python -m qianfan_platform.store.revise "what changed"."""
    store = await Store.open(empty_database_url)
    async with store.reading() as tx:
        connection = await tx.session.connection()
        differences = await connection.run_sync(revise.drift)
    await store.close()
    assert differences == []


def test_a_drift_is_noticed(tmp_path: object) -> None:
    """The test above can fail: a table that is gone is a difference."""

    async def look() -> list[object]:
        url = f"sqlite:///{tmp_path}/platform.db"
        store = await Store.open(url)
        async with store.transaction() as tx:
            await tx.execute(text("DROP TABLE job_step"))
        async with store.reading() as tx:
            found = await (await tx.session.connection()).run_sync(revise.drift)
        await store.close()
        return found

    assert [change[0] for change in asyncio.run(look())] == ["add_table"]  # type: ignore[index]


def test_several_processes_may_open_at_once(empty_database_url: str) -> None:
    """One migrates, the others wait for it; none fails."""
    openers = [
        subprocess.Popen([sys.executable, "-c", OPEN, empty_database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ends = [opener.communicate(timeout=60)[1] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 3, ends


async def test_several_tasks_may_open_at_once(empty_database_url: str) -> None:
    """The lock holds within one process as well."""
    for store in await asyncio.gather(*(Store.open(empty_database_url) for _ in range(4))):
        async with store.reading() as tx:
            assert (await tx.execute(text("SELECT count(*) FROM alembic_version"))).scalar_one() == 1
        await store.close()


async def test_a_database_of_a_newer_version_is_left_alone(empty_database_url: str) -> None:
    """An old program does not touch tables it does not know."""
    store = await Store.open(empty_database_url)
    async with store.transaction() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    with pytest.raises(DatabaseFailed, match="newer version; update open-qianfan"):
        await Store.open(empty_database_url)


async def test_the_way_back_removes_every_table(empty_database_url: str) -> None:
    """Each migration can be undone."""
    store = await Store.open(empty_database_url)
    await store.close()
    address = make_url(empty_database_url)
    driver = "sqlite+aiosqlite" if address.get_backend_name() == "sqlite" else "postgresql+psycopg"
    engine = create_async_engine(address.set(drivername=driver))
    async with engine.begin() as connection:
        await connection.run_sync(migrate.downgrade, "base")
        schema = "sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if engine.dialect.name == "postgresql":
            schema = "pg_tables WHERE schemaname = 'public'"
        assert (await connection.execute(text(f"SELECT count(*) FROM {schema}"))).scalar_one() == 1
    await engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "outlives a connection"),
        ("sqlite:///:memory:", "outlives a connection"),
        ("mysql://root:hush@localhost/x", "no database of the kind 'mysql'"),
        ("not a url with hush", "sqlite:///path/to/file"),
        ("postgresql://me:hush@127.0.0.1:9/qianfan?password=hush", "postgresql://127.0.0.1:9/qianfan cannot"),
        ("sqlite:////dev/null/hush.db", "cannot be opened"),
    ],
)
async def test_an_address_that_cannot_be_opened_is_explained(url: str, says: str) -> None:
    """The text says what to write instead, and holds no password."""
    with pytest.raises(DatabaseFailed, match=says) as failed:
        await Store.open(url)
    if "dev/null" not in url:
        assert "hush" not in str(failed.value)
