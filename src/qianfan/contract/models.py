"""Preset models: documented name → endpoint. The rows live in `models.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class PresetModel:
    """One row. `chars` and `tokens` are the input limits that the cloud documents, None when unknown."""

    name: str
    path: str
    chars: int | None = None
    tokens: int | None = None
    seed: bool = False  # in the list of the first documentation
    deprecated: bool = False
    dimensions: int | None = None  # of an embedding
    batch: int | None = None  # most texts in one call


@cache
def table(kind: str) -> dict[str, PresetModel]:
    """Models of one kind (`chat`, `completions`, `embeddings`, `text2image`, …) by name."""
    text = resources.files(__package__).joinpath("models.json").read_text(encoding="utf-8")
    return {row["name"]: PresetModel(**row) for row in json.loads(text).get(kind, [])}
