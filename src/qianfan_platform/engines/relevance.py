"""Scores of rankers, brought to one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence


def within_one(values: Sequence[float]) -> list[float]:
    """Scores between 0 and 1. A ranker that gives any outside of it gives logits: the logistic function of all."""
    if all(0.0 <= value <= 1.0 for value in values):
        return list(values)
    return [1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, value)))) for value in values]
