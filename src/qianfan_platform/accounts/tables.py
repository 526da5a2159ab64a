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


class Usage(Base):
    """What one app used of one model on one day (UTC). `app` is "" for calls of the account's own keys."""

    __tablename__ = "usage"

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    app: Mapped[str] = mapped_column(String(20), primary_key=True)
    model: Mapped[str] = mapped_column(String(160), primary_key=True)  # the name that was asked
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)  # 2024-01-31
    service_id: Mapped[int | None] = mapped_column(default=None)
    requests: Mapped[int]
    failed: Mapped[int]  # of `requests`: ended with an error
    cut: Mapped[int]  # of `requests`: the reader left before the end
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]


class RateLimit(Base):
    """Limits of one account (`app` is "") or of one of its apps; null takes the default, 0 is no limit."""

    __tablename__ = "rate_limit"

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    app: Mapped[str] = mapped_column(String(20), primary_key=True)
    requests_per_second: Mapped[float | None] = mapped_column(default=None)
    requests_per_minute: Mapped[int | None] = mapped_column(default=None)
    tokens_per_minute: Mapped[int | None] = mapped_column(default=None)
    requests_per_day: Mapped[int | None] = mapped_column(default=None)
    total_tokens: Mapped[int | None] = mapped_column(default=None)


class FaultSwitch(Base):
    """An account whose calls may ask for faults with the header X-Qianfan-Fault."""

    __tablename__ = "fault_switch"

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    enabled: Mapped[bool] = mapped_column(default=False)
