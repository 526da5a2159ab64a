"""The texts of a row, whatever its shape: a text, an object, a conversation of turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def texts_of(row: Any, columns: Sequence[str] | None = None) -> Iterator[str]:
    """Every text in a row, in the order in which it is written; names of members are none, nor is who speaks.

    columns: of an object or of each turn, only these members; None for all of them."""
    if isinstance(row, str):
        yield row
    elif isinstance(row, list):
        for item in row:
            yield from texts_of(item, columns)
    elif isinstance(row, dict):
        for name, item in row.items():
            if (columns is None or name in columns) and not _speaker(name, row):
                yield from texts_of(item)


def with_texts(row: Any, texts: Iterator[str], columns: Sequence[str] | None = None) -> Any:
    """The row with other texts in the places that `texts_of` reads, taken from `texts` one by one."""
    if isinstance(row, str):
        return next(texts)
    if isinstance(row, list):
        return [with_texts(item, texts, columns) for item in row]
    if isinstance(row, dict):
        return {
            name: with_texts(item, texts)
            if (columns is None or name in columns) and not _speaker(name, row)
            else item
            for name, item in row.items()
        }
    return row


def _speaker(name: str, row: dict[str, Any]) -> bool:
    """Whether a member says whose words the row holds: in messages of OpenAI, and in those of ShareGPT."""
    return (name == "role" and "content" in row) or (name == "from" and "value" in row)


def text_of(row: Any) -> str:
    """All texts of a row as one, a line for each."""
    return row if isinstance(row, str) else "\n".join(texts_of(row))
