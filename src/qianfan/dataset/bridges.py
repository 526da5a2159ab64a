"""Rows from and to the tables of others: pyarrow, pandas, polars, and Hugging Face datasets, where installed.

Rows that are objects become rows of columns. Rows that are no objects, texts and conversations, become one column
`_pack`; so they come back as they were. What a table adds for members that a row has not (null, NaN) comes back as
None in an object, and is left out inside `_pack`.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import islice
from typing import Any, Final

from qianfan.errors import InvalidArgumentError, MissingExtra, need

PACK: Final = "_pack"
BATCH: Final = 10_000  # rows that are turned at once


def rows_of(foreign: Any) -> Iterator[Any]:
    """The rows of a table of others, some at a time, as plain values.

    foreign: a pyarrow Table, RecordBatch or RecordBatchReader, a pandas or polars DataFrame, a polars LazyFrame, a
    Hugging Face Dataset or IterableDataset. Raises InvalidArgumentError for anything else, also a DatasetDict."""
    library = type(foreign).__module__.partition(".")[0]
    read = _READERS.get((library, type(foreign).__name__))
    if read is None:
        if isinstance(foreign, Mapping) and library == "datasets":
            raise InvalidArgumentError(
                f"this has several splits: {', '.join(map(str, foreign))}", advice="give one of them"
            )
        raise InvalidArgumentError(
            f"a {library} {type(foreign).__name__} is no table that is known here",
            advice="give a Dataset of Hugging Face, a DataFrame of pandas or polars, or a Table of pyarrow",
        )
    return _unpacked(read(foreign))


def to_arrow(rows: Iterable[Any]) -> Any:
    """A pyarrow Table. Raises InvalidArgumentError for rows whose members have different types."""
    pyarrow = need("pyarrow", "to make a table of rows", "dataset")
    tables = []
    for batch in _batches(_packed(rows)):
        try:
            tables.append(pyarrow.Table.from_pylist(batch))
        except pyarrow.ArrowException as error:
            raise _unfit(error) from None
    if not tables:
        return pyarrow.table({})
    try:
        return pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise _unfit(error) from None


def to_pandas(rows: Iterable[Any]) -> Any:
    """A pandas DataFrame; nested values stay lists and dicts."""
    pandas = _installed("pandas")
    frames = [pandas.DataFrame.from_records(batch) for batch in _batches(_packed(rows))]
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()


def to_polars(rows: Iterable[Any]) -> Any:
    """A polars DataFrame. Raises InvalidArgumentError for rows whose members have different types."""
    polars = _installed("polars")
    try:
        return polars.DataFrame(list(_packed(rows)), infer_schema_length=None)
    except (polars.exceptions.PolarsError, TypeError) as error:
        raise _unfit(error) from None


def to_huggingface(rows: Iterable[Any]) -> Any:
    """A Dataset of the library datasets. Raises InvalidArgumentError as `to_arrow` does."""
    datasets = _installed("datasets")
    return datasets.Dataset(to_arrow(rows))


def _installed(library: str) -> Any:
    """A library that no extra of ours brings."""
    try:
        return import_module(library)
    except ImportError as error:
        raise MissingExtra(
            f"{library} is not installed", cause=error, advice=f"pip install {library}"
        ) from error


def _unfit(error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the members of the rows have different types: {str(error).splitlines()[0][:200]}",
        advice="give each member one type, or keep the rows as jsonl",
    )


def _packed(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows of columns; the first row says whether they are packed."""
    packed: bool | None = None
    for number, row in enumerate(rows, 1):
        if packed is None:
            packed = not isinstance(row, dict)
        if isinstance(row, dict) is packed:
            raise InvalidArgumentError(
                f"row {number} is {'an object' if packed else 'no object'}, unlike those before it",
                advice="give rows of one shape",
            )
        yield {PACK: row} if packed else row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _unpacked(rows: Iterator[dict[str, Any]]) -> Iterator[Any]:
    for row in rows:
        yield _filled(plain(row[PACK])) if row.keys() == {PACK} else plain(row)


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays as lists, numbers and times of the libraries as Python's and as texts."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if hasattr(value, "tolist"):  # of numpy: an array or a number
        return plain(value.tolist())
    if isinstance(value, datetime.date | datetime.time):
        return None if value != value else value.isoformat()  # NaT is not itself
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def _filled(value: Any) -> Any:
    """Without the members that the table has filled with null."""
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def _of_arrow(table: Any) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=BATCH):
        yield from batch.to_pylist()


def _of_arrow_reader(reader: Any) -> Iterator[dict[str, Any]]:
    for batch in reader:
        yield from batch.to_pylist()


def _of_pandas(frame: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), BATCH):
        yield from frame.iloc[start : start + BATCH].to_dict("records")


def _of_polars(frame: Any) -> Iterator[dict[str, Any]]:
    for part in frame.iter_slices(BATCH):
        yield from part.to_dicts()


_READERS: Final[dict[tuple[str, str], Callable[[Any], Iterator[dict[str, Any]]]]] = {
    ("pyarrow", "Table"): _of_arrow,
    ("pyarrow", "RecordBatch"): lambda batch: iter(batch.to_pylist()),
    ("pyarrow", "RecordBatchReader"): _of_arrow_reader,
    ("pandas", "DataFrame"): _of_pandas,
    ("polars", "DataFrame"): _of_polars,
    ("polars", "LazyFrame"): lambda frame: _of_polars(frame.collect()),
    ("datasets", "Dataset"): iter,
    ("datasets", "IterableDataset"): iter,
}
