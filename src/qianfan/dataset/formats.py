"""Reading and writing rows: JSONL, JSON, CSV and text. Pure functions over bytes, used by both sides.

A reader takes pieces of bytes in any split and yields `(line, row)`; lines count from 1. JSONL, CSV and text
are streamed and hold one piece and one row at a time; JSON is one document and is held whole.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import orjson

from .schemas import Problem

BOM: Final = codecs.BOM_UTF8
MAX_LINE: Final = 64 * 1024 * 1024  # bytes; a longer line is no record
Rows = Iterator[tuple[int, Any]]


class FormatError(ValueError):
    """A file cannot be read as what it claims to be. `problem` says where and how to mend it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


def read_jsonl(chunks: Iterable[bytes], source: str = "") -> Rows:
    """Rows of a JSONL file. A byte order mark and blank lines are passed over; a bad line raises FormatError."""
    for number, line in _lines(chunks, source):
        if line.isspace() or not line:
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise FormatError(_bad_json(number, line, error, source)) from None


def read_json(chunks: Iterable[bytes], source: str = "") -> Rows:
    """Rows of one JSON document: the items of its array, or the one object. Lines are numbers of items."""
    raw = b"".join(chunks).removeprefix(BOM)
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        fix = "repair the JSON; a file with one record on each line is .jsonl"
        raise FormatError(
            Problem(error.lineno, _reason(error), fix, column=error.colno, source=source)
        ) from None
    yield from enumerate(document if isinstance(document, list) else [document], 1)


def read_csv(chunks: Iterable[bytes], source: str = "") -> Rows:
    """Rows of a CSV file with a header line, as objects of texts."""
    reader = csv.DictReader(_Text(chunks, source), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                cells = "more" if None in row else "fewer"
                raise FormatError(
                    Problem(
                        reader.line_num,
                        f"the line has {cells} cells than the header",
                        "quote cells that hold commas, and fill missing ones",
                        source=source,
                    )
                )
            yield reader.line_num, dict(row)
    except csv.Error as error:
        fix = "quote cells that hold commas, quotes or line breaks"
        raise FormatError(Problem(reader.line_num, str(error), fix, source=source)) from None


def read_txt(chunks: Iterable[bytes], source: str = "") -> Rows:
    """Lines of a text file that are not blank, one text each."""
    for number, line in _lines(chunks, source):
        text = _utf8(line, number, source).rstrip("\r")
        if text.strip():
            yield number, text


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
    """A header from the first row, then a line for each; cells that are no texts are written as JSON."""
    header: list[str] | None = None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or (header is not None and set(row) - set(header)):
            what = (
                "the row is no object"
                if not isinstance(row, dict)
                else "the row has other columns than the first"
            )
            raise FormatError(Problem(number, what, "write conversations as jsonl; csv takes flat rows"))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if header is None:
            header = list(row)
            writer.writerow(header)
        writer.writerow([_cell(row.get(name)) for name in header])
        yield out.getvalue().encode()


def write_txt(rows: Iterable[Any]) -> Iterator[bytes]:
    """One line for each row; rows are texts, or objects with one text."""
    for number, row in enumerate(rows, 1):
        text = next(iter(row.values())) if isinstance(row, dict) and len(row) == 1 else row
        if not isinstance(text, str):
            raise FormatError(Problem(number, "the row is no text", "write rows with structure as jsonl"))
        yield (" ".join(text.splitlines()) + "\n").encode()


READERS: Final[dict[str, Callable[[Iterable[bytes], str], Rows]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "txt": read_txt,
}
WRITERS: Final[dict[str, Callable[[Iterable[Any]], Iterator[bytes]]]] = {
    "jsonl": write_jsonl,
    "json": write_json,
    "csv": write_csv,
    "txt": write_txt,
}


def _lines(chunks: Iterable[bytes], source: str) -> Iterator[tuple[int, bytes]]:
    """Lines without their LF; the pieces of an unfinished line wait in a list, so long lines stay linear."""
    number, waiting, size, first = 1, list[bytes](), 0, True
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            line = b"".join([*waiting, piece]) if waiting else piece
            waiting, size = [], 0
            yield number, _without_mark(line, source) if first else line
            number, first = number + 1, False
        if rest:
            waiting.append(rest)
            size += len(rest)
        if size > MAX_LINE:
            fix = "write one record on each line; a file that is one JSON document is .json"
            raise FormatError(
                Problem(number, f"the line is longer than {MAX_LINE >> 20} MiB", fix, source=source)
            )
    if waiting:
        line = b"".join(waiting)
        yield number, _without_mark(line, source) if first else line


def _without_mark(line: bytes, source: str) -> bytes:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FormatError(Problem(1, "the file is UTF-16", "save it as UTF-8", column=1, source=source))
    return line.removeprefix(BOM)


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
        what, fix = "the line is not UTF-8", "save the file as UTF-8"
        column = len(line[: bad.start].decode(errors="replace")) + 1
    return Problem(number, what, fix, column=column, source=source)


def _reason(error: orjson.JSONDecodeError) -> str:
    return f"not valid JSON: {error.msg.partition(': line ')[0]}"


def _utf8(line: bytes, number: int, source: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as bad:
        column = len(line[: bad.start].decode(errors="replace")) + 1
        problem = Problem(
            number, "the line is not UTF-8", "save the file as UTF-8", column=column, source=source
        )
        raise FormatError(problem) from None


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


class _Text:
    """Lines as texts with their ends kept, as the csv module needs them for quoted line breaks."""

    def __init__(self, chunks: Iterable[bytes], source: str) -> None:
        self._lines = _lines(chunks, source)
        self._source = source

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            yield _utf8(line, number, self._source) + "\n"
