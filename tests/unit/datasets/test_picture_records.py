"""Pictures of a text-to-image dataset: headers read within bounds, records made of files, labels, the index of both."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan.dataset.schemas import Problem
from qianfan_platform.datasets import index, pictures


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIB", 13, b"IHDR", width, height, 8)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, width, height)


def jpeg(width: int, height: int, *, marker: int = 0xC0, before: bytes = b"") -> bytes:
    frame = struct.pack(">BBHBHH", 0xFF, marker, 11, 8, height, width)
    return b"\xff\xd8\xff\xe0\x00\x04JF" + before + frame


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (png(640, 480), ("png", 640, 480)),
        (bmp(31, 17), ("bmp", 31, 17)),
        (bmp(31, -17), ("bmp", 31, 17)),
        (jpeg(800, 600), ("jpeg", 800, 600)),
        (jpeg(800, 600, marker=0xC2), ("jpeg", 800, 600)),
        (jpeg(8, 6, before=b"\xff\xff\xff\xe1\x00\x06Exif\xff\xc4\x00\x03x"), ("jpeg", 8, 6)),
    ],
)
def test_the_size_is_told_by_the_header(head: bytes, told: tuple[str, int, int]) -> None:
    """Of each kind; behind other segments, and of a picture from top to bottom."""
    assert pictures.measure(head) == told


@pytest.mark.parametrize(
    "head",
    [b"", b"BM", b"\xff\xd8\xff", png(1, 1)[:20], jpeg(1, 1)[:12], b"GIF89a" + bytes(40), b"<svg/>"],
)
def test_what_is_cut_or_another_kind_is_no_picture(head: bytes) -> None:
    """Said as ValueError."""
    with pytest.raises(ValueError, match=r"header|size|broken"):
        pictures.measure(head)


@settings(max_examples=300, deadline=1000)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"BM", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=400))
def test_any_bytes_are_measured_or_refused(start: bytes, rest: bytes) -> None:
    """Nothing but ValueError comes out, and a size is never negative."""
    try:
        _, width, height = pictures.measure(start + rest)
    except ValueError:
        return
    assert height >= 0
    assert isinstance(width, int)


def taken(folder: Path, files: dict[str, bytes]) -> tuple[list[dict[str, Any]], list[Problem], bytes]:
    members = []
    for name, raw in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        members.append((name, path))
    told: list[Problem] = []
    pack = folder / "pack"
    rows = list(pictures.records(members, pack, on_bad=told.append))
    return rows, told, pack.read_bytes()


def test_a_picture_has_the_text_of_the_same_stem(tmp_path: Path) -> None:
    """In its own folder, whatever the letters' case; what file managers add is passed over."""
    rows, told, pack = taken(
        tmp_path,
        {
            "a/cat.PNG": png(1, 2),
            "a/cat.json": b'\xef\xbb\xbf{"prompt": "a cat"}',
            "b/cat.jpg": jpeg(3, 4),
            "b/Cat.json": b'[{"prompt": "b cat", "labels": [{"name": "b"}]}]',
            "bare.bmp": bmp(5, 6),
            "__MACOSX/a/._cat.png": b"x",
            ".DS_Store": b"x",
        },
    )
    assert told == []
    assert [(row["image"], row["prompt"]) for row in rows] == [
        ("cat.PNG", "a cat"),
        ("cat.jpg", "b cat"),
        ("bare.bmp", ""),
    ]
    assert [pack[row["offset"] :][: row["size"]] for row in rows] == [png(1, 2), jpeg(3, 4), bmp(5, 6)]
    assert [pictures.is_annotated(row) for row in rows] == [True, True, False]
    assert [[label["name"] for label in pictures.labels_of(row)] for row in rows] == [["a cat"], ["b"], []]


@pytest.mark.parametrize(
    ("name", "raw", "where", "what"),
    [
        ("cat.json", b"[1, 2]", "cat.json", "no prompt"),
        ("cat.json", b'{"prompt": "  "}', "cat.json", "no prompt"),
        ("cat.json", b'{"prompt": "x", "labels": ["y"]}', "cat.json", "labels without a name"),
        ("cat.json", b'{"prompt": "' + b"x" * pictures.LONGEST_JSON + b'"}', "cat.json", "bytes"),
        ("dog.png", png(0, 4), "dog.png", "0 x 4"),
        ("dog.png", png(4, 99_999), "dog.png", "4 x 99999"),
        ("cat.jpeg", jpeg(1, 1), "cat.jpeg", "same stem"),
        ("readme.md", b"# cats", "readme.md", "neither a picture"),
        ("dog.json", b'{"prompt": "a dog"}', "dog.json", "no picture"),
    ],
)
def test_every_file_that_is_left_out_is_named(
    tmp_path: Path, name: str, raw: bytes, where: str, what: str
) -> None:
    """With what is wrong about it; its pack holds only what is taken."""
    rows, told, pack = taken(tmp_path, {"cat.png": png(1, 1), name: raw})
    assert [(problem.source, what in problem.what) for problem in told] == [(where, True)]
    assert pack == png(1, 1) * len(rows)


def test_an_export_is_what_an_import_takes(tmp_path: Path) -> None:
    """Pictures of one name, from two folders or two imports, both stay; without texts there are only pictures."""
    files = {"a/cat.png": png(1, 1), "b/cat.png": png(2, 2), "b/cat.json": b'{"prompt": "two"}'}
    rows, _, _ = taken(tmp_path, files)
    content = tmp_path / "content.jsonl"
    content.write_text("".join(json.dumps({**row, "pack": "file-a"}) + "\n" for row in rows))
    for texts in (True, False):
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w") as archive:
            pictures.write(archive, content, {"file-a": tmp_path / "pack"}, texts=texts)
        with zipfile.ZipFile(raw) as archive:
            out = {name: archive.read(name) for name in archive.namelist()}
        assert sorted(value for name, value in out.items() if name.endswith(".png")) == [png(1, 1), png(2, 2)]
        assert len(out) == (3 if texts else 2)
        (tmp_path / f"again-{texts}").mkdir()
        again, told, _ = taken(tmp_path / f"again-{texts}", out)
        assert ([row["prompt"] for row in again], told) == (["", "two"] if texts else ["", ""], [])


def test_an_index_that_is_derived_is_that_which_is_built(tmp_path: Path) -> None:
    """With labels: of records that stay, that are labelled anew, and that are gone."""
    rows: list[dict[str, Any]] = [
        {"image": f"{n}.png", "prompt": f"text {n % 3}" if n % 4 else "", "pack": "p", "offset": n, "size": 1}
        for n in range(12)
    ]
    content, target = tmp_path / "rows.jsonl", tmp_path / "rows.index"
    content.write_bytes(lines(rows))
    index.build(content, target)
    found = index._read(target, content)
    assert found is not None
    over = {
        0: pictures.labelled(rows[0], [{"name": "new"}, {"name": "other", "label_id": "7"}]),
        3: None,
        5: pictures.labelled(rows[5], [{"name": "new"}]),
        11: None,
    }
    index.derive(found, over, tmp_path / "derived.index")
    after = [over.get(n, row) for n, row in enumerate(rows)]
    content.write_bytes(lines([row for row in after if row is not None]))
    index.build(content, target)
    assert (tmp_path / "derived.index").read_bytes() == target.read_bytes()


def lines(rows: list[Any]) -> bytes:
    return b"".join(
        json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for row in rows
    )
