"""The log of a training run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class TrainLog(list[str]):
    """The lines of a log as texts; `str()` is all of them.

    entries: the lines as they came: n, time, level, text. metrics: one dict for each logged step (`kind`
    "step": step, loss, learning_rate, tokens_per_second, …) and evaluation (`kind` "eval").
    ledger: what became of every sample, or None when the run has not counted them yet."""

    def __init__(
        self,
        entries: Iterable[dict[str, Any]],
        metrics: list[dict[str, Any]] | None = None,
        ledger: dict[str, Any] | None = None,
    ) -> None:
        self.entries = list(entries)
        self.metrics = metrics or []
        self.ledger = ledger
        super().__init__(_line(entry) for entry in self.entries)

    def __str__(self) -> str:
        return "\n".join(self)


def _line(entry: dict[str, Any]) -> str:
    parts = (entry.get("time"), entry.get("level"), entry.get("text"))
    return " ".join(str(part) for part in parts if part not in (None, ""))
