"""Changing the rows of a dataset: each method changes the dataset and returns it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from qianfan.dataset import packing, steps
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.kept_rows import HeldRows
from qianfan.dataset.packing import GROUP
from qianfan.dataset.rowed import Rowed, closed
from qianfan.dataset.seen import distinct
from qianfan.utils.logging import logger

SAMPLE = 64 * 1024  # bytes at the start of a file that tell how long its rows are


class Editing(Rowed):
    """Rows are changed at once where they are in memory. Those of a large file are changed when they are needed:
    once for a `save`, once more when they are looked at afterwards; so let functions always give the same."""

    def map(self, op: Callable[[Any], Any], **kwargs: Any) -> Self:
        """Replace each row by what `op` returns for it; a row for which that is empty goes. Returns self."""
        self._then(steps.mapped(op), f"map {_name(op)}")
        return self

    def filter(self, op: Callable[[Any], bool], **kwargs: Any) -> Self:
        """Keep the rows for which `op` returns True; it must return a bool. Returns self."""
        self._then(steps.kept(op), f"filter {_name(op)}")
        return self

    def append(self, row: Any, add_new_group: bool = False, is_grouped: bool = True) -> Self:
        """Add a row, or each of a list of objects. Returns self.

        In a dataset of grouped turns, turns without a group join the last one, or with add_new_group a new one
        (is_grouped=False: a new one each)."""
        first = self._first()
        new = list(row) if isinstance(row, list) and row and isinstance(first, dict) else [row]
        if isinstance(first, dict) and GROUP in first:
            last = self._row(-1)[GROUP]
            new = _grouped(new, last, add_new_group, is_grouped)
        self._rows().extend(new)
        self._note(f"append {len(new)}")
        return self

    def insert(self, row: Any, index: int, group_id: int = -1) -> Self:
        """Put a row, or each of a list of objects, before the row `index`. Returns self.

        group_id: of turns that are put among grouped ones; by default that of the row before."""
        first = self._first()
        new = list(row) if isinstance(row, list) and row and isinstance(first, dict) else [row]
        at = self._index(index, end=True)
        if isinstance(first, dict) and GROUP in first:
            group = group_id if group_id >= 0 else self._row(max(0, at - 1))[GROUP]
            new = [{GROUP: group, **turn} for turn in new]
        self._then(steps.inserted(at, new), f"insert {len(new)} before {at}")
        return self

    def delete(self, index: int | slice | list[int]) -> Self:
        """Remove a row, the rows of a closed slice, or those of a list of indices. Returns self."""
        if isinstance(index, slice):
            start, last = closed(index)
            gone: Any = range(start, min(last + 1, len(self)))
        else:
            gone = [self._index(at) for at in (index if isinstance(index, list) else [index])]
        self._then(steps.deleted(gone), f"delete {len(gone)}")
        return self

    def concat(self, *others: Rowed) -> Self:
        """Add the rows of other datasets at the end. Returns self."""
        for other in others:
            base = other._rows().settle()
            if isinstance(base, HeldRows):
                self._rows().extend(list(base.rows))
            else:
                self._rows().then(steps.joined(base.read))
            self._note(f"concat {other.lineage[0]}")
        return self

    def dedup(self, near: bool | float = False) -> Self:
        """Keep each row the first time that it comes. Returns self.

        Rows are equal when their members are, in any order. near: rows whose texts are nearly the same are one,
        from this share of common runs of three words on (0.5 to 1; True: 0.8); it needs the extra `dataset`."""
        if near is False:
            expected = self._expected()
            self._then(lambda rows: distinct(rows, expected), "dedup")
        else:
            threshold = None if near is True else near
            self._then(lambda rows: _far(rows, threshold), "dedup near")
        return self

    def pack(self) -> bool:
        """Make one row of the turns of each `_group`. Returns False when there are no groups; nothing is changed."""
        self._rows()
        if self.is_dataset_packed():
            return True
        if not self.is_dataset_grouped():
            logger.warning("rows without %s cannot be packed; add_default_group_column() adds it", GROUP)
            return False
        self._then(packing.packed, "pack")
        return True

    def unpack(self) -> bool:
        """Make a row of each turn, with its `_group`. Returns False when rows are no conversations."""
        first = self._first()
        if isinstance(first, list):
            self._then(packing.unpacked, "unpack")
        return isinstance(first, (list, dict))

    def add_default_group_column(self) -> Self:
        """Number the rows in `_group`, each a group of its own. Returns self."""
        self._then(packing.numbered(), "add_default_group_column")
        return self

    def delete_group_column(self) -> Self:
        """Remove `_group`. Returns self."""
        self._then(
            steps.changed(lambda row: {name: row[name] for name in row if name != GROUP}),
            "delete_group_column",
        )
        return self

    def add_default_sort(self) -> Self:
        """Number the turns of each group in `_sort`, in the order in which they are; `pack` goes by it. Returns self."""
        self._then(packing.numbered(packing.SORT, within=True), "add_default_sort")
        return self

    def _index(self, index: int, *, end: bool = False) -> int:
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"a row is picked by an index, not by {type(index).__name__}")
        if index >= 0 and not end and not self._rows().is_settled:
            return index
        count = len(self)
        at = index if index >= 0 else count + index
        if not 0 <= at < count + end:
            raise IndexError(f"there is no row {index}: there are {count}")
        return at

    def _expected(self) -> int:
        """About how many rows there are."""
        base = self._rows().base
        if not isinstance(base, FileDataSource):
            return len(base)
        if not base.is_lines:
            return 0
        with open(base.path, "rb") as file:
            start = file.read(SAMPLE)
        return base.size * (start.count(b"\n") + 1) // max(1, len(start))


def _name(op: Any) -> str:
    return getattr(op, "__qualname__", type(op).__name__)


def _grouped(new: list[Any], last: int, add: bool, together: bool) -> list[Any]:
    first = last + add
    return [{GROUP: first if together else first + at, **turn} for at, turn in enumerate(new)]


def _far(rows: Iterator[tuple[int, Any]], threshold: float | None) -> Iterator[tuple[int, Any]]:
    from itertools import tee

    from qianfan.dataset.near import NearDuplicates
    from qianfan.dataset.texts import text_of

    index = NearDuplicates() if threshold is None else NearDuplicates(threshold)
    given, asked = tee(rows)
    for item, new in zip(given, index.news(text_of(row) for _, row in asked), strict=True):
        if new:
            yield item
