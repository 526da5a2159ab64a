"""What operations do with the database: one open transaction, and the few verbs they need."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import ColumnElement, Integer, Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from qianfan.contract import errors, ids
from qianfan.contract.errors import ErrorRow, Fault
from qianfan.contract.lifecycle import Lifecycle

from .rows import Base, Row, Status, utc_now

if TYPE_CHECKING:
    from .database import Store

logger = logging.getLogger(__name__)

B = TypeVar("B", bound=Base)
R = TypeVar("R", bound=Row)
_LARGEST = 2**63 - 1


class Tx:
    """An open transaction. It is committed, or rolled back on an error, where it was opened."""

    def __init__(self, store: Store, session: AsyncSession, *, writable: bool) -> None:
        self.store = store
        self.session = session
        self.writable = writable
        self._after: list[Callable[[], Any]] = []

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    async def one(
        self,
        table: type[R],
        ident: object,
        *,
        owner: int | None = None,
        missing: ErrorRow = errors.NOT_FOUND,
        noun: str = "",
        lock: bool = False,
    ) -> R:
        """The row with this number, numeric text or public id.

        lock: on PostgreSQL nobody else changes the row until the end (SQLite has one writer anyway).
        Raises Fault(missing, "dataset 7 does not exist") alike for a missing row and another owner's."""
        number = ids.as_number(ident)
        row: R | None = None
        if number is not None:
            if 0 <= number <= _LARGEST:
                row = await self.maybe(table, table.id == number, owner=owner, lock=lock)
        elif isinstance(ident, str) and "\0" not in ident:
            row = await self.maybe(table, table.public_id == ident, owner=owner, lock=lock)
        if row is None:
            raise Fault(missing, f"{noun or _noun(table)} {str(ident)[:60]} does not exist")
        return row

    async def maybe(
        self, table: type[B], *where: ColumnElement[bool], owner: int | None = None, lock: bool = False
    ) -> B | None:
        """The first row that fits, or None."""
        query = _query(table, where, owner).limit(1)
        if lock:
            query = query.with_for_update()
        return (await self.session.scalars(query, execution_options=_FRESH)).first()

    async def find(
        self,
        table: type[B],
        *where: ColumnElement[bool],
        owner: int | None = None,
        order_by: Any = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[B]:
        """All rows that fit. order_by: a column, `column.desc()`, or a tuple of them; default: the number."""
        query = _query(table, where, owner)
        if order_by is None:
            query = query.order_by(*table.__table__.primary_key)
        else:
            query = query.order_by(*(order_by if isinstance(order_by, (tuple, list)) else (order_by,)))
        query = query.limit(limit).offset(offset)
        return list(await self.session.scalars(query, execution_options=_FRESH))

    async def count(self, table: type[B], *where: ColumnElement[bool], owner: int | None = None) -> int:
        """How many rows fit."""
        query = _query(table, where, owner, select(func.count()).select_from(table))
        return int((await self.session.execute(query)).scalar_one())

    async def now(self) -> datetime:
        """The moment by the one clock that all processes of this database share, in UTC.

        PostgreSQL's own; with SQLite all are on one machine."""
        if self.store.dialect == "sqlite":
            return utc_now()
        return cast(datetime, (await self.session.execute(select(func.clock_timestamp()))).scalar_one())

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    async def add(self, row: B) -> B:
        """Insert `row`; its number and public id are set afterwards."""
        self._must_write()
        self.session.add(row)
        await self.session.flush()
        return row

    async def add_unique(self, row: B, taken: Fault) -> B:
        """Insert `row`; raises `taken` where a unique column holds its value already."""
        try:
            async with self.session.begin_nested():
                return await self.add(row)
        except IntegrityError:
            raise taken from None

    async def move(
        self, row: R, lifecycle: Lifecycle, to: Enum, *, field: str = "status", **values: Any
    ) -> R:
        """Let `row` become `to` if the lifecycle allows it now, by one UPDATE; set `values` with it.

        Raises Fault(WRONG_STATE, "training run 7 is Done and cannot become Fail; only Running can")."""
        self._must_write()
        table = type(row)
        column = getattr(table, field)
        await self.session.flush()
        before = sorted(lifecycle.before(to), key=_word)
        done = await self.session.execute(
            update(table)
            .where(table.id == row.id, column.in_([_stored(column, state) for state in before]))
            .values({field: _stored(column, to), **values}),
            execution_options={"synchronize_session": False},
        )
        if done.rowcount == 1:  # type: ignore[attr-defined]
            await self.session.refresh(row)
            return row
        found = (await self.session.execute(select(column).where(table.id == row.id))).one_or_none()
        if found is None:
            raise Fault(errors.NOT_FOUND, f"{lifecycle.noun} {row.id} does not exist")
        now = next((_word(s) for s in lifecycle.moves if _stored(column, s) == _plain(found[0])), found[0])
        only = f"only {' or '.join(_word(state) for state in before)} can" if before else "nothing can"
        raise Fault(
            errors.WRONG_STATE, f"{lifecycle.noun} {row.id} is {now} and cannot become {_word(to)}; {only}"
        )

    async def delete(self, row: Base) -> None:
        """Delete `row`."""
        self._must_write()
        await self.session.delete(row)
        await self.session.flush()

    async def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Run any statement of SQLAlchemy; returns its Result."""
        if getattr(statement, "is_dml", False):
            self._must_write()
        return await self.session.execute(statement, params, **options)

    def after_commit(self, action: Callable[[], Any]) -> None:
        """Call `action` (a function or a coroutine function) when this transaction has been committed.

        One that fails is logged: what was committed stays committed."""
        self._after.append(action)

    async def run_after_commit(self) -> None:
        """Called by the store, once, when the commit has succeeded."""
        for action in self._after:
            try:
                result = action()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logger.exception("an action after a commit failed; the commit stands")

    def _must_write(self) -> None:
        if not self.writable:
            raise RuntimeError("this transaction only reads; open it with store.transaction() to write")


# A row that is in the session already is read anew: another process may have changed it.
_FRESH = {"populate_existing": True}


def _query(
    table: type[Base],
    where: tuple[ColumnElement[bool], ...],
    owner: int | None,
    query: Select[Any] | None = None,
) -> Select[Any]:
    query = (select(table) if query is None else query).where(*where)
    return query if owner is None else query.where(cast(type[Row], table).owner_id == owner)


def _noun(table: type[Row]) -> str:
    return table.NOUN or table.__tablename__.replace("_", " ")


def _word(state: Enum) -> str:
    """How messages call a state: its value, or its name where the value is a bare number."""
    return state.value if isinstance(state.value, str) else state.name


def _stored(column: Any, state: Enum) -> str | int:
    """What the column holds for `state`: the text of its value (the number in an integer column)."""
    if isinstance(column.type, Integer) and not isinstance(column.type, Status):
        return int(state.value)
    return str(state.value)


def _plain(value: Any) -> Any:
    return str(value.value) if isinstance(value, Enum) else value
