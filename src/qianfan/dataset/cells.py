"""Cells of CSV: what a spreadsheet would take for a formula is written as text, and read back as it was."""

from __future__ import annotations

from typing import Any, Final

import orjson

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is run by a spreadsheet
MARK: Final = "'"  # what makes it a text there


def cell(value: Any) -> str:
    """A value as a cell: a text as it is, nothing as an empty one, everything else as JSON.

    A text that begins like a formula gets an apostrophe before it; so does one that begins with apostrophes and
    then like a formula, so that `plain` takes away what was added and nothing else."""
    if isinstance(value, str):
        return MARK + value if _like_formula(value) else value
    if value is None:
        return ""
    return orjson.dumps(value).decode()


def plain(text: str) -> str:
    """The text that `cell` has written."""
    return text[1:] if text.startswith(MARK) and _like_formula(text[1:]) else text


def _like_formula(text: str) -> bool:
    return text.lstrip(MARK).startswith(FORMULA)
