"""Conversations as one row, and their turns as rows of a group."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qianfan.dataset import Dataset

ROWS = [
    [{"prompt": "a", "response": [["b"]]}, {"prompt": "c", "response": [["d"]]}],
    [{"prompt": "e", "response": [["f"]]}],
]
TURNS = [
    {"prompt": "a", "response": [["b"]], "_group": 0},
    {"prompt": "c", "response": [["d"]], "_group": 0},
    {"prompt": "e", "response": [["f"]], "_group": 1},
]


def test_unpack_and_pack_are_each_others_way_back() -> None:
    """Turns get the number of their conversation, and lose it."""
    dataset = Dataset.create_from_pyobj(ROWS)
    assert dataset.is_dataset_packed()
    assert dataset.unpack() is True
    assert dataset.is_dataset_grouped()
    assert dataset.to_pylist() == TURNS
    assert dataset.pack() is True
    assert dataset.to_pylist() == ROWS
    assert dataset.pack() is True


def test_rows_without_groups_are_not_packed() -> None:
    """pack says False and changes nothing; a column of groups makes it possible."""
    dataset = Dataset.create_from_pyobj([{"prompt": "a"}, {"prompt": "b"}])
    assert dataset.pack() is False
    assert dataset.add_default_group_column().pack() is True
    assert dataset.to_pylist() == [[{"prompt": "a"}], [{"prompt": "b"}]]
    assert Dataset.create_from_pyobj(["a text"]).unpack() is False
    grouped = Dataset.create_from_pyobj(TURNS).delete_group_column()
    assert grouped.to_pylist() == [{key: turn[key] for key in ("prompt", "response")} for turn in TURNS]


def test_turns_that_are_added_join_a_group() -> None:
    """The last one, a new one, or that of the row before."""
    dataset = Dataset.create_from_pyobj(ROWS)
    dataset.unpack()
    dataset.append({"prompt": "g"}).append([{"prompt": "h"}, {"prompt": "i"}], add_new_group=True)
    dataset.insert({"prompt": "x"}, 1)
    assert [(row["prompt"], row["_group"]) for row in dataset] == [
        ("a", 0), ("x", 0), ("c", 0), ("e", 1), ("g", 1), ("h", 2), ("i", 2),
    ]  # fmt: skip


def test_turns_are_packed_in_the_order_of_their_sort_column() -> None:
    """add_default_sort numbers the turns of a group; pack goes by the numbers and takes them away."""
    dataset = Dataset.create_from_pyobj(ROWS)
    dataset.unpack()
    assert [row["_sort"] for row in dataset.add_default_sort()] == [0, 1, 0]
    dataset.map(lambda row: {**row, "_sort": -row["_sort"]})
    dataset.pack()
    assert dataset.to_pylist() == [ROWS[0][::-1], ROWS[1]]


def test_a_group_in_two_places_is_refused() -> None:
    """Turns of others in between would be put out of order in silence."""
    with pytest.raises(ValueError, match="group 0 do not stand together"):
        Dataset.create_from_pyobj([TURNS[0], TURNS[2], TURNS[1]]).pack()
    with pytest.raises(ValueError, match="line 2 is no list of turns"):
        Dataset.create_from_pyobj([ROWS[0], ["text"]]).unpack()


def test_groups_are_loaded_and_saved_as_conversations(tmp_path: Path) -> None:
    """organize_data_as_group gives turns; jsonl gets conversations again, csv the columns."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    dataset = Dataset.load(data_file=path, organize_data_as_group=True)
    assert dataset.to_pylist() == TURNS
    assert dataset.check() is True
    dataset.save(data_file=tmp_path / "again.jsonl")
    assert Dataset.load(data_file=tmp_path / "again.jsonl").to_pylist() == ROWS
    dataset.save(data_file=tmp_path / "turns.csv")
    assert (tmp_path / "turns.csv").read_text().splitlines()[0] == "prompt,response,_group"


def test_a_saved_state_knows_that_turns_are_rows(tmp_path: Path) -> None:
    """dumps and loads give the rows as they were, of an unchanged file as of rows that were changed."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    dataset = Dataset.load(data_file=path, organize_data_as_group=True)
    assert dataset.loads(dataset.dumps()).to_pylist() == TURNS
    dataset.filter(lambda turn: turn["_group"] == 1)
    assert dataset.loads(dataset.dumps()).to_pylist() == TURNS[2:]


def test_turns_that_are_saved_in_place_stay_turns(tmp_path: Path) -> None:
    """The file holds conversations, the dataset its turns, as before."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    dataset = Dataset.load(data_file=path, organize_data_as_group=True)
    dataset.filter(lambda turn: turn["prompt"] != "c").save()
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [ROWS[0][:1], ROWS[1]]
    assert dataset.to_pylist() == [TURNS[0], TURNS[2]]
    assert not dataset.is_changed
