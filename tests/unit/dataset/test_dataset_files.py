"""Datasets of several files, and of formats besides JSONL."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest

from qianfan.dataset import Dataset, FileDataSource
from qianfan.errors import InvalidArgumentError, ValidationError

ROWS = [{"prompt": "a", "n": "1"}, {"prompt": "b", "n": "2"}]


def a_folder(folder: Path) -> Path:
    root = folder / "rows"
    (root / "deep").mkdir(parents=True)
    (root / "b.jsonl").write_text('[{"prompt": "b1"}]\n\n[{"prompt": "b2"}]\n')
    (root / "a.json").write_text('[[{"prompt": "a"}]]')
    (root / "deep" / "c.jsonl").write_text('[{"prompt": "c"}]\n[{"prompt": ""}]\n')
    (root / ".hidden.jsonl").write_text("not this")
    return root


def test_a_folder_and_a_zip_are_the_rows_of_their_files(tmp_path: Path) -> None:
    """In the order of names, hidden ones apart; a problem is told with its file and the line in it."""
    root = a_folder(tmp_path)
    packed = tmp_path / "rows.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(root))
    for dataset in (Dataset.load(data_dir=root), Dataset.load(data_file=packed)):
        assert {row[0]["prompt"] for row in dataset} == {"a", "b1", "b2", "c", ""}
        with pytest.raises(ValidationError, match=r"rows.*/deep/c\.jsonl line 2, field \[0\]\.prompt"):
            dataset.check()
    (root / "b.jsonl").write_text("{}\n{]\n")
    with pytest.raises(ValidationError, match=r"b\.jsonl line 2, column 2"):
        Dataset.load(data_dir=root)


def test_a_folder_without_rows_and_a_broken_zip_are_refused(tmp_path: Path) -> None:
    """They are no empty dataset."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgumentError, match="no file of rows in empty"):
        Dataset.load(data_dir=tmp_path / "empty")
    (tmp_path / "x.zip").write_bytes(b"PK no zip")
    with pytest.raises(ValidationError, match="no zip that can be read"):
        Dataset.load(data_file=tmp_path / "x.zip")


def test_a_text_file_may_be_one_row(tmp_path: Path) -> None:
    """is_a_text_file_an_entry counts files, not lines."""
    for name in ("1.txt", "2.txt"):
        (tmp_path / name).write_text("one\ntwo\n")
    assert len(Dataset.load(data_dir=tmp_path)) == 4
    whole = Dataset.load(data_dir=tmp_path, is_a_text_file_an_entry=True)
    assert whole.to_pylist() == ["one\ntwo", "one\ntwo"]
    assert len(Dataset.load(data_file=tmp_path / "1.txt", is_a_text_file_an_entry=True)) == 1


@pytest.mark.parametrize("format", ["jsonl", "json", "txt"])
def test_a_dataset_is_saved_as_a_folder_of_rows(tmp_path: Path, format: str) -> None:
    """A file `entry_<i>` for each row; a folder that is there is not touched."""
    rows = ["one\ntwo", "three"] if format == "txt" else ROWS
    dataset = Dataset.create_from_pyobj(rows)
    target = tmp_path / "out"
    dataset.save(data_file=target, file_format=format, save_as_folder=True)
    assert sorted(path.name for path in target.iterdir()) == [f"entry_0.{format}", f"entry_1.{format}"]
    assert Dataset.load(data_dir=target, is_a_text_file_an_entry=True).to_pylist() == rows
    with pytest.raises(FileExistsError, match="folder out exists"):
        dataset.save(FileDataSource(target, format, save_as_folder=True))


def test_cells_that_a_spreadsheet_would_run_are_saved_as_text(tmp_path: Path) -> None:
    """What begins like a formula gets an apostrophe, and we read it as it was."""
    texts = ["=cmd|' /C calc'!A0", "+1", "-2", "@x", "\tx", "'=y", "'", "''=z", "plain", "a=b", ""]
    path = tmp_path / "x.csv"
    Dataset.create_from_pyobj({"=name": texts, "n": list(range(len(texts)))}).save(data_file=path)
    with path.open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert Dataset.load(data_file=path)["=name"] == {"=name": texts}


def test_rows_survive_parquet(tmp_path: Path) -> None:
    """Objects as columns, conversations as they are; the file is written whole."""
    pytest.importorskip("pyarrow")
    for rows in (ROWS, [[{"prompt": "a", "response": [["b"]]}], [{"prompt": "c"}]]):
        path = tmp_path / "x.parquet"
        Dataset.create_from_pyobj(rows).save(data_file=path)
        assert Dataset.load(data_file=path).to_pylist() == rows
        assert list(tmp_path.iterdir()) == [path]


def test_tables_of_pyarrow_are_rows() -> None:
    """create_from_pyarrow_table, huggingface_dataset= and to_arrow are each other's way back."""
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(ROWS)
    for dataset in (Dataset.create_from_pyarrow_table(table), Dataset.load(huggingface_dataset=table)):
        assert dataset.to_pylist() == ROWS
        assert dataset.to_arrow().equals(table)


def test_conversations_become_records_of_others_and_come_back() -> None:
    """transform_to and transform_to_template."""
    rows = [[{"system": "Be brief.", "prompt": "a", "response": [["b"]]}]]
    for name in ("openai", "sharegpt", "alpaca"):
        dataset = Dataset.create_from_pyobj(rows).transform_to(name)
        assert isinstance(dataset[0], dict), name
        assert dataset.transform_to_template(dataset._template(None)).to_pylist() == rows
    with pytest.raises(InvalidArgumentError, match="no format 'x'"):
        Dataset.create_from_pyobj(rows).transform_to("x")
