"""Rows that are made when they are needed: a base, and the steps that are still to be taken.

Small rows are in memory, and a step is taken at once. A large file is read anew for each pass, and what is to be
done to its rows waits: `read` takes all steps in one pass, `settle` does so and keeps what comes out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.config import get_config
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.formats import FormatError, Rows
from qianfan.dataset.kept_rows import HeldRows, LineIndex, SpilledRows, keep
from qianfan.dataset.problems import DatasetFormatError
from qianfan.dataset.progress import reading
from qianfan.dataset.steps import Appended, Step
from qianfan.errors import InvalidArgumentError

MOST_STEPS: Final = 100  # that wait; each is a generator around the others
Base = FileDataSource | HeldRows | SpilledRows


class Chain:
    """The rows of one dataset. Not for several threads at once."""

    def __init__(self, base: Base) -> None:
        self.steps: list[Step] = []
        self._count: int | None = None
        self._index: LineIndex | None = None
        self._rest(base)

    def _rest(self, base: Base) -> None:
        self.base = base
        self._stamp = base.stamp() if isinstance(base, FileDataSource) and base.is_there else None
        self.steps, self._count, self._index = [], None, None

    @property
    def is_settled(self) -> bool:
        """Whether no step is waiting."""
        return not self.steps

    def read(self, told: Callable[[int], None] | None = None) -> Rows:
        """One pass: `(line, row)` after all steps. told: hears how many bytes of the file have been read."""
        rows: Rows = self._file(told) if isinstance(self.base, FileDataSource) else self.base.read()
        for step in self.steps:
            rows = step(rows)
        return rows

    def _file(self, told: Callable[[int], None] | None) -> Rows:
        assert isinstance(self.base, FileDataSource)
        if self._stamp is not None and self.base.stamp() != self._stamp:
            raise InvalidArgumentError(
                f"{self.base.path} was changed since it was loaded", advice="load it again"
            )
        try:
            yield from self.base.read(told)
        except FormatError as error:
            raise DatasetFormatError(error.problem) from None

    def then(self, step: Step) -> None:
        """Take a step: at once where the rows are small, else when they are needed."""
        if self._are_small() or len(self.steps) >= MOST_STEPS:
            self.settle()
        if isinstance(self.base, HeldRows):
            self._rest(HeldRows.of(step(self.base.read())))
        else:
            self.steps.append(step)
            self._count = None

    def _are_small(self) -> bool:
        if self.steps or not isinstance(self.base, FileDataSource):
            return False
        return self.base.size <= int(get_config().DATASET_MEMORY)

    def settle(self, what: str = "making the rows", shown: bool | None = None) -> Base:
        """Take the steps that wait, once, and keep the rows: a few in memory, many in a temporary file."""
        if self.steps or self._are_small():
            size = self.base.size if isinstance(self.base, FileDataSource) else 0
            with reading(what, size, shown if self.steps else False) as told:
                self._rest(keep(self.read(told)))
        return self.base

    def extend(self, new: list[Any]) -> None:
        """Add rows at the end."""
        if self._are_small():
            self.settle()
        self._count = None
        if isinstance(self.base, HeldRows):
            self.base.extend(new)
        elif self.steps and isinstance(self.steps[-1], Appended):
            self.steps[-1].new.extend(new)
        else:
            self.then(Appended([*new]))

    def counted(self, count: int) -> None:
        """A pass has shown how many rows there are."""
        self._count = count

    @property
    def known_count(self) -> int | None:
        """How many rows there are, or None while that is not known."""
        return self._count if isinstance(self.base, FileDataSource) or self.steps else len(self.base)

    def __len__(self) -> int:
        if self._count is None:
            self.settle()
            base = self.base
            if isinstance(base, FileDataSource):
                self._count = self._lines().count if base.is_lines else sum(1 for _ in self.read())
            else:
                self._count = len(base)
        return self._count

    def between(self, start: int, stop: int) -> list[Any]:
        """The rows from `start` up to `stop`, which is left out."""
        base = self.settle()
        if isinstance(base, FileDataSource):
            if not base.is_lines:
                return [row for _, row in itertools.islice(self.read(), start, stop)]
            try:
                return list(map(orjson.loads, self._lines().between(start, stop)))
            except orjson.JSONDecodeError:  # in another encoding, or wrong: reading it all tells which
                return [row for _, row in itertools.islice(self.read(), start, stop)]
        return base.between(start, stop)

    def line(self, index: int) -> int | None:
        """The line that a row comes from, None when there is no such row."""
        base = self.settle()
        if not isinstance(base, FileDataSource):
            return base.line(index)
        return next((line for line, _ in itertools.islice(self.read(), index, index + 1)), None)

    def _lines(self) -> LineIndex:
        assert isinstance(self.base, FileDataSource)
        if self._index is None:
            try:
                self._index = LineIndex(Path(self.base.path))
            except FormatError as error:
                raise DatasetFormatError(error.problem) from None
        return self._index
