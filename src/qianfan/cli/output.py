"""What every command prints with: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table


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
    """Print a table. numbers: the columns that stand to the right."""
    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
