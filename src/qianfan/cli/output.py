"""What every command prints with: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

WIDEST: Final = 10_000  # columns of a pipe
ONE_WORD: Final = 100  # characters of a cell that is kept whole: an id of an entity has 97


def emit(value: Any) -> None:
    """One line of JSON on standard output, at once: the next command of a pipe may be waiting for it."""
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for the person at the keyboard; a pipe does not get it."""
    print(text, file=sys.stderr, flush=True)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = (), title: str = ""
) -> None:
    """Print a table. numbers: the columns that stand to the right.

    Ids stay whole, to be copied: on a narrow terminal the lines are longer than it. A pipe gets a line for each row."""
    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(
        box=None, pad_edge=False, title=title or None, title_justify="left", show_header=any(columns)
    )
    for place, name in enumerate(columns):
        whole = all(len(row[place]) <= ONE_WORD and len(row[place].split()) < 2 for row in cells)
        table.add_column(name, overflow="fold", no_wrap=whole, justify="right" if name in numbers else "left")
    for row in cells:
        table.add_row(*map(escape, row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDEST
    room = console.options.update(width=WIDEST, max_width=WIDEST)
    console.width = max(console.width, Measurement.get(console, room, table).minimum)
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
