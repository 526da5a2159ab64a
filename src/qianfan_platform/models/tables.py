"""Rows of the registry: models, and their versions with the way back to run, data and base."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import ModelState
from qianfan_platform.store import Json, Row


class Model(Row):
    """A model: V1 model, V2 model set."""

    __tablename__ = "model"
    PREFIX = "am"

    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    tags: Mapped[Any] = mapped_column(Json, default=list)
    train_type: Mapped[str] = mapped_column(default="")
    base_train_type: Mapped[str] = mapped_column(default="")


class ModelVersion(Row):
    """A version: V1 version, V2 model. `package_file` is what engines eat, once it is Ready."""

    __tablename__ = "model_version"
    PREFIX = "amv"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), index=True)
    version: Mapped[int]  # within its model, from 1
    run_id: Mapped[int] = mapped_column(index=True)
    task_id: Mapped[int]
    entry: Mapped[str]  # catalogue entry of the base
    method: Mapped[str]  # LoRA or ALL
    train_type: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default=ModelState.Creating.value)
    reason: Mapped[str] = mapped_column(default="")
    package_file: Mapped[str | None]
    proof: Mapped[Any] = mapped_column(Json, default=dict)  # train→serve parity, as measured
    serving: Mapped[int] = mapped_column(default=0)  # services that use it
    job_id: Mapped[int | None]
