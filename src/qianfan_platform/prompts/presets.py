"""Templates and labels that ship with the platform: ours, in Chinese and English, the same for every account."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

from qianfan.contract import ids, prompt_text
from qianfan.contract.bodies import Id
from qianfan.contract.enums import PromptFrameworkType, PromptSceneType

SINCE: Final = datetime(2026, 11, 21, tzinfo=UTC)
CREATOR: Final = "open-qianfan"


@dataclass(frozen=True)
class PresetLabel:
    """A label of the platform. Its number lies above those of any account's."""

    id: int
    public_id: str
    name: str
    color: str
    created_at: datetime = SINCE
    modified_at: datetime = SINCE


@dataclass(frozen=True)
class Preset:
    """A template of the platform, with the columns of a `PromptTemplate`."""

    id: int
    public_id: str
    name: str
    content: str
    labels: tuple[int, ...] = ()
    scene: int = PromptSceneType.Text2Text.value
    framework: int = PromptFrameworkType.NotUse.value
    identifier: str = "{}"
    negative_content: str = ""
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = SINCE
    modified_at: datetime = SINCE

    @property
    def variables(self) -> list[str]:
        return prompt_text.variables_of(self.content, self.identifier)

    @property
    def negative_variables(self) -> list[str]:
        return prompt_text.variables_of(self.negative_content, self.identifier)


T = TypeVar("T", Preset, PresetLabel)


@cache
def _file() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("presets.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def templates() -> tuple[Preset, ...]:
    return tuple(Preset(**{**row, "labels": tuple(row["labels"])}) for row in _file()["templates"])


@cache
def labels() -> tuple[PresetLabel, ...]:
    return tuple(PresetLabel(**row) for row in _file()["labels"])


def template(ident: Id) -> Preset | None:
    """The preset with this number, its text, or this `pt-…` id."""
    return _named(templates(), ident)


def label(ident: Id) -> PresetLabel | None:
    """The preset label with this number, its text, or this `pl-…` id."""
    return _named(labels(), ident)


def _named(rows: Iterable[T], ident: Id) -> T | None:
    number = ids.as_number(ident)
    return next((row for row in rows if ident == row.public_id or number == row.id), None)
