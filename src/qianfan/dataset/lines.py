"""Lines out of pieces of bytes, however the bytes were cut; long ones neither fill the memory nor stop the rest."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from qianfan.contract.enums import DataImportError

from .schemas import Problem

BOM: Final = codecs.BOM_UTF8
MAX_LINE: Final = 64 * 1024 * 1024  # bytes; a longer line is no record
SHOWN: Final = 64 * 1024  # bytes of a bad line that are told
OnBad = Callable[[Problem, bytes], None]


class FormatError(ValueError):
    """A file cannot be read as what it claims to be. `problem` says where and how to mend it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


def tell(problem: Problem, raw: bytes, on_bad: OnBad | None) -> None:
    """Tell a bad line to `on_bad`, its bytes cut at 64 KiB. Without one FormatError is raised."""
    if on_bad is None:
        raise FormatError(problem)
    on_bad(problem, raw[:SHOWN])


def batches(
    chunks: Iterable[bytes], source: str = "", on_bad: OnBad | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """`(number of the first, lines without their LF)` for each piece in which lines end.

    Lines count from 1; the mark of UTF-8 at the start is taken away. A line above 64 MiB is bad and passed over;
    so is the whole of a UTF-16 file, which has no lines of bytes."""
    number, waiting, size, passing = 1, list[bytes](), 0, False
    for chunk in chunks:
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if passing:
                del lines[0]
                number, passing = number + 1, False
            elif waiting:
                waiting.append(lines[0])
                lines[0] = b"".join(waiting)
                waiting, size = [], 0
            if number == 1 and not _opened(lines, source, on_bad):
                return
            if lines:
                yield from _fitting(number, lines, source, on_bad)
                number += len(lines)
        if rest and not passing:
            waiting.append(rest)
            size += len(rest)
            if size > MAX_LINE:
                tell(_too_long(number, source), b"".join(waiting), on_bad)
                waiting, size, passing = [], 0, True
    if waiting:
        last = [b"".join(waiting)]
        if number > 1 or _opened(last, source, on_bad):
            yield number, last


def not_utf8(line: bytes, bad: UnicodeDecodeError, number: int, source: str) -> Problem:
    """The problem of a line that is no UTF-8."""
    column = len(line[: bad.start].decode(errors="replace")) + 1
    code = DataImportError.Encoding.value
    fix = "save the file as UTF-8"
    return Problem(number, "the line is not UTF-8", fix, column=column, source=source, code=code)


def _opened(lines: list[bytes], source: str, on_bad: OnBad | None) -> bool:
    """Whether the first lines can be read; takes the mark of UTF-8 away."""
    if lines and lines[0].startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problem = Problem(1, "the file is UTF-16", "save it as UTF-8", column=1, source=source)
        tell(problem, lines[0], on_bad)
        return False
    if lines:
        lines[0] = lines[0].removeprefix(BOM)
    return True


def _fitting(
    number: int, lines: list[bytes], source: str, on_bad: OnBad | None
) -> Iterator[tuple[int, list[bytes]]]:
    """The lines without those that are too long: only the first of a piece can be, or one of a huge piece."""
    if len(lines[0]) <= MAX_LINE and sum(map(len, lines)) <= 2 * MAX_LINE:
        yield number, lines
        return
    for index, line in enumerate(lines):
        if len(line) > MAX_LINE:
            tell(_too_long(number + index, source), line, on_bad)
        else:
            yield number + index, [line]


def _too_long(number: int, source: str) -> Problem:
    fix = "write one record on each line; a file that is one JSON document is .json"
    return Problem(number, f"the line is longer than {MAX_LINE >> 20} MiB", fix, source=source)
