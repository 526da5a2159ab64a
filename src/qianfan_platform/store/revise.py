"""Write the migration that leads from the last revision to the tables as the rooms declare them now.

python -m qianfan_platform.store.revise "what changed"
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from . import migrate
from .registry import import_tables


def drift(connection: Connection) -> list[object]:
    """What differs between the database at head and the declared tables; empty when nothing does."""
    migration = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(migration, import_tables()))


def _write(connection: Connection, message: str) -> Path | None:
    if not drift(connection):
        return None
    config = migrate.config(connection, compares=True)
    number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
    script = command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
    assert script is not None
    assert not isinstance(script, list)
    return Path(script.path)


async def revise(message: str) -> Path | None:
    """Write the next revision and return its path; None when there is nothing to write."""
    with tempfile.TemporaryDirectory() as folder:
        address = make_url(f"sqlite+aiosqlite:///{folder}/fresh.db")
        await migrate.upgrade(address)
        engine = create_async_engine(address)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_write, message)
        finally:
            await engine.dispose()


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 2 when the message is missing."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    path = asyncio.run(revise(arguments[0]))
    if path is None:
        print("the migrations have all tables already; nothing written")
        return 0
    ruff = Path(sys.executable).with_name("ruff")
    if ruff.exists():
        subprocess.run([ruff, "check", "--fix", "--quiet", path], check=False)
        subprocess.run([ruff, "format", "--quiet", path], check=False)
    print(f"wrote {path.name}: read it, it is yours now")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
