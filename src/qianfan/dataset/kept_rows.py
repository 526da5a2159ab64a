"""Rows that are kept: few of them in memory, many in a temporary file with an index of where they begin."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.config import get_config
from qianfan.dataset.formats import Rows
from qianfan.dataset.lines import BOM, FormatError, batches
from qianfan.dataset.schemas import Problem

STRIDE: Final = 64  # rows from one entry of the index to the next
PLAIN: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME
BUFFER: Final = 1 << 20  # bytes
LINES: Final = 4096  # line numbers read and written at once
UNKNOWN: Final = 256  # bytes that a row counts which is no JSON


class HeldRows:
    """Rows in memory, and the line that each comes from."""

    def __init__(self, rows: list[Any], lines: Sequence[int] | None = None) -> None:
        self.rows = rows
        self.lines = array("Q", range(1, len(rows) + 1) if lines is None else lines)

    @classmethod
    def of(cls, numbered: Iterable[tuple[int, Any]]) -> HeldRows:
        """The rows of a stream."""
        rows, lines = [], array("Q")
        for line, row in numbered:
            rows.append(row)
            lines.append(line)
        return cls(rows, lines)

    def read(self) -> Rows:
        """`(line, row)` of all."""
        return zip(self.lines, self.rows, strict=True)

    def extend(self, new: list[Any]) -> None:
        """Add rows at the end, numbered on."""
        last = self.lines[-1] if self.lines else 0
        self.rows.extend(new)
        self.lines.extend(range(last + 1, last + 1 + len(new)))

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> list[Any]:
        """The rows from `start` up to `stop`, which is left out."""
        return self.rows[start:stop]

    def line(self, index: int) -> int | None:
        """The line that a row comes from."""
        return self.lines[index] if index < len(self.lines) else None


class LineIndex:
    """Where the rows of a JSONL file begin: the place of each 64th, so an eighth of a byte a row.

    Blank lines are no rows. Built by looking for line feeds alone. Raises FormatError for a line above 64 MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places = array("Q")
        count = 0
        with path.open("rb") as file:
            place = len(BOM) if file.read(len(BOM)) == BOM else 0
            file.seek(0)
            for _, lines in batches(iter(lambda: file.read(BUFFER), b""), path.name):
                for line in lines:
                    if line and not line.isspace():
                        if count % STRIDE == 0:
                            self.places.append(place)
                        count += 1
                    place += len(line) + 1
        self.count = count

    def between(self, start: int, stop: int) -> list[bytes]:
        """The lines of the rows from `start` up to `stop`, which is left out."""
        start, stop = max(0, start), min(stop, self.count)
        if start >= stop:
            return []
        with self.path.open("rb", BUFFER) as file:
            file.seek(self.places[start // STRIDE])
            lines = (line for line in file if not line.isspace())
            return list(itertools.islice(lines, start % STRIDE, start % STRIDE + stop - start))


class SpilledRows:
    """Rows in a temporary file, which goes when nobody needs them any more."""

    def __init__(self, folder: Path, count: int) -> None:
        self._rows, self._lines = folder / "rows.jsonl", folder / "lines"
        self._count = count
        self._index: LineIndex | None = None
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def read(self) -> Rows:
        """`(line, row)` of all, streamed."""
        with self._rows.open("rb", BUFFER) as rows, self._lines.open("rb") as lines:
            while True:
                numbers = array("Q")
                numbers.frombytes(lines.read(8 * LINES))
                if not numbers:
                    return
                yield from zip(numbers, map(orjson.loads, itertools.islice(rows, len(numbers))), strict=True)

    def __len__(self) -> int:
        return self._count

    def between(self, start: int, stop: int) -> list[Any]:
        """The rows from `start` up to `stop`, which is left out."""
        if self._index is None:
            self._index = LineIndex(self._rows)
        return list(map(orjson.loads, self._index.between(start, stop)))

    def line(self, index: int) -> int | None:
        """The line that a row comes from."""
        found = array("Q")
        with self._lines.open("rb") as lines:
            lines.seek(found.itemsize * index)
            found.frombytes(lines.read(found.itemsize))
        return found[0] if found else None


def keep(numbered: Iterable[tuple[int, Any]]) -> HeldRows | SpilledRows:
    """Keep the rows of a stream: in memory up to DATASET_MEMORY bytes of JSON, in a temporary file beyond.

    Raises FormatError for a row beyond that JSON cannot hold."""
    limit = get_config().DATASET_MEMORY
    stream = iter(numbered)
    held, size = HeldRows([]), 0
    for line, row in stream:
        held.rows.append(row)
        held.lines.append(line)
        try:
            size += len(orjson.dumps(row, None, PLAIN))
        except TypeError:  # in memory it may be anything
            size += UNKNOWN
        if size > limit:
            return _spilled(held, stream)
    return held


def _spilled(held: HeldRows, rest: Iterable[tuple[int, Any]]) -> SpilledRows:
    folder = Path(tempfile.mkdtemp(prefix="qianfan-rows-"))
    count, lines = 0, array("Q")
    try:
        with (folder / "rows.jsonl").open("wb", BUFFER) as file, (folder / "lines").open("wb") as numbers:
            for line, row in itertools.chain(_emptied(held), rest):
                file.write(_text(line, row))
                lines.append(line)
                count += 1
                if len(lines) == LINES:
                    lines.tofile(numbers)
                    lines = array("Q")
            lines.tofile(numbers)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return SpilledRows(folder, count)


def _emptied(held: HeldRows) -> Rows:
    """The rows, which are let go one after another."""
    held.rows.reverse()
    for line in held.lines:
        yield line, held.rows.pop()


def _text(line: int, row: Any) -> bytes:
    try:
        return orjson.dumps(row, None, PLAIN)
    except TypeError as error:
        raise FormatError(Problem(line, f"the row is not plain JSON: {error}", "use plain values")) from None
