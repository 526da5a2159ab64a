"""The database: rows, transactions, migrations. SQLite in WAL mode with one writer, or PostgreSQL.

An edge (a request, a job's step) opens one transaction; operations take it and never commit:

    store = await Store.open("sqlite:///data/platform.db")
    async with store.transaction() as tx:
        dataset = await tx.one(Dataset, "ds-4h2kz81mvq0pt6ce", owner=7)
        await tx.move(dataset, lifecycle.DATASET_IMPORT, DataImportStatus.Running)
        tx.after_commit(wake)

Tables are classes made of `Row` (things with an owner and a public id) or `Base` (anything else).
After a change of tables: `python -m qianfan_platform.store.revise "what changed"` writes the migration.
"""

from __future__ import annotations

from .database import DatabaseFailed, Store, out_of_space
from .rows import Base, Json, Row, Status, UtcTime, keep_modified, utc_now
from .transaction import Tx

__all__ = [
    "Base",
    "DatabaseFailed",
    "Json",
    "Row",
    "Status",
    "Store",
    "Tx",
    "UtcTime",
    "keep_modified",
    "out_of_space",
    "utc_now",
]
