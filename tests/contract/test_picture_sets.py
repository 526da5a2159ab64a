"""Text-to-image datasets through the SDK: a zip comes in, pictures are shown, labelled, and go out as a zip again."""

from __future__ import annotations

import io
import json
import struct
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.dataset import entities
from qianfan.dataset.sources import QianfanDataSource
from qianfan.embedded import Embedded
from qianfan.errors import APIError
from qianfan.resources import Data
from qianfan.resources.console.consts import (
    DataExportDestinationType,
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
    EntityListingType,
)
from qianfan.resources.console.files import Files


def png(width: int, height: int, shade: int) -> bytes:
    """A real, grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([shade]) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


PICTURES = {f"cat{n}.png": png(4 + n, 3, 40 * n) for n in range(5)}
TEXTS = {"cat0": "a cat on a roof", "cat1": "a cat at night", "cat3": "a cat on a roof"}


@pytest.fixture(autouse=True)
def _configured(platform: Embedded) -> Iterator[None]:
    with embedded.configured(platform.environment):
        yield


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def cats(path: Path, **more: bytes) -> Path:
    texts = {f"{stem}.json": json.dumps({"prompt": text}).encode() for stem, text in TEXTS.items()}
    return zipped(path / "cats.zip", {**PICTURES, **texts, **more})


def bare() -> str:
    made = Data.create_bare_dataset(
        "cats", DataSetType.MultiModel, DataProjectType.Text2Image, DataTemplateType.Text2Image
    )
    return str(made["result"]["datasetId"])


def imported(ident: str, path: Path) -> dict[str, Any]:
    remote = Files.upload(path, path.name)["result"]["path"]
    Data.create_data_import_task(ident, True, DataSourceType.PrivateBos, remote)
    until = time.monotonic() + 60
    while True:
        found = Data.get_dataset_info(ident)["result"]["versionInfo"]
        if found["importStatus"] != 1:
            return dict(found)
        assert time.monotonic() < until
        time.sleep(0.05)


def exported(ident: str, *, texts: bool = True) -> dict[str, bytes]:
    Data.create_dataset_export_task(
        ident, DataExportDestinationType.PlatformBos, is_export_with_annotation=texts
    )
    until = time.monotonic() + 60
    while Data.get_dataset_info(ident)["result"]["versionInfo"]["exportStatus"] == 1:
        assert time.monotonic() < until
        time.sleep(0.05)
    record = Data.get_dataset_export_records(ident)["result"][-1]
    assert record["exportType"] == (1 if texts else 2)
    with zipfile.ZipFile(io.BytesIO(got(record["downloadUrl"])[0])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def got(url: str) -> tuple[bytes, str]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read(), answer.headers["Content-Type"]


def listed(ident: str, **kwargs: Any) -> Any:
    return Data.list_all_entity_in_dataset(ident, **kwargs)["result"]


def test_pictures_and_their_texts_come_in_and_go_out(tmp_path: Path) -> None:
    """Every byte of every picture; a text is one label; the export imports again."""
    ident = bare()
    info = imported(ident, cats(tmp_path))
    assert (info["importStatus"], info["entityCount"]) == (2, 5), info
    assert (info["annotatedEntityCount"], info["labelCount"]) == (3, 3)
    page = listed(ident)
    assert (page["totalAll"], page["total"]) == (5, 5)
    for item in page["items"]:
        assert got(item["url"]) == (PICTURES[item["name"]], "image/png")
        assert item["memorySize"] * 1e6 == len(PICTURES[item["name"]])
        assert [label["name"] for label in item["labels"]] == [
            text for stem, text in TEXTS.items() if item["name"] == f"{stem}.png"
        ]
    out = exported(ident)
    assert {name: out[name] for name in PICTURES} == PICTURES
    assert {name: json.loads(out[name]) for name in out if name.endswith(".json")} == {
        f"{stem}.json": {"prompt": text} for stem, text in TEXTS.items()
    }
    assert exported(ident, texts=False) == PICTURES
    again = bare()
    found = imported(again, zipped(tmp_path / "again.zip", out))
    assert (found["entityCount"], found["annotatedEntityCount"]) == (5, 3)


def test_pictures_are_labelled_and_found_by_their_labels(tmp_path: Path) -> None:
    """By one label or any of several; a label given twice is the same; the export has them."""
    ident = bare()
    imported(ident, cats(tmp_path))
    items = {item["name"]: item for item in listed(ident)["items"]}
    roof, night = (items[name]["labels"][0]["label_id"] for name in ("cat0.png", "cat1.png"))
    assert items["cat3.png"]["labels"][0] == items["cat0.png"]["labels"][0]
    assert listed(ident, label_id_str=roof)["total"] == 2
    assert listed(ident, label_id_str=f"{roof}, {night}")["total"] == 3
    labels = [{"name": "a cat asleep", "label_id": "7"}, {"name": "a cat on a roof"}]
    assert Data.annotate_an_entity(items["cat2.png"]["id"], ident, labels=labels)["result"] is True
    again = listed(ident, label_id_str="7")["items"]
    assert [item["id"] for item in again] == [items["cat2.png"]["id"]]
    assert [(label["label_id"], label["name"]) for label in again[0]["labels"]] == [
        ("7", "a cat asleep"),
        (roof, "a cat on a roof"),
    ]
    assert all(len(label["color"]) == 7 for label in again[0]["labels"])
    assert listed(ident, label_id_str=roof)["total"] == 3
    assert listed(ident, listing_type=EntityListingType.NotAnnotatedOnly)["total"] == 1
    info = Data.get_dataset_info(ident)["result"]["versionInfo"]
    assert (info["annotatedEntityCount"], info["labelCount"]) == (4, 5)
    assert Data.delete_an_entity([items["cat0.png"]["id"]], ident)["result"] == {"failedOnes": None}
    out = exported(ident)
    assert json.loads(out["cat2.json"])["prompt"] == "a cat asleep, a cat on a roof"
    assert "cat0.png" not in out
    assert listed(ident, label_id_str=roof)["total"] == 2
    assert listed(ident, label_id_str="7")["items"][0]["id"] == items["cat2.png"]["id"]
    other = bare()
    imported(other, zipped(tmp_path / "labelled.zip", out))
    assert [item["name"] for item in listed(other, label_id_str="7")["items"]] == ["cat2.png"]
    with pytest.raises(APIError, match="takes no content"):
        Data.annotate_an_entity(items["cat2.png"]["id"], ident, content=[{"prompt": "x"}])


def test_a_second_import_adds_its_pictures(tmp_path: Path) -> None:
    """Both lie in packs of their own, and both are shown."""
    ident = bare()
    imported(ident, cats(tmp_path))
    more = zipped(tmp_path / "more.zip", {"sub/dog.png": png(9, 9, 90)})
    info = imported(ident, more)
    assert (info["importStatus"], info["entityCount"]) == (2, 6), info
    item = listed(ident, offset=5)["items"][0]
    assert (item["name"], got(item["url"])[0]) == ("dog.png", png(9, 9, 90))
    assert len([name for name in exported(ident) if name.endswith(".png")]) == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fake.png", b"no picture at all", "is no picture"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "is no picture"),
        ("huge.png", png(1, 1, 0)[:16] + b"\x7f\xff\xff\xff" * 2 + png(1, 1, 0)[24:], "pixels"),
        ("cat2.json", b"{not json", "cannot be read"),
        ("cat2.json", b'{"text": "x"}', "no prompt"),
        ("dog.json", b'{"prompt": "a dog"}', "no picture has the same stem"),
        ("cat1.bmp", b"BM" + bytes(60), "same stem"),
        ("notes.txt", b"hello", "neither a picture"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """The whole import is refused, and the report says which member it was."""
    ident = bare()
    info = imported(ident, cats(tmp_path, **{name: content}))
    assert info["importStatus"] == 3
    told = json.dumps(info["importErrorInfo"], ensure_ascii=False)
    assert name in told
    codes = {problem["code"] for problem in info["importErrorInfo"]}
    details = [
        entry
        for code in codes
        for entry in Data.get_dataset_import_error_detail(ident, code)["result"]["content"]
    ]
    assert message in json.dumps(details, ensure_ascii=False)


def test_the_sdk_saves_a_zip_and_reads_its_texts_back(tmp_path: Path) -> None:
    """As the cloud's data source does it; what is no zip is refused before anything is sent."""
    source = QianfanDataSource.create_bare_dataset("saved cats", DataTemplateType.Text2Image)
    assert source.save(zip_file_path=cats(tmp_path), is_annotated=True, does_release=True) is True
    assert source.info["entityCount"] == 5
    assert [row for _, row in source.fetch()] == [{"prompt": text} for text in TEXTS.values()]
    (record,) = entities.fetch(source, 1)
    assert record["entity_content"] == PICTURES["cat1.png"]
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK no zip")
    for given in ({"zip_file_path": broken}, {"data": "text"}, {}, {"data": "x", "zip_file_path": broken}):
        with pytest.raises(ValueError, match=r"no zip|not made of text|to save"):
            source.save(**given)  # type: ignore[arg-type]


def test_the_sdk_saves_lines_of_text(tmp_path: Path) -> None:
    """Into a set of conversations and into one of texts."""
    source = QianfanDataSource.create_bare_dataset("lines", DataTemplateType.NonSortedConversation)
    assert source.save('[{"prompt": "q", "response": [["a"]]}]\n', is_annotated=True)
    assert [row for _, row in source.fetch()] == [[{"prompt": "q", "response": [["a"]]}]]
    texts = QianfanDataSource.create_bare_dataset("texts", DataTemplateType.GenericText)
    assert texts.save("one\ntwo\n")
    assert [row for _, row in texts.fetch()] == ["one", "two"]
