"""Rows of datasets on a terminal: who says what, and nothing that the terminal would obey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson
from rich.console import Console
from rich.text import Text

LONGEST: Final = 300  # characters of a text that is not shown whole
COLOURS: Final = {
    "system": "magenta",
    "prompt": "cyan",
    "user": "cyan",
    "response": "green",
    "assistant": "green",
    "chosen": "green",
    "rejected": "red",
}
_SEEN: Final = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10)},
    **dict.fromkeys(range(0x7F, 0xA0), 0x2421),
    **dict.fromkeys([0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def visible(text: str) -> str:
    """A text whose control characters and directional marks are shown as signs instead of obeyed."""
    return text.translate(_SEEN)


def cut(text: str, longest: int = LONGEST) -> str:
    """A text up to this length, with how much is left out."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest:,} more)"


def show_row(line: int, row: Any, *, whole: bool) -> None:
    """Print a row under its line number: a name and a text for each member of each turn."""
    console = Console(highlight=False)
    head = f"── {line} "
    console.print(Text(head + "─" * max(0, min(console.width, 100) - len(head)), style="dim"))
    for name, text in _parts(row):
        shown = visible(text if whole else cut(text))
        if name:
            console.print(Text.assemble((f"{name}: ", f"bold {COLOURS.get(name, 'yellow')}"), shown))
        else:
            console.print(Text(shown))


def _parts(row: Any) -> Iterator[tuple[str, str]]:
    if isinstance(row, list):
        for turn in row:
            yield from _parts(turn)
    elif isinstance(row, dict):
        for name, value in row.items():
            for text in _texts(value):
                yield visible(name), text
    else:
        yield "", _text(row)


def _texts(value: Any) -> Iterator[str]:
    """Answers one by one: `[["a"], ["b"]]` are two."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(item, list) and len(item) == 1 and isinstance(item[0], str) for item in value)
    ):
        yield from (item[0] for item in value)
    else:
        yield _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
