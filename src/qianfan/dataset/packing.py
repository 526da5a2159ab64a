"""Packed rows and grouped rows: a conversation as one row, or its turns as rows with the number of their group.

A packed row is a list of turns, or a text. A grouped row is an object with the columns of a turn and `_group`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, groupby, islice
from typing import Any, Final

from qianfan.dataset.formats import Rows
from qianfan.dataset.seen import Seen
from qianfan.dataset.steps import Step

PACK: Final = "_pack"
GROUP: Final = "_group"
SORT: Final = "_sort"


def packed(rows: Rows) -> Rows:
    """The turns of each group as one row, in the order of the groups' first turns and under its line.

    Turns of a group stand together; a column `_sort` says their order. Raises ValueError for a turn without a
    group, or for a group that comes again after another."""
    ended = Seen()
    for group, items in groupby(rows, _group_of):
        if not ended.is_new(repr(group).encode()):
            raise ValueError(f"the rows of the group {group!r} do not stand together; sort them by {GROUP}")
        numbered = list(items)
        turns = [row for _, row in numbered]
        if all(SORT in turn for turn in turns):
            turns.sort(key=lambda turn: turn[SORT])
        yield numbered[0][0], [_without(turn, (GROUP, SORT)) for turn in turns]


def are_grouped(rows: Rows) -> tuple[bool, Rows]:
    """Whether the first row has a group, and the same rows again."""
    first = list(islice(rows, 1))
    grouped = bool(first) and isinstance(first[0][1], dict) and GROUP in first[0][1]
    return grouped, chain(first, rows)


def packed_if_grouped(rows: Rows) -> Rows:
    """The rows packed when the first has a group, else as they are."""
    grouped, rows = are_grouped(rows)
    return packed(rows) if grouped else rows


def unpacked(rows: Rows) -> Rows:
    """Each turn as a row with its group, numbered from 0. Raises ValueError for a row that is no list of objects."""
    for group, (line, turns) in enumerate(rows):
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise ValueError(f"the row of line {line} is no list of turns and cannot be unpacked")
        for turn in turns:
            yield line, {**turn, GROUP: group}


def numbered(column: str = GROUP, *, within: bool = False) -> Step:
    """The rows with a column of numbers from 0: of the row, or of the row within its group."""

    def step(rows: Rows) -> Rows:
        before, number = object(), -1
        for line, row in rows:
            group = row.get(GROUP) if within else None
            number = 0 if within and group != before else number + 1
            before = group
            yield line, {**row, column: number}

    return step


def _group_of(item: tuple[int, Any]) -> Any:
    line, row = item
    if not isinstance(row, dict) or GROUP not in row:
        raise ValueError(f"the row of line {line} has no {GROUP}; add_default_group_column() adds it")
    return row[GROUP]


def _without(row: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
