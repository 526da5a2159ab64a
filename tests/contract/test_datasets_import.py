"""Imports through the SDK: every format arrives, every refused line is named, and nothing is lost in silence."""

from __future__ import annotations

import io
import json
import secrets
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.dataset.parquet import write_parquet
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.upload import download, upload
from qianfan.embedded import Embedded
from qianfan.errors import APIError, FileSizeOverflow, InvalidArgumentError, QianfanRequestError
from qianfan.resources import Data
from qianfan.resources.console import download as pieces
from qianfan.resources.console.consts import (
    DataExportDestinationType,
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
)
from tests import importing

pytestmark = pytest.mark.usefixtures("configured")
GOOD = [{"prompt": "Hi", "response": [["Hello"]]}]
LINE = json.dumps(GOOD).encode() + b"\n"
OPENAI = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
CONVERSATION = DataTemplateType.NonSortedConversation
PROJECTS = {
    CONVERSATION: DataProjectType.Conversation,
    DataTemplateType.SortedConversation: DataProjectType.Conversation,
    DataTemplateType.PromptChosenRejected: DataProjectType.Conversation,
    DataTemplateType.GenericText: DataProjectType.GenericText,
    DataTemplateType.QuerySet: DataProjectType.QuerySet,
}


def new(template: DataTemplateType = CONVERSATION) -> str:
    made = Data.create_bare_dataset("imported", DataSetType.TextOnly, PROJECTS[template], template)
    return str(made["result"]["datasetId"])


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., str]:
    """Upload bytes under a name; the path that an import takes."""

    def send(name: str, raw: bytes) -> str:
        path = tmp_path / "sent"
        path.write_bytes(raw)
        return str(upload(path, name)["path"])

    return send


def ended(dataset: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (info := importing.look(dataset))["importStatus"] == 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    return info


def imported(dataset: str, *files: str, **options: Any) -> dict[str, Any]:
    given: Any = files[0] if len(files) == 1 else list(files)
    assert (
        Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, given, **options)["result"]
        is True
    )
    return ended(dataset)


