"""Preset models: documented name → endpoint, limits and parameters. The rows live in `models.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class PresetModel:
    """One row. `chars` and `tokens` are the input limits that the cloud documents, None when unknown.

    required, optional: members of the body that the model is documented to take."""

    name: str
    path: str
    chars: int | None = None
    tokens: int | None = None
    seed: bool = False  # in the list of the first documentation
    deprecated: bool = False
    dimensions: int | None = None  # of an embedding
    batch: int | None = None  # most texts in one call
    group: str = ""  # of parameters
    completion_group: str = ""  # the same where a prompt is completed, when it differs
    required: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()


@cache
def _rows() -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(
        resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    )
    return rows


@cache
def parameters(group: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Members of the body, required and optional, that the models of a group take."""
    row = _rows()["groups"].get(group, {"required": [], "optional": []})
    return tuple(row["required"]), frozenset(row["optional"])


def _of_group(model: PresetModel, group: str) -> PresetModel:
    required, optional = parameters(group)
    return replace(model, required=required, optional=optional)


@cache
def table(kind: str) -> dict[str, PresetModel]:
    """Models of one kind (`chat`, `completions`, `embeddings`, `text2image`, …) by name."""
    models = (PresetModel(**row) for row in _rows().get(kind, ()))
    return {model.name: _of_group(model, model.group) for model in models}


@cache
def completing() -> dict[str, PresetModel]:
    """What a prompt can be completed with: every chat model, and the models of `completions`."""
    chat = {
        name: _of_group(model, model.completion_group or model.group) for name, model in table("chat").items()
    }
    return {**chat, **table("completions")}


def find(models: Mapping[str, PresetModel], name: str) -> PresetModel | None:
    """The row of a name: written exactly so, else in any case."""
    found = models.get(name)
    if found is None and isinstance(name, str):
        wanted = name.lower()
        found = next((model for known, model in models.items() if known.lower() == wanted), None)
    return found
