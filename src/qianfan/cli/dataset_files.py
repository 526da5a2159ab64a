"""Files of rows for the commands of `qianfan dataset`: read in a stream, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

if TYPE_CHECKING:
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import Problem

X = TypeVar("X")
FIRST: Final = 100  # rows that tell what a file holds
TOLD_EVERY: Final = 1000  # rows between two looks of the progress line
NAMES: Final = {
    "conversation": "NonSortedConversation",
    "sorted": "SortedConversation",
    "preference": "PromptChosenRejected",
    "text": "GenericText",
    "query": "QuerySet",
    "image": "Text2Image",
}
PACKED: Final = (".zip", ".gz", ".tgz")

Existing = Annotated[
    Path, typer.Argument(help="jsonl, json, csv, txt or parquet.", exists=True, dir_okay=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write; its suffix says the format.")]
Chosen = Annotated[
    str | None,
    typer.Option(
        "--template",
        "-t",
        help=f"{', '.join(NAMES)} (a zip); default: what the first rows are.",
        show_default=False,
    ),
]


def opened(
    file: Path, on_bad: Callable[[Problem, bytes], None] | None = None, what: str = ""
) -> tuple[list[Any], Iterator[tuple[int, Any]]]:
    """The first rows, and all of them as `(line, row)`. what: what a bar says while they are read.

    Raises DatasetFormatError for a bad line unless `on_bad` hears it, BadParameter for a format that is not read."""
    from qianfan.dataset.formats import format_of, open_rows

    if not file.is_file():  # a pipe can be read only once
        raise typer.BadParameter(f"{file} is no plain file; save what it gives as one first")
    try:
        format_of(file)
    except ValueError as error:
        raise typer.BadParameter(str(error).removesuffix(", or give file_format=")) from None
    first = [row for _, row in islice(open_rows(file, on_bad=lambda problem, raw: None), FIRST)]
    read = [0]  # bytes

    def told(place: int) -> None:
        read[0] = place

    rows = plainly(open_rows(file, on_bad=on_bad, told=told))
    return first, counted(rows, what, file.stat().st_size, lambda: read[0]) if what else rows


def plainly(items: Iterable[X]) -> Iterator[X]:
    """The items; a FormatError on the way is one that is told without a word of the program."""
    from qianfan.dataset import FormatError
    from qianfan.dataset.problems import DatasetFormatError

    try:
        yield from items
    except FormatError as error:
        raise DatasetFormatError(error.problem) from None


def template_of(name: str | None, first: list[Any]) -> DataTemplateType:
    """The template of this name, or the one that the first rows look like. Raises BadParameter."""
    from qianfan.contract.enums import DataTemplateType
    from qianfan.dataset import mapping

    if name is not None:
        if name not in NAMES:
            raise typer.BadParameter(f"there is no template {name!r}; there are {', '.join(NAMES)}")
        return DataTemplateType[NAMES[name]]
    if first and sum(isinstance(row, str) or mapping.of(row) is mapping.TEXT for row in first) * 2 > len(
        first
    ):
        return DataTemplateType.GenericText
    if any(_preferred(row) for row in first):
        return DataTemplateType.PromptChosenRejected
    if any(_several(row) for row in first):
        return DataTemplateType.SortedConversation
    return DataTemplateType.NonSortedConversation


def _preferred(row: Any) -> bool:
    last = row[-1] if isinstance(row, list) and row else row
    return isinstance(last, dict) and ("chosen" in last or "preferred_output" in last)


def _several(row: Any) -> bool:
    return isinstance(row, list) and any(
        isinstance(turn, dict) and isinstance(turn.get("response"), list) and len(turn["response"]) > 1
        for turn in row
    )


def write(out: Path, rows: Iterable[Any], format: str | None = None) -> None:
    """Replace the file by these rows; it is whole or as before. Raises BadParameter for an unknown format."""
    from qianfan.dataset import FormatError
    from qianfan.dataset.files import FileDataSource
    from qianfan.dataset.problems import DatasetFormatError

    try:
        target = FileDataSource(out, format)
    except ValueError as error:
        raise typer.BadParameter(str(error).removesuffix(", or give file_format=")) from None
    try:
        target.write(rows)
    except FormatError as error:
        raise DatasetFormatError(error.problem) from None
    except OSError as error:
        raise named(error, out) from None


def write_bytes(out: Path, content: IO[bytes]) -> None:
    """Replace the file by this; it is whole or as before."""
    waiting = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with waiting.open("wb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
        waiting.replace(out)
    except OSError as error:
        waiting.unlink(missing_ok=True)
        raise named(error, out) from None


def named(error: OSError, out: Path) -> OSError:
    """The error with the file that was to be written: a full disk does not say which."""
    return OSError(error.errno, error.strerror or str(error), str(out))


def flat(row: Any, line: int, source: str) -> Any:
    """A row as columns of a csv. Raises FormatError for a conversation of several turns."""
    from qianfan.dataset import mapping

    if isinstance(row, str):
        return mapping.TEXT.from_row(row)
    return (
        mapping.BY_NAME["columns"].from_row(row, line=line, source=source) if isinstance(row, list) else row
    )


def so_many(count: int) -> str:
    """As in "1 row" and "2,000 rows"."""
    return f"{count:,} row{'' if count == 1 else 's'}"


@contextmanager
def known() -> Iterator[list[Problem]]:
    """A list that gets the problem of a file that cannot be read on; the block ends there."""
    from qianfan.dataset import FormatError

    problems: list[Problem] = []
    try:
        yield problems
    except FormatError as error:
        problems.append(error.problem)


def counted(
    items: Iterable[X], what: str, total: int | None = None, done: Callable[[], int] | None = None
) -> Iterator[X]:
    """The items, with a bar on standard error where somebody sees it. total, done: bytes, when they are known."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn() if total else TimeElapsedColumn(),
    )
    # It refreshes itself in no thread of its own: processes that clean may be forked while it is shown.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(what, total=total, rows=0)
        for number, item in enumerate(items, 1):
            yield item
            if number % TOLD_EVERY == 0:
                bar.update(task, completed=done() if done else 0, rows=number, refresh=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A moving line on standard error while the block runs."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)):
        yield
