"""Rows of prompts: templates, labels, and the tasks that improve a prompt."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract.enums import PromptFrameworkType, PromptSceneType, PromptTaskStatus
from qianfan_platform.store import Json, Row


class PromptTemplate(Row):
    """A template of an account. What ships with the platform is in `presets.json`, not here."""

    __tablename__ = "prompt_template"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)
    PREFIX = "pt"
    NOUN = "prompt template"

    name: Mapped[str]
    content: Mapped[str] = mapped_column(Text)
    variables: Mapped[Any] = mapped_column(Json, default=list)  # names, as they come in the text
    identifier: Mapped[str] = mapped_column(default="{}")
    scene: Mapped[int] = mapped_column(default=PromptSceneType.Text2Text.value)
    framework: Mapped[int] = mapped_column(default=PromptFrameworkType.NotUse.value)
    negative_content: Mapped[str] = mapped_column(Text, default="")
    negative_variables: Mapped[Any] = mapped_column(Json, default=list)
    labels: Mapped[Any] = mapped_column(Json, default=list)  # numbers of labels
    hyper_parameters: Mapped[Any] = mapped_column(Json, default=dict)  # as sent


class PromptLabel(Row):
    """A label of an account, beside those that ship with the platform."""

    __tablename__ = "prompt_label"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)
    PREFIX = "pl"
    NOUN = "prompt label"

    name: Mapped[str]
    color: Mapped[str] = mapped_column(default="")


class PromptOptimisation(Row):
    """A prompt that a model improves. `inference` tells what was done, round by round."""

    __tablename__ = "prompt_optimisation"
    PREFIX = "task"
    NOUN = "prompt optimisation"

    content: Mapped[str] = mapped_column(Text)
    improved: Mapped[str] = mapped_column(Text, default="")
    operations: Mapped[Any] = mapped_column(Json, default=list)  # [{opType, payload}], as sent
    app_id: Mapped[int] = mapped_column(default=0)
    service_name: Mapped[str] = mapped_column(default="")
    inference: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[int] = mapped_column(default=PromptTaskStatus.Running.value)
    reason: Mapped[str] = mapped_column(Text, default="")
    job_id: Mapped[int | None]
