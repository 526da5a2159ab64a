"""The rows of a dataset, as they are looked at: iterated, counted, picked by index, slice or column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset.chain import Chain
from qianfan.dataset.files import FileDataSource
from qianfan.dataset.kept_rows import HeldRows
from qianfan.dataset.packing import GROUP, PACK
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.steps import Step
from qianfan.errors import InvalidArgumentError


class Rowed:
    """A source, and the rows that are here; of a dataset used on the platform none are."""

    def __init__(
        self,
        id: int | str | None = None,
        *,
        source: FileDataSource | QianfanDataSource | None = None,
        rows: list[Any] | None = None,
        lines: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if id is not None and source is not None:
            raise InvalidArgumentError("give an id or a source, not both")
        self.inner_data_source_cache: FileDataSource | QianfanDataSource | None = (
            source if id is None else QianfanDataSource(id=id, ak=kwargs.get("ak"), sk=kwargs.get("sk"))
        )
        self._chain: Chain | None = None
        if isinstance(self.inner_data_source_cache, FileDataSource):
            self._chain = Chain(self.inner_data_source_cache)
        elif rows is not None or self.inner_data_source_cache is None:
            self._chain = Chain(HeldRows(rows or [], lines))
        self._changed = False  # the rows are no longer those of the source
        self._done: list[str] = []  # what was done since they were

    @property
    def is_changed(self) -> bool:
        """True when rows were added, filtered or mapped since they were loaded."""
        return self._changed

    @property
    def row_number(self) -> int:
        """How many rows there are."""
        return len(self)

    def __len__(self) -> int:
        source = self.inner_data_source_cache
        if self._chain is None and isinstance(source, QianfanDataSource):
            if not source.info:
                source.refresh()
            return int(source.info.get("entityCount") or 0)
        return len(self._rows())

    def __bool__(self) -> bool:
        return True  # a dataset is something, also when it is empty; asking must not call the platform

    def __iter__(self) -> Iterator[Any]:
        chain = self._rows()
        chain.settle()
        return (row for _, row in chain.read())

    def __getitem__(self, key: int | slice | str | list[int] | list[str]) -> Any:
        """A row by its index, rows by a closed slice or a list of indices, columns by a name or a list of names.

        `ds[1:3]` has three rows. Columns come as a dict of lists. Of a dataset used on the platform, a number or a
        slice gives a list of {"entity_id", "entity_content"}."""
        source = self.inner_data_source_cache
        if self._chain is None and isinstance(source, QianfanDataSource) and isinstance(key, int | slice):
            from qianfan.dataset.entities import fetch

            return fetch(source, key)
        if isinstance(key, str):
            return self.to_pydict([key])
        if isinstance(key, list) and key and all(isinstance(name, str) for name in key):
            return self.to_pydict(key)  # type: ignore[arg-type]
        if isinstance(key, slice):
            start, last = closed(key)
            return self._rows().between(start, last + 1)
        if isinstance(key, list):
            return [self._row(index) for index in key]
        return self._row(key)

    def _row(self, index: Any) -> Any:
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"a row is picked by an index or a slice, not by {type(index).__name__}")
        at = index if index >= 0 else len(self) + index
        found = self._rows().between(at, at + 1) if at >= 0 else []
        if not found:
            raise IndexError(f"there is no row {index}: there are {len(self)}")
        return found[0]

    def to_pylist(self) -> list[Any]:
        """The rows as a list; changing it changes nothing here."""
        return list(iter(self))

    def to_pydict(self, names: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """The columns as a dict of lists, all of them or those named; None where a row has no such member.

        Rows that are no objects stand in the column `_pack`. Raises ValueError for a column that is not there."""
        rows = self.to_pylist()
        there = _columns(rows)
        wanted = there if names is None else list(names)
        for name in wanted:
            if name not in there:
                raise ValueError(
                    f"there is no column {name!r}; there are {', '.join(map(repr, there)) or 'none'}"
                )
        if wanted == [PACK] and not any(isinstance(row, dict) for row in rows):
            return {PACK: rows}
        return {name: [row.get(name) if isinstance(row, dict) else None for row in rows] for name in wanted}

    def col_names(self) -> list[str]:
        """The names of the columns, in the order in which they come; `_pack` for rows that are no objects."""
        return _columns(self)

    @property
    def column_number(self) -> int:
        """How many columns there are."""
        return len(self.col_names())

    def _rows(self) -> Chain:
        if self._chain is None:
            raise InvalidArgumentError(
                "the rows of this dataset are on the platform",
                advice="load it with is_download_to_local=True to have them here; "
                "list(), len(), test_using_llm() and online_data_process() work where it lies",
            )
        return self._chain

    @property
    def lineage(self) -> tuple[str, ...]:
        """Where the rows come from, and what was done to them, in order; functions by their names."""
        source = self.inner_data_source_cache
        named = "rows of this program"
        if isinstance(source, FileDataSource):
            named = f"file {source.path}"
        elif isinstance(source, QianfanDataSource):
            named = f"dataset {source.id}"
        return (named, *self._done)

    def origin(self, index: int) -> tuple[str, int]:
        """The file that a row was read from, and the line in it; "" and its number for rows of no file.

        Raises IndexError when there is no such row."""
        at = index if index >= 0 else len(self) + index
        line = self._rows().line(at) if at >= 0 else None
        if line is None:
            raise IndexError(f"there is no row {index}: there are {len(self)}")
        return self._place(line)

    def _then(self, step: Step, what: str = "process") -> None:
        self._rows().then(step)
        self._note(what)

    def _note(self, what: str) -> None:
        self._changed = True
        self._done.append(what)

    def _first(self) -> Any:
        return next((row for _, row in self._rows().read()), None)

    def is_dataset_packed(self) -> bool:
        """True when a row is a conversation, or a text, as a whole."""
        return self._chain is not None and isinstance(self._first(), (list, str))

    def is_dataset_grouped(self) -> bool:
        """True when a row is one turn, with the number of its conversation in `_group`."""
        if self._chain is None:
            return False
        first = self._first()
        return isinstance(first, dict) and GROUP in first

    def _source_name(self) -> str:
        return self._place(0)[0]

    def _place(self, line: int) -> tuple[str, int]:
        source = self.inner_data_source_cache
        return source.place(line) if isinstance(source, FileDataSource) else ("", line)

    def _template(self, target: QianfanDataSource | None) -> DataTemplateType:
        for source in (target, self.inner_data_source_cache):
            if isinstance(source, QianfanDataSource) and source.template_type is not None:
                return source.template_type
        text = isinstance(self._first(), str)
        return DataTemplateType.GenericText if text else DataTemplateType.NonSortedConversation


def closed(key: slice) -> tuple[int, int]:
    """First and last row of a slice. Raises ValueError for one without both, with a step, or from the end."""
    if key.start is None or key.stop is None or key.step is not None:
        raise ValueError("a slice needs its first and last row and no step: ds[1:3] has rows 1, 2 and 3")
    if key.start < 0 or key.stop < 0:
        raise ValueError("a slice counts rows from the first, 0; negative ends are not taken")
    return key.start, key.stop


def _columns(rows: Iterable[Any]) -> list[str]:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row if isinstance(row, dict) else (PACK,)))
    return list(names)
