"""`Dataset` and a platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset import Dataset, QianfanDataSource
from qianfan.errors import QianfanRequestError, StorageNeeded, ValidationError

ROWS = [[{"prompt": "问", "response": [["答"]]}], [{"prompt": "b", "response": [["c"]]}]]


def test_a_dataset_used_where_it_lies_is_only_asked_about(platform: StubPlatform) -> None:
    """With is_download_to_local=False there is one request, and no row is here."""
    dataset = Dataset.load(qianfan_dataset_id=111, is_download_to_local=False)
    assert platform.routes == ["dataset/info"]
    assert dataset.is_dataset_located_in_qianfan()
    assert len(dataset) == 1
    source = dataset.inner_data_source_cache
    assert isinstance(source, QianfanDataSource)
    assert (source.old_dataset_id, source.template_type) == (77, DataTemplateType.NonSortedConversation)
    with pytest.raises(Exception, match="is_download_to_local=True"):
        dataset.to_pylist()


def test_a_dataset_by_id_asks_nothing_before_it_must(platform: StubPlatform) -> None:
    """`Dataset(id=1)` sends nothing."""
    dataset = Dataset(id=1)
    assert platform.routes == []
    assert len(dataset) == 1
    assert platform.routes == ["dataset/info"]


def test_a_dataset_is_exported_and_downloaded(platform: StubPlatform) -> None:
    """By default the rows come here."""
    platform.rows = ROWS
    dataset = Dataset.load(qianfan_dataset_id="ds-1")
    assert dataset.to_pylist() == ROWS
    assert not dataset.is_dataset_located_in_qianfan()
    assert platform.routes == [
        "dataset/info",
        "dataset/export",
        "dataset/info",
        "dataset/info",
        "dataset/exportRecord",
    ]


def test_rows_are_uploaded_created_and_imported(platform: StubPlatform) -> None:
    """The upload is the rows as lines; the import names what the upload returned."""
    saved = Dataset.create_from_pyobj(ROWS).save(qianfan_dataset_create_args={"name": "mine"})
    assert saved is True
    assert platform.routes == ["files", "dataset/create", "dataset/import", "dataset/info", "dataset/info"]
    assert [json.loads(line) for line in platform.uploads[0].splitlines()] == ROWS
    created = platform.bodies("dataset/create")[0]
    assert (created["name"], created["projectType"], created["templateType"]) == ("mine", 20, 2000)
    assert platform.bodies("dataset/import")[0] == {
        "datasetId": "ds-0000000000000077",
        "annotated": True,
        "importFrom": 1,
        "files": ["bos:/local/file-1"],
    }


def test_an_unchanged_file_goes_as_it_is(platform: StubPlatform, tmp_path: Path) -> None:
    """Line numbers of the platform are those of the file."""
    path = tmp_path / "my data.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    Dataset.load(data_file=path).save(qianfan_dataset_create_args={})
    assert platform.uploads[0] == path.read_bytes()
    assert platform.bodies("files")[0] == {"name": "my data.jsonl"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_flat_rows_are_wrapped(platform: StubPlatform, tmp_path: Path, suffix: str) -> None:
    """One object is one turn; a cell of csv is one answer."""
    path = tmp_path / f"flat.{suffix}"
    path.write_text("prompt,response\na,b\n" if suffix == "csv" else '{"prompt": "a", "response": [["b"]]}\n')
    Dataset.load(data_file=path).save(qianfan_dataset_create_args={})
    assert json.loads(platform.uploads[0]) == [{"prompt": "a", "response": [["b"]]}]


def test_a_cell_of_parquet_is_one_answer_and_an_empty_one_is_none(
    platform: StubPlatform, tmp_path: Path
) -> None:
    """As a cell of csv is."""
    path = tmp_path / "flat.parquet"
    rows = [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": None}]
    Dataset.create_from_pyobj(rows).save(data_file=path)
    Dataset.load(data_file=path).save(qianfan_dataset_create_args={})
    assert [json.loads(line) for line in platform.uploads[0].splitlines()] == [
        [{"prompt": "a", "response": [["b"]]}],
        [{"prompt": "c"}],
    ]


def test_texts_are_saved_as_generic_text(platform: StubPlatform) -> None:
    """The template follows the rows, and text is not annotated."""
    Dataset.create_from_pyobj(["one", "two"]).save(qianfan_dataset_create_args={})
    assert platform.uploads == [b"one\ntwo\n"]
    assert platform.bodies("dataset/create")[0]["templateType"] == 40100
    assert platform.bodies("dataset/import")[0]["annotated"] is False


def test_nothing_is_sent_while_a_row_is_wrong(platform: StubPlatform) -> None:
    """The check comes before the first request."""
    rows: list[Any] = [*ROWS, [{"prompt": "x", "response": "y"}]]
    with pytest.raises(ValidationError, match="line 3, field"):
        Dataset.create_from_pyobj(rows).save(qianfan_dataset_create_args={})
    assert platform.routes == []


def test_a_cloud_without_uploads_asks_for_storage(platform: StubPlatform) -> None:
    """Nothing is created there, and the error says what to do."""
    platform.takes_uploads = False
    with pytest.raises(StorageNeeded, match="BOS"):
        Dataset.create_from_pyobj(ROWS).save(qianfan_dataset_create_args={})
    assert platform.routes == ["files"]


def test_a_failed_import_says_why(platform: StubPlatform) -> None:
    """The platform's reason is in the error."""
    platform.import_words, platform.reason = [1, 3], "line 2 is no JSON"
    with pytest.raises(QianfanRequestError, match="line 2 is no JSON"):
        Dataset.create_from_pyobj(ROWS).save(qianfan_dataset_create_args={})


def test_a_saved_dataset_may_become_the_platforms(platform: StubPlatform) -> None:
    """With replace_source the dataset is used where it was saved; adding to one creates none."""
    dataset = Dataset.create_from_pyobj(ROWS)
    dataset.save(qianfan_dataset_id=77, replace_source=True)
    assert dataset.is_dataset_located_in_qianfan()
    assert "dataset/create" not in platform.routes


def test_rows_of_the_platform_that_were_changed_are_saved_elsewhere(platform: StubPlatform) -> None:
    """Unchanged there is nothing to save; changed the target has to be named."""
    platform.rows = ROWS
    dataset = Dataset.load(qianfan_dataset_id=1)
    assert dataset.save() is True
    dataset.filter(lambda row: row[0]["prompt"] == "b")
    assert dataset.loads(dataset.dumps()).to_pylist() == ROWS[1:]
    with pytest.raises(ValueError, match="nowhere to save"):
        dataset.save()
    assert platform.uploads == []
