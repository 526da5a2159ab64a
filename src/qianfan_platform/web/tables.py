"""Rows of web: the first answers of writes that came with an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from qianfan_platform.store import Base


class FirstAnswer(Base):
    """What a write under a key was answered. Kept for 24 hours."""

    __tablename__ = "first_answer"

    owner_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    route: Mapped[str] = mapped_column(String(160), primary_key=True)  # path, and ?Action=… on V2
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    result: Mapped[str | None] = mapped_column(Text)  # JSON; None only inside the transaction of the work
    created_at: Mapped[datetime] = mapped_column(index=True)
