"""What tables are made of: `Base`, `Row` and the column types, the same on SQLite and PostgreSQL.

Annotations pick the columns: `Mapped[int]` is 64 bits wide, `Mapped[datetime]` an aware moment in UTC,
`Mapped[dict[str, Any]]` and `Mapped[list[Any]]` are JSON. A status is `mapped_column(Status(TrainStatus))`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar

import orjson
from sqlalchemy import BigInteger, DateTime, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy.types import TypeDecorator

from qianfan.contract import ids

_RANDOM_LENGTH = 16  # of public ids whose prefix the contract does not list

# SQLite numbers its rows only in columns of the type INTEGER (which hold 64 bits there).
_WIDE = BigInteger().with_variant(Integer(), "sqlite")


def utc_now() -> datetime:
    """The moment by this process's clock, aware, in UTC."""
    return datetime.now(UTC)


class Json(TypeDecorator[Any]):
    """Any JSON value, kept as text. Assign a new value to change it: changes inside are not noticed."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. A naive one is refused: nobody knows which hour it means."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; use an aware datetime, such as utc_now()")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Status(TypeDecorator[Any]):
    """A member of `states`, kept as the text of its value; that text is taken for it as well."""

    impl = String
    cache_ok = True

    def __init__(self, states: type[Enum]) -> None:
        super().__init__()
        self.states = states
        self._by_text = {str(state.value): state for state in states}

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        text = str(value.value if isinstance(value, Enum) else value)
        if text not in self._by_text:
            raise ValueError(
                f"{value!r} is no state of {self.states.__name__}; it knows {list(self._by_text)}"
            )
        return text

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self._by_text[value]


class Base(DeclarativeBase):
    """All tables of the platform."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: _WIDE,
        datetime: UtcTime(),
        dict: Json(),
        list: Json(),
        dict[str, Any]: Json(),
        list[Any]: Json(),
        list[str]: Json(),
        list[int]: Json(),
        list[dict[str, Any]]: Json(),
    }

    @classmethod
    def __table_cls__(cls, *args: Any, **kwargs: Any) -> Table:
        # Without AUTOINCREMENT, SQLite gives the number of a deleted row to the next one.
        return Table(*args, sqlite_autoincrement=True, **kwargs)


class Row(Base):
    """A thing with a number, a public id, an owner (account number) and two moments.

    Subclasses set PREFIX (of the public id) and may set NOUN (how messages call it; default: the table)."""

    __abstract__ = True
    PREFIX: ClassVar[str]
    NOUN: ClassVar[str] = ""

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    owner_id: Mapped[int] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    modified_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    @declared_attr
    def public_id(cls) -> Mapped[str]:
        return mapped_column(String(40), unique=True, default=lambda: _new_public_id(cls.PREFIX))

    def __repr__(self) -> str:
        # Only the number: columns may hold what must not be printed.
        return f"<{type(self).__name__} {self.__dict__.get('id')}>"


def _new_public_id(prefix: str) -> str:
    if prefix in ids.LENGTHS:
        return ids.new_id(prefix)
    return f"{prefix}-{ids.random_word(_RANDOM_LENGTH)}"


def keep_modified(row: Row) -> None:
    """Leave `modified_at` as it is in the next write of `row`."""
    flag_modified(row, "modified_at")
