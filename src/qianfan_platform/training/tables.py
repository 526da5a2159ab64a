"""Rows of fine-tuning. V1 calls the container a task and the run a job; V2 swaps the two words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import TrainStatus
from qianfan_platform.store import Base, Json, Row, UtcTime


class TrainTask(Row):
    """A container of runs: V1 task, V2 job."""

    __tablename__ = "train_task"
    PREFIX = "job"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    base_train_type: Mapped[str] = mapped_column(default="")
    train_type: Mapped[str] = mapped_column(default="")
    train_mode: Mapped[str] = mapped_column(default="SFT")
    preset: Mapped[Any] = mapped_column(Json, nullable=True)  # {peft, config} for runs that say nothing


class TrainRun(Row):
    """One run: V1 job, V2 task. What it was asked for, what it does, how it ended."""

    __tablename__ = "train_run"
    PREFIX = "task"

    task_id: Mapped[int] = mapped_column(ForeignKey("train_task.id"), index=True)
    ordinal: Mapped[int]  # within its container, from 1
    description: Mapped[str] = mapped_column(default="")
    base_train_type: Mapped[str]
    train_type: Mapped[str]
    train_mode: Mapped[str]
    peft_type: Mapped[str]  # V1 word: ALL, LoRA, P-tuning
    train_config: Mapped[Any] = mapped_column(Json)  # as sent, over what its container says
    trainset: Mapped[Any] = mapped_column(Json)  # int ids of datasets
    parts: Mapped[Any] = mapped_column(Json, nullable=True)  # which rows come from where: trainable.layout
    rates: Mapped[Any] = mapped_column(Json, nullable=True)  # samplingRate of each dataset; None: all 1
    corpus: Mapped[Any] = mapped_column(Json, nullable=True)  # corpusConfig as sent; nothing is mixed in here
    trainset_rate: Mapped[int]  # percent held out

    entry: Mapped[str]  # catalogue entry that really trains
    hyper: Mapped[Any] = mapped_column(Json)  # trainers.protocol.Hyper, resolved
    checkpoint_steps: Mapped[int | None]  # None: by time
    checkpoints_kept: Mapped[int] = mapped_column(default=2, server_default="2")
    seed: Mapped[int]
    threads: Mapped[int]
    dtype: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(index=True)  # equal for runs that would do the same
    resumes: Mapped[int | None]  # id of the stopped run whose last checkpoint this one starts from
    starts_from: Mapped[int | None]  # id of the finished run whose weights this one trains on other data
    starts_step: Mapped[int | None]  # of which of its checkpoints; None: the end of that run

    status: Mapped[str] = mapped_column(default=TrainStatus.Running.value)
    reason: Mapped[str] = mapped_column(default="")
    warnings: Mapped[Any] = mapped_column(Json, default=list)
    phase: Mapped[str] = mapped_column(default="waiting")
    live: Mapped[Any] = mapped_column(Json, default=dict)  # newest step, eval, plan and ledger
    job_id: Mapped[int | None]
    result_file: Mapped[str | None]
    files: Mapped[Any] = mapped_column(Json, nullable=True)  # what else is kept, name → file id
    estimate: Mapped[Any] = mapped_column(Json, nullable=True)  # told before step 1: estimates.Estimate
    happened: Mapped[Any] = mapped_column(Json, nullable=True)  # {seconds, memory_mib, steps} of a whole run
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)


class TrainLine(Base):
    """One line of a run's report: a log line, or a metric event. `n` counts from 1 in each run."""

    __tablename__ = "train_line"
    __table_args__ = (UniqueConstraint("run_id", "n"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("train_run.id"), index=True)
    n: Mapped[int]
    at: Mapped[datetime] = mapped_column(UtcTime)
    event: Mapped[Any] = mapped_column(Json)
