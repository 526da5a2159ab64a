"""The rows of durable work: a job and the steps of it that are finished."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from qianfan_platform.store import Base, Json, Row, Status


class JobState(StrEnum):
    Waiting = "waiting"
    Running = "running"
    Done = "done"
    Failed = "failed"
    Cancelled = "cancelled"


_UNFINISHED = text("state IN ('waiting', 'running')")


class Job(Row):
    """One piece of work. The diagram of its states is in `qianfan_platform.jobs`."""

    __tablename__ = "job"
    PREFIX: ClassVar[str] = "work"
    __table_args__ = (
        Index("ix_job_slot_state_run_after", "slot", "state", "run_after"),
        Index("ix_job_state_lease_until", "state", "lease_until"),
        Index(
            "uq_job_key_unfinished",
            "owner_id",
            "kind",
            "key",
            unique=True,
            sqlite_where=_UNFINISHED,
            postgresql_where=_UNFINISHED,
        ),
    )

    kind: Mapped[str]  # "training.run"
    key: Mapped[str | None]  # of the unfinished jobs of one owner and kind, one may have this key
    args: Mapped[dict[str, Any]]
    slot: Mapped[str]  # which queue: "general", "train", "serve"
    state: Mapped[JobState] = mapped_column(Status(JobState), default=JobState.Waiting)
    attempts: Mapped[int] = mapped_column(default=0)  # times the handler itself failed
    lease_until: Mapped[datetime | None]  # while running: afterwards anybody may claim the job
    fence: Mapped[int] = mapped_column(
        default=0
    )  # grows with each claim; a step is kept only under the newest
    worker: Mapped[str] = mapped_column(default="")
    run_after: Mapped[datetime]
    error: Mapped[str] = mapped_column(default="")
    finished_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)


class JobStep(Base):
    """A finished step and its result, which is read back when the job is run again after a crash."""

    __tablename__ = "job_step"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"))
    name: Mapped[str]
    position: Mapped[int]  # 0 for the first step of the job
    result: Mapped[Any] = mapped_column(Json, nullable=True)
    finished_at: Mapped[datetime]
