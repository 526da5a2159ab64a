"""Rows of batch inference: the task, and one answer for each line until they are all in the output."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import BatchInferenceStatus
from qianfan_platform.store import Base, Json, Row, UtcTime


class BatchTask(Row):
    """A model, named by a version or an endpoint, answers every line of `input_path`."""

    __tablename__ = "batch_task"
    PREFIX = "bi"
    NOUN = "batch inference"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    version_id: Mapped[int | None]
    endpoint: Mapped[str] = mapped_column(default="")
    model_name: Mapped[str]
    params: Mapped[Any] = mapped_column(Json, default=dict)
    input_path: Mapped[str]  # as it was sent
    output_path: Mapped[str]  # as it was sent: a folder of an object store, or bos:/local/ for this platform
    status: Mapped[str] = mapped_column(default=BatchInferenceStatus.Running.value)
    reason: Mapped[str] = mapped_column(default="")
    total: Mapped[int] = mapped_column(default=0)  # lines; 0 until they are counted
    answered: Mapped[int] = mapped_column(default=0)  # lines that have an answer, once it has ended
    output_file: Mapped[str | None]
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    job_id: Mapped[int | None]


class BatchAnswer(Base):
    """What came of a line. There is one at most, whatever was killed meanwhile."""

    __tablename__ = "batch_answer"
    __table_args__ = (UniqueConstraint("task_id", "line"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("batch_task.id", ondelete="CASCADE"))
    line: Mapped[int]  # from 0; empty lines do not count
    response: Mapped[Any] = mapped_column(Json)  # an entry of model_response
    failed: Mapped[bool]