def exported(dataset: str) -> dict[str, bytes]:
    """The members of a fresh export."""
    Data.create_dataset_export_task(dataset, DataExportDestinationType.PlatformBos)
    end = time.monotonic() + 60
    while (info := importing.look(dataset))["exportStatus"] == 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert info["exportStatus"] == 2
    newest = Data.get_dataset_export_records(dataset)["result"][-1]
    with zipfile.ZipFile(io.BytesIO(download(newest["downloadUrl"]))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows_of(dataset: str) -> list[Any]:
    (content,) = exported(dataset).values()
    return [orjson.loads(line) for line in content.splitlines()]


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return packed.getvalue()


def contents(platform: Embedded, dataset: str) -> list[dict[str, Any]]:
    """The files in the store that hold records of the dataset."""
    return [one for one in importing.pages(platform.data).values() if one["name"] == f"{dataset}.jsonl"]


def test_files_of_every_format_in_one_import_and_the_mapping_is_shown(
    sent: Callable[..., str], tmp_path: Path
) -> None:
    """JSONL in GB18030, JSON of OpenAI, CSV of Alpaca, Parquet, and a zip with folders: all are rows of the template."""
    pytest.importorskip("pyarrow")
    table = tmp_path / "rows.parquet"
    write_parquet(table, [{"prompt": "Hi", "response": "Hello"}])
    dataset = new()
    info = imported(
        dataset,
        sent("a.jsonl", '[{"prompt": "你好吗", "response": [["很好很好"]]}]\n'.encode("gb18030")),
        sent("b.json", json.dumps([OPENAI, {**OPENAI, "id": 7}], indent=2).encode()),
        sent("c.csv", b"\xef\xbb\xbfinstruction,input,output\nHi,,Hello\n"),
        sent("d.parquet", table.read_bytes()),
        sent("e.zip", zipped({"deep/folder/e.jsonl": LINE * 2, "__MACOSX/._e.jsonl": b"\0"})),
    )
    assert (info["importStatus"], info["importProgress"], info["importErrorInfo"]) == (2, 100, None)
    assert info["entityCount"] == info["importRecordCount"] == info["annotatedEntityCount"] == 7
    assert rows_of(dataset) == [[{"prompt": "你好吗", "response": [["很好很好"]]}], *[GOOD] * 6]
    told = info["progressDetail"]["import"]
    assert (told["rows"], told["bad"]) == (7, 0)
    assert {one["name"]: one["count"] for one in told["mappings"]} == {"openai": 2, "alpaca": 1, "columns": 1}
    assert "user → prompt" in told["mappings"][0]["explained"][0]
    assert told["encodings"] == {"GB18030": ["a.jsonl"]}
    assert {"what": "'id' is left out", "count": 1} in told["notes"]


@pytest.mark.parametrize(
    ("template", "name", "raw", "row"),
    [
        (
            DataTemplateType.SortedConversation,
            "a.jsonl",
            b'[{"prompt": "Hi", "response": [["a"], ["b"]]}]',
            [{"prompt": "Hi", "response": [["a"], ["b"]]}],
        ),
        (
            DataTemplateType.PromptChosenRejected,
            "a.jsonl",
            b'{"instruction": "Hi", "chosen": "a", "rejected": "b"}',
            [{"user": "Hi", "chosen": "a", "rejected": "b"}],
        ),
        (DataTemplateType.QuerySet, "a.csv", b"prompt\nHi\n", [{"prompt": "Hi"}]),
    ],
)
def test_the_other_templates(
    sent: Callable[..., str], template: DataTemplateType, name: str, raw: bytes, row: Any
) -> None:
    """Each has its own records, and is given back as such."""
    dataset = new(template)
    assert imported(dataset, sent(name, raw))["importStatus"] == 2
    assert rows_of(dataset) == [row]


def test_a_zip_of_texts_is_a_text_for_each_file(sent: Callable[..., str]) -> None:
    """And a plain file is one for each line."""
    dataset = new(DataTemplateType.GenericText)
    files = (
        sent("a.zip", zipped({"x/1.txt": b"one\ntwo\n", "x/2.txt": "三三三三".encode("gbk")})),
        sent("b.txt", b"four\nfive\n"),
    )
    info = imported(dataset, *files)
    assert info["entityCount"] == 4
    assert [text.decode() for text in exported(dataset).values()] == ["one\ntwo", "三三三三", "four", "five"]


def test_each_refused_line_is_named_by_its_code_and_can_be_had_whole(sent: Callable[..., str]) -> None:
    """Code, file, line, column, text, what and what to do; nothing is taken, what was there stays."""
    dataset = new()
    imported(dataset, sent("good.jsonl", LINE))
    raw = (
        LINE
        + b'{"prompt": oops}\n[{"prompt": " "}]\n'
        + b"\xff\xfe\xfd\n"
        + LINE
        + b'[{"prompt": "a", "response": 7}]\n'
    )
    info = imported(dataset, sent("bad.jsonl", raw))
    assert (info["importStatus"], info["entityCount"]) == (3, 1)
    assert [(one["code"], one["count"]) for one in info["importErrorInfo"]] == [(9, 2), (13, 1), (53, 1)]
    assert (
        Data.get_dataset_status_in_batch([dataset])["result"][dataset]["importErrorInfo"]
        == info["importErrorInfo"]
    )
    detail = Data.get_dataset_import_error_detail(dataset, 9)["result"]
    assert (detail["dataType"], detail["isZip"], detail["projectType"]) == ("file", 0, 20)
    first, second = detail["content"]
    assert first["sequence"] == 1
    assert first["sampleFileName"] == first["sampleName"] == "bad.jsonl"
    assert first["textLocation"] == "line 2, column 12"
    assert first["textContent"] == '{"prompt": oops}'
    assert (second["line"], second["field"]) == (6, "[0].response")
    assert second["what"]
    assert second["fix"]
    lines = [orjson.loads(line) for line in download(detail["downloadUrl"]).splitlines()]
    assert [(one["line"], one["code"]) for one in lines] == [(2, 9), (3, 13), (4, 53), (6, 9)]
    assert lines[2]["raw"] == "\\xff\\xfe\\xfd"
    assert Data.get_dataset_import_error_detail(dataset, 300)["result"]["content"] == []


def test_the_failure_names_the_first_lines(sent: Callable[..., str]) -> None:
    """Whoever waits for an import through a data source reads them in the error."""
    dataset = new()
    source = QianfanDataSource.get_existed_dataset(dataset)
    source.start_import(sent("bad.jsonl", LINE + b"oops\n[{}]\n"), annotated=True)
    with pytest.raises(QianfanRequestError) as failed:
        source.wait_for_import()
    for part in (
        "2 of 3 records are refused",
        "bad.jsonl line 2, column 1",
        "bad.jsonl line 3",
        "has no prompt",
    ):
        assert part in str(failed.value)


def test_the_good_records_are_taken_when_the_share_of_bad_ones_is_allowed(sent: Callable[..., str]) -> None:
    """At the share that is given, and not below it; the refused ones are named all the same."""
    dataset = new()
    path = sent("some.jsonl", LINE * 4 + b"oops\n" + LINE * 5)
    assert imported(dataset, path, bad_share=0.05)["importStatus"] == 3
    info = imported(dataset, path, bad_share=0.1)
    assert (info["importStatus"], info["entityCount"], info["importRecordCount"]) == (2, 9, 9)
    assert [(one["code"], one["count"]) for one in info["importErrorInfo"]] == [(9, 1)]
    detail = Data.get_dataset_import_error_detail(dataset, 9)["result"]
    assert detail["content"][0]["textContent"] == "oops"
    assert len(download(detail["downloadUrl"]).splitlines()) == 1
    for share in (-0.1, 1.1):
        with pytest.raises((APIError, InvalidArgumentError), match=r"bad_?[sS]hare"):
            Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, path, bad_share=share)


