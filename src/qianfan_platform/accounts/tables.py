"""Rows of accounts. Secrets are sealed by the vault; keys that need no reading back are kept as hashes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from qianfan_platform.store import Base, Row, utc_now


class Account(Base):
    """Owns everything else; its number stands in the `owner_id` of all rows."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(String(32), unique=True)  # 32 hex, as clients see it
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class App(Row):
    """An application: an API key and a secret key, for access tokens."""

    __tablename__ = "app"
    PREFIX = "app"

    name: Mapped[str] = mapped_column(String(64))
    ak: Mapped[str] = mapped_column(String(64), unique=True)
    sealed_sk: Mapped[str] = mapped_column(Text)


class AccessKey(Row):
    """An access key and its secret key, for signatures."""

    __tablename__ = "access_key"
    PREFIX = "ak"
    NOUN = "access key"

    access_key: Mapped[str] = mapped_column(String(64), unique=True)
    sealed_secret: Mapped[str] = mapped_column(Text)


class BearerKey(Row):
    """A long-lived bearer key; only its hash is kept."""

    __tablename__ = "bearer_key"
    PREFIX = "bk"
    NOUN = "bearer key"

    name: Mapped[str] = mapped_column(String(64))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256, hex
