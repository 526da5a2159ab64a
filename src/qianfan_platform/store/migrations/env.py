"""How Alembic runs here: on the connection that `store.migrate` or `store.revise` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from qianfan_platform.store.registry import import_tables
from qianfan_platform.store.rows import Json, Status, UtcTime


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Migrations name plain types, so that they keep their meaning when ours change."""
    if kind == "type":
        if isinstance(item, Json):
            return "sa.Text()"
        if isinstance(item, UtcTime):
            return "sa.DateTime(timezone=True)"
        if isinstance(item, Status):
            return "sa.String()"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=import_tables() if context.config.attributes["compares"] else None,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
