"""Writing rows: JSONL, JSON, CSV and text, as pieces of bytes. Pure functions, used by both sides."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import orjson

from .cells import cell
from .lines import FormatError
from .schemas import Problem


def write_jsonl(rows: Iterable[Any]) -> Iterator[bytes]:
    """One line of bytes for each row."""
    for number, row in enumerate(rows, 1):
        try:
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            raise FormatError(
                Problem(number, f"the row is not plain JSON: {error}", "use plain values")
            ) from None


def write_json(rows: Iterable[Any]) -> Iterator[bytes]:
    """One array, an item on each line."""
    yield b"["
    for number, line in enumerate(write_jsonl(rows)):
        yield (b",\n" if number else b"\n") + line.rstrip(b"\n")
    yield b"\n]\n"


def write_csv(rows: Iterable[Any]) -> Iterator[bytes]:
    """A header from the first row, then a line for each; cells that are no texts are written as JSON.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; `read_csv` takes it away."""
    header: list[str] | None = None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or (header is not None and set(row) - set(header)):
            what = (
                "the row is no object"
                if not isinstance(row, dict)
                else "the row has other columns than the first"
            )
            raise FormatError(Problem(number, what, "write conversations as jsonl; csv takes flat rows"))
        if header is None:
            header = list(row)
            yield _csv_line([cell(name) for name in header])
        yield _csv_line([cell(row.get(name)) for name in header])


def _csv_line(cells: list[str]) -> bytes:
    out = io.StringIO()
    # With this end a carriage return in a cell is quoted, too; a line ends with a line feed alone all the same.
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()[:-2].encode() + b"\n"


def write_txt(rows: Iterable[Any]) -> Iterator[bytes]:
    """One line for each row; rows are texts, or objects with one text."""
    for number, row in enumerate(rows, 1):
        text = next(iter(row.values())) if isinstance(row, dict) and len(row) == 1 else row
        if not isinstance(text, str):
            raise FormatError(Problem(number, "the row is no text", "write rows with structure as jsonl"))
        yield (" ".join(text.splitlines()) + "\n").encode()


WRITERS: Final[dict[str, Callable[[Iterable[Any]], Iterator[bytes]]]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "csv": write_csv,
    "txt": write_txt,
}
