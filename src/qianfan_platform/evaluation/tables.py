"""Rows of evaluations: the task, the versions it compares, one answer for each turn of the dataset, and exports."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import EvaluationResultExportTaskStatus, EvaluationTaskStatus
from qianfan_platform.store import Base, Json, Row


class Evaluation(Row):
    """One task. `content_file` is the dataset as it was when the task was made: later imports change nothing."""

    __tablename__ = "evaluation"
    PREFIX = "ame"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    dataset_id: Mapped[int] = mapped_column(index=True)
    content_file: Mapped[str]
    conf: Mapped[Any] = mapped_column(Json, default=dict)  # evalStandardConf, checked and completed
    compute: Mapped[Any] = mapped_column(Json, default=dict)  # computeResourceConf, as it was sent
    status: Mapped[str] = mapped_column(default=EvaluationTaskStatus.Pending.value)
    reason: Mapped[str] = mapped_column(default="")
    total: Mapped[int] = mapped_column(default=0)  # turns to answer, of all versions
    result_dataset_id: Mapped[int | None]
    storage: Mapped[Any] = mapped_column(Json, nullable=True)  # of it: [bucket, folder], null for our own
    job_id: Mapped[int | None]


class EvalUnit(Base):
    """One version, or one service, in a task. `metrics` is its effectMetric, once it is known."""

    __tablename__ = "eval_unit"
    __table_args__ = (UniqueConstraint("evaluation_id", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"))
    ordinal: Mapped[int]  # from 0, as sent
    version_id: Mapped[int | None]
    model_id: Mapped[int | None]
    endpoint: Mapped[str] = mapped_column(default="")  # of a service or a preset, in place of a version
    model_name: Mapped[str]
    model_version: Mapped[str] = mapped_column(default="")
    params: Mapped[Any] = mapped_column(Json, default=dict)
    prefix: Mapped[str] = mapped_column(default="")  # a text with {input}
    status: Mapped[str] = mapped_column(default=EvaluationTaskStatus.Pending.value)
    message: Mapped[str] = mapped_column(default="")
    metrics: Mapped[Any] = mapped_column(Json, default=dict)


class EvalAnswer(Base):
    """What a unit answered to one turn of one row. There is one at most, whatever was killed meanwhile.

    error: why there is no answer, "" when there is. judge_score: -1 when the judge gave none."""

    __tablename__ = "eval_answer"
    __table_args__ = (UniqueConstraint("unit_id", "line", "turn"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    unit_id: Mapped[int] = mapped_column(ForeignKey("eval_unit.id", ondelete="CASCADE"))
    line: Mapped[int]  # row of the dataset, from 0
    turn: Mapped[int]  # in the row, from 0
    content: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="")
    finish_reason: Mapped[str] = mapped_column(default="")
    first_token_s: Mapped[float | None]
    latency_s: Mapped[float] = mapped_column(default=0.0)  # from asking to the last token, waiting included
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    scores: Mapped[Any] = mapped_column(Json, nullable=True)  # {metric: 0–1}, once scored by rules
    judge_score: Mapped[float | None]
    judge_reason: Mapped[str] = mapped_column(default="")
    manual: Mapped[Any] = mapped_column(
        Json, nullable=True
    )  # {dimension: score}, once people gave all of them
    manual_note: Mapped[str | None]


class EvalExport(Row):
    """Results written out, as CSV and as a zip with data.jsonl: which one a client gets, its version decides."""

    __tablename__ = "eval_export"
    PREFIX = "amemt"

    evaluation_id: Mapped[int] = mapped_column(ForeignKey("evaluation.id", ondelete="CASCADE"), index=True)
    content: Mapped[Any] = mapped_column(Json, default=list)  # prompt, prediction, completion, metrics
    only: Mapped[Any] = mapped_column(Json, nullable=True)  # numbers of answers; null: all
    status: Mapped[str] = mapped_column(default=EvaluationResultExportTaskStatus.Pending.value)
    reason: Mapped[str] = mapped_column(default="")
    bucket: Mapped[str] = mapped_column(default="", server_default="")  # where both go besides, "" for none
    csv_file: Mapped[str | None]
    zip_file: Mapped[str | None]
    job_id: Mapped[int | None]
