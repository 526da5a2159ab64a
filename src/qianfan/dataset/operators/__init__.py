"""Operators on texts: pure functions, the same for the SDK and for the platform's cleaning tasks.

Four stages, in this order: clean changes a text, filter drops one by a figure of it, deduplication drops what is
nearly there already, desensitization masks what names somebody. `CATALOGUE` has them all by name, with ranges,
defaults and an example before and after; `Pipeline` runs several. They are deterministic, and import nothing heavy.
"""

from __future__ import annotations

from .catalogue import CATALOGUE, STAGES, Argument, BadOperator, Operator, Stage, find
from .pipeline import Pipeline, Stages, Verdict, Work

__all__ = [
    "CATALOGUE",
    "STAGES",
    "Argument",
    "BadOperator",
    "Operator",
    "Pipeline",
    "Stage",
    "Stages",
    "Verdict",
    "Work",
    "find",
]