@pytest.mark.parametrize(
    ("name", "raw", "code", "says"),
    [
        ("a.zip", b"PK\x03\x04 and no more", 10, "damaged"),
        ("a.zip", zipped({"a.zip": zipped({"a.jsonl": LINE})}), 3, "inside an archive"),
        ("a.json", b"[1,", 3, "not valid JSON"),
        ("a.jsonl", b"\n\n", 13, "no record"),
        (
            "a.csv",
            b",".join(b"c%d" % n for n in range(1001)) + b"\n" + b"," * 1000 + b"\n",
            50,
            "1001 columns",
        ),
        ("a.bin", b"\0\0\0", 3, "no text"),
    ],
)
def test_a_file_that_cannot_be_read_fails_with_its_code(
    sent: Callable[..., str], name: str, raw: bytes, code: int, says: str
) -> None:
    """The import ends as failed, and says which file and why."""
    dataset = new()
    info = imported(dataset, sent(name, raw))
    assert info["importStatus"] == 3
    assert [one["code"] for one in info["importErrorInfo"]] == [code]
    assert says in info["importErrorInfo"][0]["what"]
    assert says in info["progressDetail"]["reason"]


def test_files_that_are_not_there(platform: Embedded) -> None:
    """300 for an upload that never was, 100 for an address that is not let through; paths that are none are refused."""
    dataset = new()
    info = imported(dataset, f"bos:/local/file-{'0' * 20}")
    assert [one["code"] for one in info["importErrorInfo"]] == [300]
    Data.create_data_import_task(dataset, True, DataSourceType.SharedZipUrl, "http://127.0.0.1:1/a.zip")
    info = ended(dataset)
    assert [one["code"] for one in info["importErrorInfo"]] == [100]
    assert "127.0.0.1" in info["importErrorInfo"][0]["what"]
    with pytest.raises(APIError):
        Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, "bos:/../etc/passwd")
    with pytest.raises(APIError, match="files"):
        Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, ["bos:/local/x"] * 101)
    assert importing.look(dataset)["importStatus"] == 3


def test_a_second_import_adds_to_the_first_and_waits_for_it(
    sent: Callable[..., str], platform: Embedded
) -> None:
    """One at a time; the upload stays for another import; what is replaced goes from the store."""
    dataset, path = new(), sent("a.jsonl", LINE * 20_000)
    Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, path)
    with pytest.raises(APIError, match="being imported"):
        Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, path)
    first = ended(dataset)
    assert first["entityCount"] == 20_000
    second = imported(dataset, path)
    assert (second["entityCount"], second["importRecordCount"]) == (40_000, 20_000)
    assert second["characterCount"] == 2 * first["characterCount"]
    end = time.monotonic() + 40
    while len(kept := contents(platform, dataset)) > 1 or importing.leftovers(platform.data):
        assert time.monotonic() < end, (kept, importing.leftovers(platform.data))
        time.sleep(0.05)


