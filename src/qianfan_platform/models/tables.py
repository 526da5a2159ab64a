"""Rows of the registry: models, their versions with the way back to run, data and base, and exports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import ModelState
from qianfan_platform.store import Json, Row, UtcTime


class Model(Row):
    """A model: V1 model, V2 model set."""

    __tablename__ = "model"
    PREFIX = "am"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    model_type: Mapped[int] = mapped_column(default=0, server_default="0")  # of users' models: 0 LLM, …
    tags: Mapped[Any] = mapped_column(Json, default=list)
    train_type: Mapped[str] = mapped_column(default="")
    base_train_type: Mapped[str] = mapped_column(default="")


class ModelVersion(Row):
    """A version: V1 version, V2 model. `package_file` is what engines eat, once it is Ready."""

    __tablename__ = "model_version"
    PREFIX = "amv"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), index=True)
    version: Mapped[int]  # within its model, from 1
    source_type: Mapped[str] = mapped_column(default="Train", server_default="Train")  # or Import
    run_id: Mapped[int] = mapped_column(index=True)  # 0 of Import
    task_id: Mapped[int]
    step: Mapped[int | None]  # the checkpoint that was published; None: the end of the run
    origin: Mapped[Any] = mapped_column(Json, nullable=True)  # of Import: where its files came from
    entry: Mapped[str]  # catalogue entry of the base; "" of Import, which brings all of its weights
    method: Mapped[str]  # LoRA, ALL, P-tuning; "" of Import
    train_type: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    context: Mapped[int] = mapped_column(default=0, server_default="0")  # tokens; 0: that of the entry
    status: Mapped[str] = mapped_column(default=ModelState.Creating.value)
    reason: Mapped[str] = mapped_column(default="")
    package_file: Mapped[str | None]
    weights_file: Mapped[str | None]  # the same weights in Hugging Face layout, where they are not the run's
    proof: Mapped[Any] = mapped_column(Json, default=dict)  # train→serve parity, as measured
    serving: Mapped[int] = mapped_column(default=0)  # services that use it
    job_id: Mapped[int | None]


class ModelExport(Row):
    """A version written out in a format of others. `folder` holds the files, once it is succeeded."""

    __tablename__ = "model_export"
    PREFIX = "amx"

    version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    format: Mapped[str]  # safetensors, gguf, ollama
    merged: Mapped[bool]
    dtype: Mapped[str]  # of the matrices in a GGUF file; "" where the weights stay as they are
    status: Mapped[str] = mapped_column(default="creating")  # contract.lifecycle.MODEL_EXPORT
    reason: Mapped[str] = mapped_column(default="")
    folder: Mapped[str | None]
    files: Mapped[Any] = mapped_column(Json, default=list)  # [{name, size, sha256}] in the folder
    proof: Mapped[Any] = mapped_column(Json, default=dict)  # the written file against the version
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime)
    job_id: Mapped[int | None]


class ModelGate(Row):
    """What must be shown of a version of `model_id` before it is published there, or deployed."""

    __tablename__ = "model_gate"
    PREFIX = "amg"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), unique=True)
    at: Mapped[Any] = mapped_column(Json, default=list)  # publish, deploy, or both
    baseline_id: Mapped[int]  # a version, of the registry or of a preset
    rule: Mapped[str]  # better, not worse
    metric: Mapped[str]
    margin: Mapped[float]
    confidence: Mapped[float]
    fewest: Mapped[int]
    dataset_id: Mapped[int | None]  # what must have been asked; null: any dataset


class ModelVerdict(Row):
    """What an evaluation found of a version against its baseline, written by the platform alone.

    It holds for the weights: for every version that is made of the same run and checkpoint."""

    __tablename__ = "model_verdict"
    PREFIX = "amvd"
    NOUN = "verdict"

    version_id: Mapped[int] = mapped_column(index=True)
    run_id: Mapped[int] = mapped_column(index=True)  # 0 of Import
    step: Mapped[int | None]
    baseline_id: Mapped[int]
    baseline_name: Mapped[str]
    evaluation_id: Mapped[int] = mapped_column(index=True)
    dataset_id: Mapped[int]
    rule: Mapped[str]
    metric: Mapped[str]
    margin: Mapped[float]
    confidence: Mapped[float]
    fewest: Mapped[int]
    passed: Mapped[bool]
    reason: Mapped[str]
    n: Mapped[int]  # rows that both answered
    figures: Mapped[Any] = mapped_column(Json, default=dict)  # difference, low, high, p, wins, losses, ties
