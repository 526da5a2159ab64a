"""Rows of cleaning tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import ETLTaskStatus
from qianfan_platform.store import Json, Row, UtcTime


class CleaningTask(Row):
    """One task: what it was asked for, and what its operators did."""

    __tablename__ = "cleaning_task"
    PREFIX = "task"
    NOUN = "cleaning task"

    name: Mapped[str] = mapped_column(default="")
    source_id: Mapped[int] = mapped_column(index=True)
    target_id: Mapped[int] = mapped_column(index=True)
    stages: Mapped[Any] = mapped_column(Json)  # operationsV2, as sent
    entity_count: Mapped[int] = mapped_column(default=0)  # texts of the source
    done: Mapped[int] = mapped_column(default=0)  # texts looked at so far
    remaining: Mapped[int] = mapped_column(default=0)
    funnel: Mapped[Any] = mapped_column(Json, default=list)  # pipeline.funnel()
    status: Mapped[int] = mapped_column(default=ETLTaskStatus.Running.value)
    reason: Mapped[str] = mapped_column(Text, default="")
    job_id: Mapped[int | None]
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
