"""Reading rows: JSONL, JSON, CSV, text and Parquet. Pure functions over bytes, used by both sides.

A reader takes pieces of bytes in any split and yields `(line, row)`; lines count from 1. JSONL, CSV and text
are streamed and hold one piece and one row at a time; JSON is one document and is held whole. A bad line raises
FormatError, or is told to `on_bad` with its bytes (at most 64 KiB), and reading goes on after it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from qianfan.contract.enums import DataImportError
from qianfan.contract.members import repeated

from .encodings import as_utf8
from .lines import BOM, SHOWN, FormatError, OnBad, batches, not_utf8, tell
from .schemas import Problem
from .writing import WRITERS, write_csv, write_json, write_jsonl, write_txt

__all__ = [
    "FORMATS",
    "READERS",
    "WRITERS",
    "FormatError",
    "OnBad",
    "Rows",
    "format_of",
    "open_rows",
    "read_csv",
    "read_json",
    "read_jsonl",
    "read_txt",
    "write_csv",
    "write_json",
    "write_jsonl",
    "write_txt",
]

PIECE: Final = 1 << 20  # bytes read at once
MAX_COLUMNS: Final = 10_000
MAX_CELL: Final = 16 << 20  # characters of a cell of CSV
Rows = Iterator[tuple[int, Any]]


def open_rows(
    path: str | Path,
    format: str | None = None,
    *,
    on_bad: OnBad | None = None,
    told: Callable[[int], None] | None = None,
) -> Rows:
    """`(line, row)` of a file of any supported format and encoding.

    format: jsonl, json, csv, txt or parquet; by default what the suffix says. told: hears how many bytes are read
    each time that some are. Raises ValueError for another one,
    and for a bad line FormatError, unless `on_bad` is told of it."""
    path = Path(path)
    return _rows_of(path, format_of(path, format), on_bad, told)


SUFFIXES: Final = {"ndjson": "jsonl", "text": "txt", "md": "txt", "pq": "parquet"}  # besides their own


def format_of(path: Path, format: str | None = None) -> str:
    """The format given, or the one that the suffix names; a name without one is text. Raises ValueError."""
    found = (format or path.suffix.lstrip(".") or "txt").lower()
    found = SUFFIXES.get(found, found)
    if found not in FORMATS:
        raise ValueError(
            f"{path.name}: files of the format {found!r} are not read; "
            f"use one of {', '.join(FORMATS)}, or give file_format="
        )
    return found


def read_jsonl(chunks: Iterable[bytes], source: str = "", *, on_bad: OnBad | None = None) -> Rows:
    """Rows of a JSONL file. A byte order mark and blank lines are passed over.

    on_bad: also hears of lines in which an object has a member twice; without it the last one counts."""
    loads = orjson.loads
    for first, lines in batches(chunks, source, on_bad):
        for number, line in enumerate(lines, first):
            try:
                row = loads(line)
            except orjson.JSONDecodeError as error:
                if line and not line.isspace():
                    tell(_bad_json(number, line, error, source), line, on_bad)
                continue
            if on_bad is not None and (name := repeated(line, row, orjson.dumps)) is not None:
                on_bad(_twice(name, number, source), line[:SHOWN])
                continue
            yield number, row


def read_json(chunks: Iterable[bytes], source: str = "", *, on_bad: OnBad | None = None) -> Rows:
    """Rows of one JSON document: the items of its array, or the one object. Lines are numbers of items."""
    raw = b"".join(chunks).removeprefix(BOM)
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        fix = "repair the JSON; a file with one record on each line is .jsonl"
        problem = Problem(error.lineno, _reason(error), fix, column=error.colno, source=source)
        tell(problem, raw[:SHOWN], on_bad)
        return
    if (name := repeated(raw, document, orjson.dumps)) is not None:
        tell(_twice(name, 1, source), raw[:SHOWN], on_bad)
        return
    del raw
    yield from enumerate(document if isinstance(document, list) else [document], 1)


def read_csv(chunks: Iterable[bytes], source: str = "", *, on_bad: OnBad | None = None) -> Rows:
    """Rows of a CSV file with a header line, as objects of texts; a row's line is that where it begins.

    A text that `write_csv` has marked so that no spreadsheet takes it for a formula is read as it was."""
    from .cells import plain

    texts = _Texts(chunks, source, on_bad)
    reader = csv.reader(texts, strict=True)
    if csv.field_size_limit() < MAX_CELL:
        csv.field_size_limit(MAX_CELL)  # of the process; its own limit, 128 KiB, is short for a conversation
    header: list[str] | None = None
    while True:
        texts.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            runs = f"; the record runs on to line {texts.last}" if texts.last > texts.line else ""
            fix = "quote cells that hold commas, quotes or line breaks"
            tell(Problem(texts.line, f"{error}{runs}", fix, source=source), texts.raw, on_bad)
            continue
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [plain(name) for name in cells]
            if problem := _bad_header(header, texts.line, source):
                tell(problem, texts.raw, on_bad)
                return
        elif len(cells) != len(header):
            what = f"the line has {'more' if len(cells) > len(header) else 'fewer'} cells than the header"
            fix = "quote cells that hold commas, and fill missing ones"
            tell(Problem(texts.line, what, fix, source=source), texts.raw, on_bad)
        else:
            yield texts.line, dict(zip(header, map(plain, cells), strict=True))


def read_txt(chunks: Iterable[bytes], source: str = "", *, on_bad: OnBad | None = None) -> Rows:
    """Lines of a text file that are not blank, one text each."""
    for first, lines in batches(chunks, source, on_bad):
        for number, line in enumerate(lines, first):
            try:
                text = line.decode().rstrip("\r")
            except UnicodeDecodeError as bad:
                tell(not_utf8(line, bad, number, source), line, on_bad)
                continue
            if text.strip():
                yield number, text


class Reader(Protocol):
    def __call__(self, chunks: Iterable[bytes], source: str = "", *, on_bad: OnBad | None = None) -> Rows: ...


READERS: Final[dict[str, Reader]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "txt": read_txt,
}
FORMATS: Final = (*READERS, "parquet")


def _rows_of(path: Path, format: str, on_bad: OnBad | None, told: Callable[[int], None] | None) -> Rows:
    try:
        if format == "parquet":
            from .parquet import read_parquet

            yield from read_parquet(path, path.name)
        else:
            pieces = as_utf8(_pieces(path, told))
            yield from READERS[format](pieces, path.name, on_bad=on_bad)
    except FormatError as error:  # the file as a whole: its encoding, its footer
        if on_bad is None:
            raise
        on_bad(error.problem, b"")


def _pieces(path: Path, told: Callable[[int], None] | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
            if told is not None:
                told(file.tell())


def _bad_json(number: int, line: bytes, error: orjson.JSONDecodeError, source: str) -> Problem:
    what, fix, column = _reason(error), "repair the JSON; each line is one whole record", error.colno
    stripped = line.strip()
    if number == 1 and stripped in (b"[", b"{"):
        fix = "this looks like one JSON document over several lines: name it .json, or write a record a line"
    elif stripped.endswith(b","):
        fix = "remove the comma at the end; each line of a .jsonl file stands alone"
    elif b"\r" in stripped:
        fix = "end lines with a line feed (\\n); a carriage return alone does not separate records"
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        return not_utf8(line, bad, number, source)
    return Problem(number, what, fix, column=column, source=source)


def _twice(name: str, number: int, source: str) -> Problem:
    fix = "remove one: only the last would be kept"
    return Problem(number, f"an object has the member {name[:100]!r} twice", fix, source=source)


def _reason(error: orjson.JSONDecodeError) -> str:
    return f"not valid JSON: {error.msg.partition(': line ')[0]}"


def _bad_header(header: list[str], line: int, source: str) -> Problem | None:
    if len(header) > MAX_COLUMNS:
        what, fix = f"the header has {len(header)} columns", f"write at most {MAX_COLUMNS}"
        return Problem(line, what, fix, source=source, code=DataImportError.Columns.value)
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        what, fix = f"the header names {twice!r} twice", "give every column a name of its own"
    else:
        return None
    return Problem(line, what, fix, source=source)


class _Texts:
    """Lines as texts with their ends kept, as the csv module needs them for quoted line breaks.

    line, last, raw: where the record that is read now begins and has come to, and its bytes (at most 64 KiB)."""

    def __init__(self, chunks: Iterable[bytes], source: str, on_bad: OnBad | None) -> None:
        self._batches = batches(chunks, source, on_bad)
        self._source, self._on_bad = source, on_bad
        self._texts = self._decoded()
        self.line, self.last, self.raw = 1, 1, b""
        self._fresh = True

    def begin(self) -> None:
        """The next text begins a record."""
        self._fresh = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._texts)

    def _decoded(self) -> Iterator[str]:
        for first, lines in self._batches:
            for number, line in enumerate(lines, first):
                if self._fresh:
                    self.line, self.raw, self._fresh = number, b"", False
                self.last = number
                if len(self.raw) < SHOWN:
                    self.raw += line + b"\n"
                try:
                    text = line.decode()
                except UnicodeDecodeError as bad:
                    tell(not_utf8(line, bad, number, self._source), line, self._on_bad)
                    continue
                yield text + "\n"
