"""The columns of a dataset of flat rows: each method changes the dataset and returns it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from qianfan.dataset.formats import Rows
from qianfan.dataset.rowed import Rowed, closed
from qianfan.dataset.steps import Step, changed

By = int | str | slice | list[int] | list[str]


class Columns(Rowed):
    """A column is a member of every row. Conversations and texts have one alone, `_pack`; `unpack` them first."""

    def col_list(self, by: By | None = None) -> dict[str, list[Any]]:
        """Columns as a dict of lists: all, by name, by position, by a list of either, or by a closed slice."""
        return self.to_pydict(None if by is None else self._named(by))

    def col_append(self, elem: Mapping[str, Any]) -> Self:
        """Add a column at the end: {"name": …, "data": […]}, one value for each row. Returns self.

        Raises ValueError when there are more or fewer values than rows, or when the column is there."""
        return self.col_insert(elem, self.column_number)

    def col_insert(self, elem: Mapping[str, Any], index: int) -> Self:
        """The same, before the column `index`."""
        name, data = _column(elem)
        there = self.col_names()
        if name in there:
            raise ValueError(f"there is a column {name!r}; delete or rename it first")
        count = len(self)
        if there and len(data) != count:
            raise ValueError(f"the column {name!r} has {len(data)} values for {count} rows")
        if not there:
            self._rows().extend([{name: value} for value in data])
            self._note(f"add column {name}")
            return self
        self._flat()
        self._then(_with_column(name, data, there[index:]), f"add column {name}")
        return self

    def col_map(self, op: Callable[[dict[str, Any]], Any]) -> Self:
        """Replace each column by what `op` returns for {"name", "data"}: the same shape, or the values alone.

        A column for which that is empty goes. All columns are in memory meanwhile. Returns self."""
        self._flat()
        found: dict[str, Sequence[Any]] = {}
        for name, data in self.to_pydict().items():
            new = op({"name": name, "data": data})
            if not new:
                continue
            new_name, new_data = _column(new) if isinstance(new, Mapping) else (name, new)
            if not isinstance(new_data, Sequence) or isinstance(new_data, str) or len(new_data) != len(data):
                raise ValueError(
                    f"the map returned no list of {len(data)} values for the column {name!r}; a column has "
                    "a value for each row"
                )
            found[new_name] = new_data
        rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
        self._then(
            lambda old: ((line, row) for (line, _), row in zip(old, rows, strict=False)), "map columns"
        )
        return self

    def col_filter(self, op: Callable[[dict[str, Any]], bool]) -> Self:
        """Keep the columns for which `op` returns True for {"name", "data"}; it must return a bool. Returns self."""
        self._flat()
        gone = []
        for name, data in self.to_pydict().items():
            answer = op({"name": name, "data": data})
            if not isinstance(answer, bool):
                raise ValueError(
                    f"the filter returned {answer!r} for the column {name!r}; it must be True or False"
                )
            if not answer:
                gone.append(name)
        return self.col_delete(gone) if gone else self

    def col_delete(self, index: By) -> Self:
        """Remove columns by name, by position, by a list of either, or by a closed slice. Returns self."""
        self._flat()
        gone = set(self._named(index))
        self._then(
            changed(lambda row: {name: row[name] for name in row if name not in gone}),
            f"delete columns {sorted(gone)}",
        )
        return self

    def col_renames(self, new_names: Sequence[str] | Mapping[str, str]) -> Self:
        """Give the columns other names: a name for each in order, or those that change by their old names.

        Raises ValueError when that is not one name for each column. Returns self."""
        self._flat()
        there = self.col_names()
        if isinstance(new_names, Mapping):
            self._named(list(new_names))
            names = {name: new_names.get(name, name) for name in there}
        elif len(new_names) != len(there):
            raise ValueError(f"{len(new_names)} names are given for {len(there)} columns")
        else:
            names = dict(zip(there, new_names, strict=True))
        if len(set(names.values())) < len(names):
            raise ValueError(f"two columns would have one name: {', '.join(map(repr, names.values()))}")
        self._then(
            changed(lambda row: {names.get(name, name): value for name, value in row.items()}),
            "rename columns",
        )
        return self

    def _flat(self) -> None:
        if not isinstance(self._first(), dict):
            raise ValueError("the rows are conversations or texts and have no columns; unpack() makes some")

    def _named(self, by: By) -> list[str]:
        there = self.col_names()
        if isinstance(by, slice):
            start, last = closed(by)
            return there[start : last + 1]
        found = []
        for key in by if isinstance(by, list) else [by]:
            if isinstance(key, str) and key not in there:
                raise ValueError(
                    f"there is no column {key!r}; there are {', '.join(map(repr, there)) or 'none'}"
                )
            found.append(key if isinstance(key, str) else there[key])
        return found


def _column(elem: Any) -> tuple[str, Sequence[Any]]:
    if isinstance(elem, Mapping) and elem.keys() == {"name", "data"}:
        return str(elem["name"]), elem["data"]
    if isinstance(elem, Mapping) and len(elem) == 1:
        ((name, data),) = elem.items()
        return str(name), data
    raise ValueError('a column is {"name": "…", "data": […]}')


def _with_column(name: str, data: Sequence[Any], after: Sequence[str]) -> Step:
    behind = frozenset(after)

    def step(rows: Rows) -> Rows:
        values: Iterator[Any] = iter(data)
        for (line, row), value in zip(rows, values, strict=True):
            new = {key: row[key] for key in row if key not in behind}
            new[name] = value
            new.update((key, row[key]) for key in row if key in behind)
            yield line, new

    return step
