"""`Dataset` on this machine."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path

import pytest

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import Dataset, FileDataSource
from qianfan.dataset.formats import FormatError
from qianfan.errors import UnsafeState, ValidationError


def a_file(folder: Path, rows: int = 4) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(f'[{{"prompt": "q{i}", "response": [["a{i}"]]}}]\n' for i in range(rows)))
    return path


def test_rows_of_arrays_stay_arrays(tmp_path: Path) -> None:
    """One conversation is one row."""
    dataset = Dataset.load(data_file=a_file(tmp_path))
    assert len(dataset) == dataset.row_number == 4
    assert dataset[0] == [{"prompt": "q0", "response": [["a0"]]}]
    assert [row[0]["prompt"] for row in dataset] == ["q0", "q1", "q2", "q3"]


def test_slices_are_closed(tmp_path: Path) -> None:
    """`ds[1:3]` has three rows, before and after the rows are in memory; an open slice is refused."""
    dataset = Dataset.load(data_file=a_file(tmp_path, rows=6))
    assert [row[0]["prompt"] for row in dataset[1:3]] == ["q1", "q2", "q3"]
    dataset.to_pylist()
    assert [row[0]["prompt"] for row in dataset[1:3]] == ["q1", "q2", "q3"]
    with pytest.raises(ValueError, match="first and last"):
        dataset[1:]


def test_filter_and_map_change_the_dataset_and_return_it() -> None:
    """A filter must say True or False; a map that returns nothing deletes the row."""
    dataset = Dataset.create_from_pyobj({"prompt": ["a", "b", "c"], "n": [1, 2, 3]})
    assert dataset.filter(lambda row: row["n"] > 1) is dataset
    assert dataset.map(lambda row: {"prompt": row["prompt"] * 2} if row["n"] == 3 else None).to_pylist() == [
        {"prompt": "cc"}
    ]
    with pytest.raises(ValueError, match="True or False"):
        dataset.filter(lambda row: 1)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="a row is"):
        dataset.map(lambda row: 5)


def test_append_adds_rows() -> None:
    """A row, or several objects at once."""
    dataset = Dataset.create_from_pyobj([{"prompt": "a"}])
    dataset.append({"prompt": "b"}).append([{"prompt": "c"}, {"prompt": "d"}])
    assert [row["prompt"] for row in dataset] == ["a", "b", "c", "d"]


def test_a_file_saved_is_the_file_loaded(tmp_path: Path) -> None:
    """Rows survive jsonl, json and csv; saving without a target writes the file in place."""
    rows = [{"prompt": "a", "n": "1"}, {"prompt": "b", "n": "2"}]
    for suffix in ("jsonl", "json", "csv"):
        path = tmp_path / f"x.{suffix}"
        assert Dataset.create_from_pyobj(rows).save(data_file=path) is True
        assert Dataset.load(data_file=str(path)).to_pylist() == rows
    dataset = Dataset.load(data_file=tmp_path / "x.jsonl").filter(lambda row: row["n"] == "2")
    dataset.save()
    assert Dataset.load(data_file=tmp_path / "x.jsonl").to_pylist() == rows[1:]


def test_a_failed_save_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """The file is whole or unchanged, and nothing else is left in the folder."""
    path = a_file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FormatError):
        Dataset.create_from_pyobj([{"a": object()}]).save(data_file=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_bad_line_is_an_error_of_the_load(tmp_path: Path) -> None:
    """It is a ValueError and a ValidationError, with the place."""
    path = a_file(tmp_path)
    path.write_text(path.read_text() + '[{"prompt": }]\n')
    with pytest.raises(ValidationError, match=r"data\.jsonl line 5, column 13") as caught:
        Dataset.load(data_file=path)
    assert isinstance(caught.value, ValueError)


def test_a_check_lists_twenty_problems_and_counts_the_rest() -> None:
    """Every row is looked at; line numbers are those of the file, also after a filter."""
    rows = [{"prompt": str(i), "response": "plain" if i % 2 else [["ok"]]} for i in range(100)]
    dataset = Dataset.create_from_pyobj(rows)
    with pytest.raises(ValidationError) as caught:
        dataset.check()
    text = str(caught.value)
    assert text.startswith(
        "50 of 100 records do not fit the template NonSortedConversation:\nline 2, field [0].response"
    )
    assert len(caught.value.problems) == 20  # type: ignore[attr-defined]
    assert text.rstrip().endswith("… and 30 more")
    with pytest.raises(ValidationError, match="line 100,"):
        dataset.filter(lambda row: row["prompt"] == "99").check()


def test_an_empty_dataset_does_not_pass_a_check() -> None:
    """There is nothing to train on."""
    with pytest.raises(ValidationError, match="no records"):
        Dataset.create_from_pyobj([]).check()


def test_a_keyword_that_nothing_reads_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt one must not be dropped in silence; those of the transport and of columns are read."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n')
    loaded = Dataset.load(data_file=file, inputcolumns=["prompt"], retry_count=2, reference_column="prompt")
    loaded.save(data_file=tmp_path / "b.jsonl", does_release=True)
    assert [record.message for record in caplog.records] == [
        "Dataset does not use inputcolumns; look at the spelling",
        "Dataset.save does not use does_release; look at the spelling",
    ]


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    """Nothing given, no such file, unknown suffix."""
    with pytest.raises(ValueError, match="nothing to load"):
        Dataset.load()
    with pytest.raises(FileNotFoundError):
        Dataset.load(data_file=tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="'xlsx' are not read"):
        Dataset.load(data_file=tmp_path / "x.xlsx")


def test_the_format_may_be_given(tmp_path: Path) -> None:
    """A file without a telling name is read as asked."""
    path = tmp_path / "rows"
    path.write_text(json.dumps([{"prompt": "a"}]))
    assert Dataset.load(FileDataSource(path, "json")).to_pylist() == [{"prompt": "a"}]
    assert Dataset.load(data_file=path).to_pylist() == ['[{"prompt": "a"}]']


def test_texts_are_generic_text(tmp_path: Path) -> None:
    """The template is seen from the rows."""
    path = tmp_path / "t.txt"
    path.write_text("one\ntwo\n")
    dataset = Dataset.load(data_file=path, schema=DataTemplateType.GenericText)
    assert dataset.is_dataset_generic_text()
    assert not dataset.is_dataset_located_in_qianfan()


def test_a_large_file_is_checked_without_being_kept(tmp_path: Path) -> None:
    """Loading and checking 25 MiB takes a few."""
    path = tmp_path / "big.jsonl"
    line = json.dumps([{"prompt": "q" * 150, "response": [["a" * 150]]}]) + "\n"
    with path.open("w") as file:
        for _ in range(800):
            file.write(line * 100)
    assert path.stat().st_size > 25 << 20
    tracemalloc.start()
    dataset = Dataset.load(data_file=path)
    assert dataset.check() is True
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset) == 80_000
    assert peak < 10 << 20


def test_a_dataset_saved_as_state_is_the_same_dataset(tmp_path: Path) -> None:
    """An unchanged file by its path, rows as they are, the platform's by its id; no key is written down."""
    for dataset in (Dataset.load(data_file=a_file(tmp_path)), Dataset.create_from_pyobj([{"prompt": "a"}])):
        assert dataset.loads(dataset.dumps()).to_pylist() == dataset.to_pylist()
    cloud = Dataset(id=1, ak="key-of-mine", sk="secret-of-mine")
    assert b"of-mine" not in cloud.dumps()
    assert "of-mine" not in repr(cloud)
    assert cloud.loads(cloud.dumps()).inner_data_source_cache.id == 1  # type: ignore[union-attr]


def test_pickled_state_is_refused() -> None:
    """Reading pickled bytes could run code."""
    with pytest.raises(UnsafeState, match="pickled"):
        Dataset().loads(pickle.dumps({"a": 1}))
    with pytest.raises(UnsafeState, match="no saved state"):
        Dataset().loads(b"hello")
    with pytest.raises(UnsafeState, match="version 9"):
        Dataset().loads(b'{"format": "open-qianfan-state", "version": 9}')
