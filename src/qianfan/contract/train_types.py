"""Train types: the names a fine-tuning may start from, their defaults and the cloud's ranges.

The rows live in `train_types.json`. Ranges are warnings on this platform; what the model that really
trains cannot do is refused by it at the call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

DEFAULT: Final = "ERNIE-Bot-turbo-0725"


@dataclass(frozen=True)
class Limit:
    """What the cloud takes for one hyper-parameter: a closed range of numbers, or one of some values."""

    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()  # empty: a range

    def holds(self, value: Any) -> bool:
        """Whether the cloud takes `value`. A list is taken when every item is a choice."""
        if self.choices:
            values = value if isinstance(value, list) else [value]
            return all(one in self.choices or str(one) in self.choices for one in values)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def nearest(self, value: float) -> Any:
        """The number closest to `value` that the cloud takes."""
        if self.choices:
            return min(self.choices, key=lambda choice: abs(choice - value))
        at_least = value if self.low is None else max(value, self.low)
        return at_least if self.high is None else min(at_least, self.high)

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Tuning:
    """One method of one mode, in the cloud's table of the second generation. Keys are those of the wire.

    defaults: None where the cloud has none, so that everything must be said."""

    defaults: Mapping[str, Any] | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainType:
    """One row. Keys of `defaults` and `ranges` are those of the wire: epoch, batchSize, learningRate, …

    defaults, ranges and peft are those of the first generation, the one of the documented trainer; `modes`
    has the second generation's, by mode (SFT, PostPretrain, DPO) and method (ALL, LoRA, P-tuning)."""

    name: str
    base: str  # baseTrainType
    peft: tuple[str, ...]  # V1 words: ALL, LoRA, P-tuning
    defaults: dict[str, Any]
    generation: str = "v1"  # the interface this name belongs to: v1 or v2
    ranges: dict[str, list[float]] = field(default_factory=dict)  # inclusive
    note: str = ""
    short: str = ""  # how published clients begin the name of a job
    modes: Mapping[str, Mapping[str, Tuning]] = field(default_factory=dict)

    def tuning(self, mode: str, method: str) -> Tuning | None:
        """The table's row for a mode and a method in the words of V1; None when the cloud does not offer it."""
        return self.modes.get(mode, {}).get(method)


@cache
def table() -> dict[str, TrainType]:
    """Every train type by name."""
    text = resources.files(__package__).joinpath("train_types.json").read_text(encoding="utf-8")
    rows = [
        TrainType(**{**row, "peft": tuple(row["peft"]), "modes": _modes(row.get("modes", {}))})
        for row in json.loads(text)
    ]
    return {row.name: row for row in rows}


def _modes(plain: Mapping[str, Any]) -> dict[str, dict[str, Tuning]]:
    return {
        mode: {
            method: Tuning(
                tuning["defaults"], {key: _limit(limit) for key, limit in tuning["limits"].items()}
            )
            for method, tuning in methods.items()
        }
        for mode, methods in plain.items()
    }


def _limit(plain: Mapping[str, list[Any]]) -> Limit:
    if "choice" in plain:
        return Limit(choices=tuple(plain["choice"]))
    low, high = plain["range"]
    return Limit(low, high)


def find(name: str) -> TrainType | None:
    """The row of a train type, or None."""
    return table().get(name)


def base_of(name: str) -> str | None:
    """The base train type that belongs to a train type, or None when unknown."""
    row = find(name)
    return row.base if row else None
