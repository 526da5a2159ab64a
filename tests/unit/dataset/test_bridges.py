"""Rows to the tables of others and back."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from qianfan.dataset import bridges
from qianfan.errors import InvalidArgumentError, MissingExtra

CHATS: list[Any] = [
    [{"prompt": "你好", "response": [["您好"]], "system": "s"}],
    [{"prompt": "a", "response": [["b"]]}, {"prompt": "c", "response": [["d"]]}],
]
OBJECTS = [{"prompt": "a", "score": 1.5, "tags": ["x", "y"]}, {"prompt": "b", "score": 2.0, "tags": []}]
TEXTS = ["one", "two"]
MAKERS = {
    "pyarrow": bridges.to_arrow,
    "pandas": bridges.to_pandas,
    "polars": bridges.to_polars,
    "datasets": bridges.to_huggingface,
}


def needs(library: str) -> None:
    """Skip unless it is installed: a folder of tests that is called `datasets` is no library."""
    pytest.importorskip("datasets.arrow_dataset" if library == "datasets" else library)


@pytest.mark.parametrize("rows", [CHATS, OBJECTS, TEXTS], ids=["conversations", "objects", "texts"])
@pytest.mark.parametrize("library", MAKERS)
def test_rows_go_and_come_back_as_they_were(library: str, rows: list[Any]) -> None:
    """Through each library that is installed; members that a turn has not do not appear."""
    needs(library)
    table = MAKERS[library](iter(rows))
    assert len(table) == len(rows)
    assert list(bridges.rows_of(table)) == rows


@pytest.mark.parametrize("library", MAKERS)
def test_nothing_is_lost_at_the_border_of_a_batch(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row before it, on it, after it, and some batches."""
    needs(library)
    monkeypatch.setattr(bridges, "BATCH", 10)
    for count in (0, 9, 10, 11, 25):
        rows = [{"number": number} for number in range(count)]
        assert list(bridges.rows_of(MAKERS[library](rows))) == rows


def test_a_reader_and_a_batch_of_arrow_are_read() -> None:
    """Not only whole tables."""
    table = bridges.to_arrow(OBJECTS)
    assert list(bridges.rows_of(table.to_reader(max_chunksize=1))) == OBJECTS
    assert list(bridges.rows_of(table.to_batches()[0])) == OBJECTS


def test_lazy_tables_are_read() -> None:
    """Of polars and of Hugging Face, whichever is installed."""
    needs("polars")
    needs("datasets")
    assert list(bridges.rows_of(bridges.to_polars(OBJECTS).lazy())) == OBJECTS
    assert list(bridges.rows_of(bridges.to_huggingface(OBJECTS).to_iterable_dataset())) == OBJECTS


def test_values_become_plain() -> None:
    """Arrays, numbers, times and NaN of the libraries are what JSON has."""
    numpy = pytest.importorskip("numpy")
    import datetime

    made = bridges.plain(
        {
            "a": numpy.array([1, 2]),
            "b": numpy.float32(0.5),
            "c": float("nan"),
            "d": datetime.date(2024, 2, 29),
        }
    )
    assert made == {"a": [1, 2], "b": 0.5, "c": None, "d": "2024-02-29"}


def test_what_does_not_fit_is_refused_with_words() -> None:
    """Rows of two shapes, members of two types, and things that are no table."""
    with pytest.raises(InvalidArgumentError, match="row 2 is an object"):
        bridges.to_arrow(["text", {"prompt": "a"}])
    with pytest.raises(InvalidArgumentError, match="different types"):
        bridges.to_arrow([{"a": 1}, {"a": "x"}])
    with pytest.raises(InvalidArgumentError, match="no table"):
        bridges.rows_of([1, 2])


@pytest.mark.parametrize("library", MAKERS)
def test_a_library_that_is_missing_is_named(library: str) -> None:
    """With what to install."""
    if importlib.util.find_spec(library):
        pytest.skip(f"{library} is installed")
    with pytest.raises(MissingExtra, match=f"pip install .*{library}|open-qianfan"):
        MAKERS[library](OBJECTS)


def test_a_dataset_with_splits_asks_for_one() -> None:
    """A DatasetDict is several datasets."""
    needs("datasets")
    import datasets

    both = datasets.DatasetDict({"train": bridges.to_huggingface(OBJECTS)})
    with pytest.raises(InvalidArgumentError, match="train"):
        bridges.rows_of(both)
