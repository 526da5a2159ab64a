"""What can be done to a stream of rows: keep, replace, add, insert, delete. Each takes `(line, row)` and gives it.

A step holds nothing between two passes, so that rows can be made as often as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from qianfan.dataset.formats import Rows

Step = Callable[[Rows], Rows]
ROW = (dict, list, str)


def kept(op: Callable[[Any], bool]) -> Step:
    """The rows for which `op` returns True. Raises ValueError when it returns no bool."""

    def step(rows: Rows) -> Rows:
        for item in rows:
            try:
                answer = op(item[1])
            except Exception as error:
                raise _located(error, item[0]) from None
            if answer is True:
                yield item
            elif answer is not False:
                raise ValueError(
                    f"the filter returned {answer!r} for the row of line {item[0]};"
                    " it must return True or False"
                )

    return step


def mapped(op: Callable[[Any], Any]) -> Step:
    """What `op` returns for each row, where that is not empty. Raises ValueError for what is no row."""

    def step(rows: Rows) -> Rows:
        for line, row in rows:
            try:
                new = op(row)
            except Exception as error:
                raise _located(error, line) from None
            if new:
                if not isinstance(new, ROW):
                    raise ValueError(
                        f"the map returned {type(new).__name__} for the row of line {line};"
                        " a row is a dict, a list or a text"
                    )
                yield line, new

    return step


def changed(change: Callable[[Any], Any]) -> Step:
    """What `change` makes of each row; for changes of our own, which are right and never delete."""
    return lambda rows: ((line, change(row)) for line, row in rows)


class Appended:
    """The rows, and then these, numbered on. More may be added to `new`, so that many make one step."""

    def __init__(self, new: list[Any]) -> None:
        self.new = new

    def __call__(self, rows: Rows) -> Rows:
        line = 0
        for item in rows:
            line = item[0]
            yield item
        yield from enumerate(self.new, line + 1)


def inserted(index: int, new: list[Any]) -> Step:
    """These rows before the row `index`, under its line. Raises IndexError when there are fewer rows."""

    def step(rows: Rows) -> Rows:
        count, line = 0, 0
        for count, (line, row) in enumerate(rows, 1):
            if count - 1 == index:
                yield from ((line, row) for row in new)
            yield line, row
        if index == count:
            yield from ((line + 1, row) for row in new)
        elif index > count:
            raise IndexError(f"there is no row {index} to insert before: there are {count}")

    return step


def deleted(indices: Iterable[int]) -> Step:
    """The rows without those at these indices. Raises IndexError when there are fewer rows."""
    gone = frozenset(indices)

    def step(rows: Rows) -> Rows:
        count = 0
        for count, item in enumerate(rows, 1):
            if count - 1 not in gone:
                yield item
        if gone and max(gone) >= count:
            raise IndexError(f"there is no row {max(gone)}: there are {count}")

    return step


def joined(more: Callable[[], Iterator[tuple[int, Any]]]) -> Step:
    """The rows, and then those of another stream, numbered on."""

    def step(rows: Rows) -> Rows:
        line = 0
        for item in rows:
            line = item[0]
            yield item
        yield from enumerate((row for _, row in more()), line + 1)

    return step


def _located(error: Exception, line: int) -> Exception:
    error.add_note(f"in the row of line {line}")
    return error
