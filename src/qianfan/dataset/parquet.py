"""Rows of Parquet files, a batch at a time; pyarrow is imported when one is read or written.

A row is an object of the columns. A file whose one column is `_pack` holds rows that are no objects: a
conversation (a list of turns) or a text in each cell. Parquet has no missing members: inside `_pack` those that
are null are left out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from qianfan.contract.enums import DataImportError
from qianfan.dataset.formats import FormatError
from qianfan.dataset.schemas import Problem
from qianfan.errors import need

PACK: Final = "_pack"
BATCH: Final = 1024  # rows read at once
FIRST: Final = 10_000  # rows that say which columns there are and what they hold


def read_parquet(path: str | Path, source: str = "") -> Iterator[tuple[int, Any]]:
    """`(line, row)` of the file, numbered from 1; holds one batch of rows and what Parquet packs with it.

    Raises FormatError for a file that is no Parquet, MissingExtra without pyarrow."""
    pyarrow = _pyarrow()
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False) as file:
            packed = file.schema_arrow.names == [PACK]
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _without_nulls(row[PACK]) if packed else row
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        what = f"the file is not readable Parquet: {str(error).splitlines()[0][:200]}"
        raise FormatError(
            Problem(
                number + 1,
                what,
                "write it again with a Parquet writer, or as jsonl",
                source=source,
                code=DataImportError.BadFormat.value,
            )
        ) from None


def write_parquet(path: str | Path, rows: Iterable[Any]) -> int:
    """Write the rows, and return how many. The first 10,000 say what the columns hold.

    Raises FormatError, naming the row, when a later one does not fit them; MissingExtra without pyarrow."""
    pyarrow = _pyarrow()
    given = iter(rows)
    first = list(islice(given, FIRST))
    packed = not all(isinstance(row, dict) for row in first)
    count = 0
    schema = None
    writer = None
    try:
        for batch in chain([first], iter(lambda: list(islice(given, FIRST)), [])):
            cells = [{PACK: row} for row in batch] if packed else batch
            _check(cells, None if schema is None else set(schema.names), count)
            try:
                table = pyarrow.Table.from_pylist(cells, schema=schema)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
                raise _unfit(pyarrow, cells, schema, count, error) from None
            schema = schema or table.schema
            writer = writer or pyarrow.parquet.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(table)
            count += len(batch)
    finally:
        if writer is not None:
            writer.close()
    return count


def _pyarrow() -> Any:
    pyarrow = need("pyarrow", "for parquet files", "dataset")
    need("pyarrow.parquet", "for parquet files", "dataset")
    return pyarrow


def _check(cells: list[Any], columns: set[str] | None, before: int) -> None:
    for number, row in enumerate(cells, before + 1):
        if not isinstance(row, dict) or (columns is not None and row.keys() - columns):
            what = (
                "the row has other columns than the first ones" if isinstance(row, dict) else "is no object"
            )
            raise FormatError(Problem(number, what, "give rows of one shape, or write them as jsonl"))


def _unfit(pyarrow: Any, cells: list[Any], schema: Any, before: int, error: Exception) -> FormatError:
    """Which row it was: the first that cannot be put after those before it."""
    low, high = 0, len(cells)
    while low < high:  # the first `low` rows fit, the first `high + 1` do not
        middle = (low + high) // 2
        try:
            pyarrow.Table.from_pylist(cells[: middle + 1], schema=schema)
            low = middle + 1
        except pyarrow.ArrowException:
            high = middle
    what = f"the row does not fit the columns before it: {str(error).splitlines()[0][:200]}"
    return FormatError(Problem(before + low + 1, what, "give rows of one shape, or write them as jsonl"))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
