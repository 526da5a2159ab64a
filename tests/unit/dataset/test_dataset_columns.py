"""Columns, and rows that are picked, put in and taken out."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.dataset import Dataset
from qianfan.errors import InvalidArgumentError


def flat() -> Dataset:
    return Dataset.create_from_pyobj({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def test_columns_are_picked_by_name_position_and_closed_slice() -> None:
    """`ds["a"]` and `col_list` give dicts of lists; a row without a member has None there."""
    dataset = flat().append({"a": 4, "c": True})
    assert dataset.col_names() == ["a", "b", "c"]
    assert (dataset.column_number, dataset.row_number) == (3, 4)
    assert dataset["a"] == {"a": [1, 2, 3, 4]}
    assert dataset[["b", "c"]] == {"b": ["x", "y", "z", None], "c": [None, None, None, True]}
    assert dataset.col_list(0) == dataset.col_list(["a"]) == {"a": [1, 2, 3, 4]}
    assert list(dataset.col_list(slice(1, 2))) == ["b", "c"]
    assert dataset.to_pydict() == dataset.col_list()
    with pytest.raises(ValueError, match="no column 'd'; there are 'a', 'b', 'c'"):
        dataset["d"]


def test_columns_are_added_renamed_and_deleted() -> None:
    """Each method changes the dataset and returns it; the order of columns is kept."""
    dataset = flat()
    assert dataset.col_append({"name": "c", "data": [7, 8, 9]}) is dataset
    dataset.col_insert({"name": "z", "data": [0, 0, 0]}, 0)
    assert dataset[0] == {"z": 0, "a": 1, "b": "x", "c": 7}
    assert list(dataset[0]) == ["z", "a", "b", "c"]
    dataset.col_renames(["A", "B", "C", "D"]).col_renames({"D": "last"}).col_delete([0, "B"])
    assert dataset.to_pylist()[2] == {"C": "z", "last": 9}
    del dataset["C"]
    assert dataset.to_pydict() == {"last": [7, 8, 9]}
    with pytest.raises(ValueError, match="2 values for 3 rows"):
        dataset.col_append({"name": "x", "data": [1, 2]})
    with pytest.raises(ValueError, match="there is a column 'last'"):
        dataset.col_append({"name": "last", "data": [1, 2, 3]})
    with pytest.raises(ValueError, match="2 names are given for 1 columns"):
        dataset.col_renames(["a", "b"])


def test_columns_are_mapped_and_filtered_as_wholes() -> None:
    """A function sees the name and the values; an empty answer deletes the column, a filter must say a bool."""
    dataset = flat().col_append({"name": "c", "data": [1.5, 2.5, 3.5]})
    dataset.col_filter(lambda column: column["name"] != "b")
    dataset.col_map(lambda column: [-n for n in column["data"]] if column["name"] == "a" else None)
    assert dataset.to_pydict() == {"a": [-1, -2, -3]}
    dataset.col_map(lambda column: {"name": "A", "data": column["data"]})
    assert dataset.col_names() == ["A"]
    with pytest.raises(ValueError, match="must be True or False"):
        dataset.col_filter(lambda column: 1)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="no list of 3 values"):
        dataset.col_map(lambda column: [1])


def test_rows_are_picked_put_in_and_taken_out() -> None:
    """By index, from the end, by a list of indices, by a closed slice."""
    dataset = Dataset.create_from_pyobj([{"n": n} for n in range(6)])
    assert [row["n"] for row in dataset[[4, -1, 0]]] == [4, 5, 0]
    assert dataset.list(2) == {"n": 2}
    assert dataset.list(slice(1, 2)) == [{"n": 1}, {"n": 2}]
    assert dataset.list() == dataset.to_pylist()
    dataset.insert({"n": 9}, 1).delete(0).delete([-1, 1])
    assert [row["n"] for row in dataset] == [9, 2, 3, 4]
    del dataset[0:1]
    del dataset[-1]
    assert dataset.to_pylist() == [{"n": 3}]
    for wrong in (lambda: dataset[5], lambda: dataset.delete(1), lambda: dataset.insert({"n": 1}, 2)):
        with pytest.raises(IndexError, match="there is no row"):
            wrong()
    with pytest.raises(TypeError, match="not by float"):
        dataset[1.5]  # type: ignore[index]


def test_conversations_and_texts_have_one_column() -> None:
    """It is `_pack`; columns of their turns come with unpack."""
    dataset = Dataset.create_from_pyobj([[{"prompt": "a"}], [{"prompt": "b"}]])
    assert dataset.col_names() == ["_pack"]
    assert dataset["_pack"] == {"_pack": [[{"prompt": "a"}], [{"prompt": "b"}]]}
    for change in (
        lambda: dataset.col_delete("_pack"),
        lambda: dataset.col_append({"name": "x", "data": [1, 2]}),
    ):
        with pytest.raises(ValueError, match="unpack"):
            change()


def test_equal_rows_are_one_whatever_the_order_of_their_members() -> None:
    """The first stays, and how its members stand."""
    rows: list[Any] = [
        {"a": 1, "b": [{"x": 1, "y": 2}]},
        {"b": [{"y": 2, "x": 1}], "a": 1},
        {"a": 1},
        {"a": 1.0},
    ]
    assert Dataset.create_from_pyobj(rows).dedup().to_pylist() == [rows[0], {"a": 1}, {"a": 1.0}]


def test_what_needs_rows_here_is_refused_for_a_dataset_on_the_platform() -> None:
    """The error says what works there, and nothing is sent."""
    cloud = Dataset(id=1)
    for change in (
        lambda: cloud.map(lambda row: row),
        lambda: cloud.append({"a": 1}),
        lambda: cloud[[0]],
        lambda: cloud["a"],
        lambda: cloud.col_names(),
        lambda: cloud.pack(),
        lambda: cloud.to_pydict(),
        lambda: cloud.statistics(),
        lambda: iter(cloud),
    ):
        with pytest.raises(InvalidArgumentError, match="rows of this dataset are on the platform"):
            change()
