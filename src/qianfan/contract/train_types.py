"""Train types: the names a fine-tuning may start from, their defaults and the cloud's ranges.

The rows live in `train_types.json`. Ranges are warnings on this platform; what the model that really
trains cannot do is refused by it at the call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

DEFAULT: Final = "ERNIE-Bot-turbo-0725"


@dataclass(frozen=True)
class TrainType:
    """One row. Keys of `defaults` and `ranges` are those of the wire: epoch, batchSize, learningRate, …"""

    name: str
    base: str  # baseTrainType
    peft: tuple[str, ...]  # V1 words: ALL, LoRA, P-tuning
    defaults: dict[str, Any]
    generation: str = "v1"  # the interface this name belongs to: v1 or v2
    ranges: dict[str, list[float]] = field(default_factory=dict)  # inclusive
    note: str = ""


@cache
def table() -> dict[str, TrainType]:
    """Every train type by name."""
    text = resources.files(__package__).joinpath("train_types.json").read_text(encoding="utf-8")
    rows = [TrainType(**{**row, "peft": tuple(row["peft"])}) for row in json.loads(text)]
    return {row.name: row for row in rows}


def find(name: str) -> TrainType | None:
    """The row of a train type, or None."""
    return table().get(name)


def base_of(name: str) -> str | None:
    """The base train type that belongs to a train type, or None when unknown."""
    row = find(name)
    return row.base if row else None