def test_exports_of_a_large_dataset_move_and_each_has_its_record(
    sent: Callable[..., str], tmp_path: Path
) -> None:
    """Packed in a process of its own; two at once are two records, and the status is that of the last."""
    dataset = new()
    path = importing.write(tmp_path / "rows.jsonl", 5_000, 2_000)
    imported(dataset, sent("rows.jsonl", path.read_bytes()))
    modified = importing.look(dataset)["modifyTime"]
    for annotated in (True, False):
        Data.create_dataset_export_task(
            dataset, DataExportDestinationType.PlatformBos, is_export_with_annotation=annotated
        )
    first = importing.look(dataset)
    assert (first["exportStatus"], first["exportProgress"] < 100) == (1, True)
    end = time.monotonic() + 60
    while (info := importing.look(dataset))["exportStatus"] == 1:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (info["exportStatus"], info["exportProgress"], info["exportRecordCount"]) == (2, 100, 2)
    assert info["modifyTime"] == modified
    records = Data.get_dataset_export_records(dataset)["result"]
    assert [record["id"] for record in records] == [1, 2]
    assert sorted(record["exportType"] for record in records) == [1, 2]
    for record in records:
        with zipfile.ZipFile(io.BytesIO(download(record["downloadUrl"]))) as archive:
            assert archive.testzip() is None
            assert len(archive.read("data.jsonl").splitlines()) == record["recordNum"] == 5_000


def test_an_export_is_downloaded_in_pieces_that_are_never_together_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform gives ranges; a file above the limit is refused at its first piece."""
    rows = [{"prompt": f"{number} {secrets.token_hex(40)}", "response": [["x"]]} for number in range(200)]
    Dataset.create_from_pyobj(rows).save(
        replace_source=True, qianfan_dataset_create_args={"name": "in pieces"}
    )
    source = QianfanDataSource.get_existed_dataset(
        Data.V2.describe_datasets(filter={"datasetName": "in pieces"})["result"]["datasetList"][0][
            "latestVersionId"
        ]
    )
    sizes: list[int] = []
    asked = pieces._asked
    monkeypatch.setattr(pieces, "PIECE", 1000)
    monkeypatch.setattr(
        pieces, "_asked", lambda *place: (reply := asked(*place), sizes.append(len(reply.body)))[0]
    )
    assert [row[0]["prompt"] for _, row in source.fetch()] == [row["prompt"] for row in rows]
    assert len(sizes) > 5
    assert {*sizes[:-1]} == {1000}
    monkeypatch.setattr(get_config(), "EXPORT_FILE_SIZE_LIMIT", 5000)
    with pytest.raises(FileSizeOverflow, match="the limit is 5,000"):
        [*source.fetch()]


def test_a_reader_that_dies_fails_the_import_and_leaves_nothing(
    sent: Callable[..., str], platform: Embedded
) -> None:
    """The server lives on, says what happened, and takes the next import."""
    dataset, path = new(), sent("a.jsonl", LINE * 200_000)
    Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, path)
    end = time.monotonic() + 30
    while not (readers := importing.family(importing.READER, platform.process.pid)):
        assert time.monotonic() < end
    for reader in readers:
        reader.kill()
    info = ended(dataset)
    assert (info["importStatus"], info["entityCount"]) == (3, 0)
    assert [one["code"] for one in info["importErrorInfo"]] == [100]
    assert importing.leftovers(platform.data) == []
    assert imported(dataset, path)["entityCount"] == 200_000


def test_an_upload_for_one_import_goes_with_its_end(tmp_path: Path, platform: Embedded) -> None:
    """However it ends; others stay for a second import."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINE + b"oops\n")
    once, failing = upload(path, path.name, once=True), upload(path, path.name, once=True)
    often = upload(path, path.name)
    dataset = new()
    assert imported(dataset, failing["path"])["importStatus"] == 3
    assert imported(dataset, once["path"], often["path"], bad_share=0.5)["importStatus"] == 2
    end = time.monotonic() + 40
    while {once["id"], failing["id"]} & set(kept := importing.pages(platform.data)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert often["id"] in kept
    assert imported(dataset, often["path"], bad_share=0.5)["entityCount"] == 3


def test_a_dataset_that_is_deleted_while_it_is_imported_into_leaves_nothing(
    sent: Callable[..., str], platform: Embedded
) -> None:
    """The reading ends, and what it had written goes."""
    dataset, path = new(), sent("a.jsonl", LINE * 200_000)
    Data.create_data_import_task(dataset, True, DataSourceType.PrivateBos, path)
    Data.delete_dataset(dataset)
    end = time.monotonic() + 40
    while importing.family(importing.READER, platform.process.pid) or importing.leftovers(platform.data):
        assert time.monotonic() < end, importing.leftovers(platform.data)
        time.sleep(0.05)
    assert contents(platform, dataset) == []
