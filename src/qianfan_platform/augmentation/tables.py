"""Rows of augmentation: the task, each try of the model, and each sample that was read in a try."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import AugmentationStatus
from qianfan_platform.store import Base, Json, Row, UtcTime


class AugmentTask(Row):
    """One task: what it was asked for, and how far it is."""

    __tablename__ = "augment_task"
    PREFIX = "task"
    NOUN = "augmentation task"

    name: Mapped[str]
    source_id: Mapped[int] = mapped_column(index=True)
    target_id: Mapped[int] = mapped_column(index=True)
    service: Mapped[str]  # the endpoint or the model's name that is asked
    asked: Mapped[Any] = mapped_column(
        Json, default=dict
    )  # serviceName, serviceUrl, devApiId, appId, as sent
    few: Mapped[int]  # samples shown in one prompt
    wanted: Mapped[int]
    threshold: Mapped[float]
    entity_count: Mapped[int] = mapped_column(default=0)  # records of the source
    kept: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)  # that are judged
    status: Mapped[int] = mapped_column(default=AugmentationStatus.Created.value)
    reason: Mapped[str] = mapped_column(Text, default="")  # of a failure, or why there are fewer than wanted
    job_id: Mapped[int | None]
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)


class AugmentTry(Base):
    """What the model said to one prompt. There is one at most of each number, whatever was killed meanwhile."""

    __tablename__ = "augment_try"
    __table_args__ = (UniqueConstraint("task_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("augment_task.id", ondelete="CASCADE"))
    number: Mapped[int]  # from 0
    seeds: Mapped[Any] = mapped_column(Json, default=list)  # lines of the source that were shown, from 1
    words: Mapped[Any] = mapped_column(Json, default=list)  # that the new sample was to have
    said: Mapped[str] = mapped_column(Text, default="")
    cut: Mapped[bool] = mapped_column(default=False)  # it had more to say
    error: Mapped[str] = mapped_column(Text, default="")  # why nothing was said


class AugmentSample(Base):
    """One sample that was read in a try: kept, or dropped for a reason."""

    __tablename__ = "augment_sample"
    __table_args__ = (UniqueConstraint("task_id", "number", "place"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("augment_task.id", ondelete="CASCADE"))
    number: Mapped[int]  # of the try
    place: Mapped[int]  # in what was said, from 0
    prompt: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text, default="")
    why: Mapped[str] = mapped_column(default="")  # a word of `keeping`; "" when it is kept
    detail: Mapped[str] = mapped_column(Text, default="")
    score: Mapped[float] = mapped_column(default=0.0)  # the highest ROUGE-L that was found
    nearest: Mapped[str] = mapped_column(default="")  # what it is most like
