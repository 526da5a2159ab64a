"""Fixtures for everybody: a fresh database, once on SQLite and once on a real PostgreSQL.

Tests that are coroutines say `pytestmark = pytest.mark.anyio`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

_numbers = itertools.count(1)
_LONGEST_FIRST = ("test_demo.py", "test_killed_server.py", "test_training.py", "e2e", "contract")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that processes that share the files end at about the same time."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    parts = item.path.parts
    return next((at for at, name in enumerate(_LONGEST_FIRST) if name in parts), len(_LONGEST_FIRST))


_CACHE = tempfile.TemporaryDirectory(prefix="qianfan-cache-")  # goes with the process
os.environ["QIANFAN_CACHE_DIR"] = _CACHE.name  # trainers of tests are not kept in anybody's home


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address, without a database, of a PostgreSQL started for this session on a free loopback port."""
    programs = _programs()
    if programs is None:
        _cannot("there is no initdb; install PostgreSQL (apt-get install postgresql)")
    # PostgreSQL refuses to run as root; the package made it a user of its own.
    if os.getuid() == 0:
        user = next((one.pw_name for one in pwd.getpwall() if one.pw_name == "postgres"), None)
        if user is None:
            _cannot("PostgreSQL does not run as root, and there is no user postgres")
    else:
        user = None
    folder = Path(tempfile.mkdtemp(prefix="qianfan-pg-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        if user is not None:
            shutil.chown(folder, user)
        who: dict[str, Any] = {
            "cwd": folder,
            "user": user,
            "group": user,
            "extra_groups": [] if user else None,
        }
        made = subprocess.run(
            [
                programs / "initdb",
                "-D",
                folder / "data",
                "-A",
                "trust",
                "-U",
                "tester",
                "-E",
                "UTF8",
                "--no-sync",
            ],
            capture_output=True,
            text=True,
            **who,
        )
        if made.returncode != 0:
            _cannot(f"initdb failed: {made.stderr.strip()[-300:]}")
        port = _free_port()
        options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off"]
        with (folder.parent / f"{folder.name}.log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *options], stdout=log, stderr=log, **who
            )
        url = f"postgresql://tester@127.0.0.1:{port}"
        _wait_until_ready(url, server, Path(log.name))
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.log").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> str:
    """The address of the one database that the tests share: emptying it is quicker than making another."""
    from qianfan_platform.store import Store

    async def migrate(url: str) -> None:
        await (await Store.open(url)).close()

    url = _new_database(postgresql_server)
    asyncio.run(migrate(url))
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/platform.db"
    return _new_database(request.getfixturevalue("postgresql_server"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database; nothing is in its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/platform.db"
    url: str = request.getfixturevalue("postgresql_database")
    _empty(url)
    return url


@pytest.fixture
async def store(database_url: str, anyio_backend: str) -> AsyncIterator[Any]:
    """An open store with the newest tables, and nothing in them."""
    from qianfan_platform.store import Store

    store = await Store.open(database_url)
    try:
        yield store
    finally:
        await store.close()


def _empty(url: str) -> None:
    """Delete all rows and start the numbers anew; connections that killed processes left are cut first."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        tables = connection.execute(
            "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchone()
        assert tables is not None
        connection.execute(f"TRUNCATE {tables[0]} RESTART IDENTITY CASCADE".encode())


def _new_database(server: str) -> str:
    import psycopg

    name = f"test_{next(_numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{server}/{name}"


def _programs() -> Path | None:
    """The folder of initdb and postgres: on the path, or where Debian puts them, newest first."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda path: float(path.parts[-3]), reverse=True)
    return newest[0].parent if newest else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    until = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"{url}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > until:
                _cannot(f"PostgreSQL does not start: {error}; {log.read_text()[-500:]}")
            time.sleep(0.05)


def _cannot(why: str) -> Any:
    """Skip the tests on PostgreSQL, saying why; where CI=true they must run."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(why)
    pytest.skip(why)
