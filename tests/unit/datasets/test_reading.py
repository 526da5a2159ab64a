"""Every line of an import is taken or refused by name, whatever the format, the encoding and the packing."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from qianfan.dataset.parquet import write_parquet
from qianfan_platform.datasets import reading
from qianfan_platform.datasets.reading import Reading, Report, Spec

GOOD = [{"prompt": "Hi", "response": [["Hello"]]}]
LINE = json.dumps(GOOD).encode() + b"\n"
OPENAI = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
ALPACA = {"instruction": "Hi", "input": "", "output": "Hello"}
Read = Callable[..., Report]


def spec_of(folder: Path, files: Sequence[tuple[str, bytes]], template: int = 2000, **changes: Any) -> Spec:
    inputs = []
    for number, (name, content) in enumerate(files):
        place = folder / f"input-{number}"
        place.write_bytes(content)
        inputs.append([name, str(place)])
    names = {part: str(folder / part) for part in ("rows", "refused", "report", "scratch", "pack")}
    return Spec(inputs=inputs, template=template, pack_id="file-pack", **{**names, **changes})


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read files, (name, bytes) each, as a process of an import does."""

    def run(*files: tuple[str, bytes], template: int = 2000, **changes: Any) -> Report:
        return Reading(spec_of(tmp_path, files, template, **changes), told=lambda line: None).run()

    return run


@pytest.fixture
def content(tmp_path: Path) -> Callable[[], list[Any]]:
    return lambda: [orjson.loads(line) for line in (tmp_path / "rows").read_bytes().splitlines()]


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[], list[Any]]:
    return lambda: [orjson.loads(line) for line in (tmp_path / "refused").read_bytes().splitlines()]


def zipped(**members: bytes) -> bytes:
    """A zip; in the names `__` stands for a slash and `_` for a dot."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, raw in members.items():
            archive.writestr(
                name.replace("MACOSX", "\0").replace("__", "/").replace("_", ".").replace("\0", "__MACOSX"),
                raw,
            )
    return packed.getvalue()


def tarred(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(
                name.replace("MACOSX", "\0").replace("__", "/").replace("_", ".").replace("\0", "__MACOSX")
            )
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return packed.getvalue()


def as_parquet(rows: list[Any], tmp_path: Path) -> bytes:
    path = tmp_path / "made.parquet"
    write_parquet(path, rows)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.jsonl", LINE * 2),
        ("a.ndjson", LINE + LINE.rstrip()),
        ("file-of-no-suffix", LINE * 2),
        ("a.jsonl", b"\xef\xbb\xbf" + LINE * 2),
        ("a.jsonl", (LINE * 2).decode().encode("utf-16")),
        ("a.json", json.dumps([OPENAI, OPENAI], indent=1).encode()),
        ("a.json", (json.dumps(ALPACA) + "\n").encode() * 2),
        ("a.csv", b"prompt,response\nHi,Hello\nHi,Hello\n"),
        ("a.csv", b'prompt,response\nHi,"[[""Hello""]]"\nHi,Hello\n'),
        ("a.csv", b"instruction,input,output\nHi,,Hello\nHi,,Hello\n"),
        ("a.zip", zipped(deep__folder__a_jsonl=LINE, b_json=json.dumps([OPENAI]).encode())),
        ("a.tar.gz", tarred(deep__a_jsonl=LINE, b_csv=b"prompt,response\nHi,Hello\n")),
        ("a.zip", zipped(a_jsonl=LINE * 2, b__MACOSX__a_jsonl=b"\0\0", c___DS=b"\0")),
    ],
)
def test_a_conversation_is_the_same_from_every_format(
    read: Read, content: Callable[[], list[Any]], name: str, raw: bytes
) -> None:
    """JSONL, JSON, CSV, archives, other encodings, other people's records."""
    report = read((name, raw))
    assert report.refused == ""
    assert content() == [GOOD, GOOD]
    assert (report.taken, report.bad, report.annotated) == (2, 0, 2)
    assert report.characters == 2 * len(orjson.dumps(GOOD))


def test_parquet_is_read_by_its_columns_and_by_its_packed_one(
    read: Read, content: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """Recognised by its first bytes too."""
    pytest.importorskip("pyarrow")
    columns = as_parquet([{"prompt": "Hi", "response": "Hello"}], tmp_path)
    packed = as_parquet([GOOD], tmp_path)
    report = read(("a.parquet", columns), ("b", packed))
    assert report.refused == ""
    assert content() == [GOOD, GOOD]


@pytest.mark.parametrize(
    ("name", "raw", "texts"),
    [
        ("a.txt", "one\n\n  \n二\n".encode(), ["one", "二"]),
        ("a.txt", "第一行文字\n第二行文字\n".encode("gb18030"), ["第一行文字", "第二行文字"]),
        ("a.zip", zipped(x_txt=b"one\ntwo\n", y_txt="三三三三".encode("gbk")), ["one\ntwo", "三三三三"]),
        ("a.jsonl", b'"one"\n{"text": "two", "id": 7}\n', ["one", "two"]),
        ("a.csv", b"whatever\none\ntwo\n", ["one", "two"]),
        ("a.json", b'["one", "two"]', ["one", "two"]),
    ],
)
def test_texts_are_read_by_line_and_by_file(
    read: Read, content: Callable[[], list[Any]], name: str, raw: bytes, texts: list[str]
) -> None:
    """A file of an archive is one text, a line of a plain file is."""
    report = read((name, raw), template=40100)
    assert report.refused == ""
    assert content() == texts


def test_queries_and_preferences(read: Read, content: Callable[[], list[Any]]) -> None:
    """The other templates, from records of others too."""
    assert read(("a.csv", b"prompt\nHi\n"), template=40200).taken == 1
    assert content() == [[{"prompt": "Hi"}]]
    pair = {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"}}  # fmt: skip
    assert read(("a.json", json.dumps([pair]).encode()), template=2002).annotated == 1
    assert content() == [[{"user": "Hi", "chosen": "a", "rejected": "b"}]]
    assert (
        read(
            ("a.jsonl", json.dumps({"prompt": "Hi", "response": [["a"], ["b"]]}).encode()), template=2001
        ).taken
        == 1
    )


def test_what_was_there_before_stands_first(
    read: Read, content: Callable[[], list[Any]], tmp_path: Path
) -> None:
    """An import adds to the content; the figures are of the new records."""
    before = tmp_path / "before"
    before.write_bytes(LINE * 3)
    report = read(("a.jsonl", LINE), before=str(before), count_before=3)
    assert len(content()) == 4
    assert report.taken == 1
    assert report.size == (tmp_path / "rows").stat().st_size


@pytest.mark.parametrize(
    ("name", "raw", "template", "code", "line", "says"),
    [
        ("a.jsonl", LINE + b"{oops}\n", 2000, 9, 2, "not valid JSON"),
        ("a.jsonl", LINE + b'[{"prompt": ""}]\n', 2000, 13, 2, "prompt is empty"),
        ("a.jsonl", LINE + b'[{"prompt": "a", "response": "b"}]\n', 2000, 9, 2, "plain text"),
        ("a.jsonl", LINE + b"\xff\xfe\xfd\n", 2000, 53, 2, "not UTF-8"),
        ("a.jsonl", LINE + b'{"messages": [{"role": "assistant", "content": "a"}]}\n', 2000, 9, 2, "comes first"),
        ("a.jsonl", LINE + b"[" * 600 + b"]" * 600 + b"\n", 2000, 9, 2, "turn"),
        ("a.csv", b"prompt,response\na,b\nc\n", 2000, 9, 3, "fewer cells"),
        ("a.json", b"[1, 2", 2000, 3, 1, "not valid JSON"),
        ("a.parquet", b"PAR1 and no more", 2000, 3, 1, "not readable Parquet"),
        ("a.xlsx.bin", b"\0\1\2", 2000, 3, 1, "no text"),
        ("a.jsonl.bz2", b"BZh91AY", 2000, 3, 1, "bzip2"),
        ("a.zip", b"PK\x03\x04 broken", 2000, 10, 1, "damaged"),
        ("a.zip", zipped(x_zip=zipped(a_jsonl=LINE)), 2000, 3, 1, "inside an archive"),
        ("a.csv", b",".join(b"c%d" % n for n in range(1001)) + b"\n" + b"," * 1000 + b"\n", 40100, 50, 2, "1001 columns"),
        ("a.zip", zipped(x_txt=b"good", y_txt=b"caf\xe9 \xff\xff"), 40100, 53, 1, "neither UTF-8"),
        ("a.zip", zipped(x_txt=b"good", y_txt=b"  \n"), 40100, 13, 1, "empty"),
        ("a.txt", b"\n \n", 40100, 13, 1, "no record"),
    ],
)  # fmt: skip
def test_each_refused_line_has_its_code_place_and_reason(
    read: Read,
    refused: Callable[[], list[Any]],
    name: str,
    raw: bytes,
    template: int,
    code: int,
    line: int,
    says: str,
) -> None:
    """In the report and in the file of refused lines; by default nothing is taken then."""
    report = read((name, raw), template=template)
    assert report.refused
    assert list(report.codes) == [str(code)]
    first = report.codes[str(code)]["problems"][0]
    assert (first["line"], report.codes[str(code)]["count"]) == (line, 1)
    assert says in first["what"]
    assert first["fix"]
    assert says in report.refused
    assert [one["what"] for one in refused()] == [first["what"]]


def test_too_many_records_and_too_large_documents(
    read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Codes 51 and 1, before memory or disk are used up."""
    monkeypatch.setattr(reading, "MOST_ROWS", 10)
    assert read(("a.jsonl", LINE * 3), count_before=7).refused == ""
    assert list(read(("a.jsonl", LINE * 4), count_before=7).codes) == ["51"]
    monkeypatch.setattr(reading, "LARGEST_DOCUMENT", 10)
    report = read(("a.json", json.dumps([OPENAI], indent=1).encode()))
    assert list(report.codes) == ["1"]
    assert "write a record on each line" in report.codes["1"]["problems"][0]["fix"]


def test_the_good_records_are_taken_while_the_share_of_bad_ones_is_allowed(
    read: Read, content: Callable[[], list[Any]], refused: Callable[[], list[Any]]
) -> None:
    """One of ten: refused at 5 percent, taken at 10, and named either way."""
    raw = LINE * 4 + b"oops \xff\n" + LINE * 5
    report = read(("a.jsonl", raw), bad_share=0.05)
    assert "1 of 10 records are refused; a share of 0.05 is allowed" in report.refused
    report = read(("a.jsonl", raw), bad_share=0.1)
    assert report.refused == ""
    assert (report.taken, report.bad, len(content())) == (9, 1, 9)
    assert [(one["line"], one["raw"]) for one in refused()] == [(5, "oops \\xff")]


def test_a_file_without_one_good_record_refuses_the_import_whatever_the_share(read: Read) -> None:
    """Nobody knows what it should have held."""
    report = read(("a.jsonl", LINE * 50), ("b.jsonl", b"nothing\n"), bad_share=0.9)
    assert "no record of b.jsonl could be taken" in report.refused


def test_mappings_encodings_and_what_is_left_out_are_told(read: Read) -> None:
    """How many records each mapping had, and what became of the rest."""
    lines = [OPENAI, {**ALPACA, "id": 1}, {**ALPACA, "id": 2}]
    report = read(
        ("a.jsonl", "".join(json.dumps(one) + "\n" for one in lines).encode()),
        ("b.jsonl", '[{"prompt": "你好吗", "response": [["很好很好"]]}]\n'.encode("gbk")),
    )
    assert {name: one["count"] for name, one in report.mappings.items()} == {"openai": 1, "alpaca": 2}
    assert all(one["explained"] for one in report.mappings.values())
    assert report.notes == {"'id' is left out": 2}
    assert report.encodings == {"GB18030": ["b.jsonl"]}


def test_thousands_of_bad_lines_are_counted_and_kept_but_not_all_listed(
    read: Read, refused: Callable[[], list[Any]]
) -> None:
    """The report stays small; the file has all of them."""
    report = read(("a.jsonl", b"oops\n" * 5000 + LINE))
    assert report.bad == 5000
    assert len(report.codes["9"]["problems"]) == reading.LISTED
    assert len(refused()) == 5000
    assert len(orjson.dumps(asdict(report))) < 200_000


def test_progress_moves_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to all, never back."""
    monkeypatch.setattr(reading, "TOLD_EVERY_S", 0.0)
    monkeypatch.setattr(reading, "PIECE", 1000)
    told: list[dict[str, int]] = []
    Reading(spec_of(tmp_path, [("a.jsonl", LINE * 1000)]), told=told.append).run()
    shares = [line["done"] / line["of"] for line in told]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert told[-1]["rows"] == 1000


def started(spec: Spec) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", reading.__name__, orjson.dumps(asdict(spec)).decode()]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def test_a_full_disk_is_told_with_its_code(tmp_path: Path) -> None:
    """/dev/full takes nothing; errCode 4 says so."""
    spec = spec_of(tmp_path, [("a.jsonl", LINE)])
    spec.rows = "/dev/full"
    with started(spec) as process:
        assert process.stdout is not None
        last = [orjson.loads(line) for line in process.stdout][-1]
        assert process.wait() == 1
    assert last == {"failed": "the disk of the platform is full", "code": 4}


def test_the_process_holds_little_and_ends_with_its_starter(tmp_path: Path) -> None:
    """A file of 200 MB in a fraction of that; when standard input ends, so does it, at once."""
    path = tmp_path / "many"
    with path.open("wb") as file:
        for _ in range(200):
            file.write((json.dumps([{"prompt": "p" * 500, "response": [["r" * 500]]}]) + "\n").encode() * 970)
    spec = spec_of(tmp_path, [])
    spec.inputs = [["many.jsonl", str(path)]]
    with started(spec) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watched = psutil.Process(process.pid)
        line = process.stdout.readline()
        while orjson.loads(line)["rows"] < 50_000:
            line = process.stdout.readline()
        assert watched.memory_info().rss < 120e6
        begun = time.monotonic()
        process.stdin.close()
        process.stdout.read()
        assert process.wait(10) == -9
        assert time.monotonic() - begun < 2


def test_no_bytes_under_any_name_raise(read: Read) -> None:
    """Noise, cut files and files of another kind than their name: a report, whatever it says."""
    draw = random.Random(5)
    seeds = [
        LINE * 3,
        json.dumps([OPENAI]).encode(),
        b"prompt,response\nHi,Hello\n",
        zipped(a_jsonl=LINE),
        b"\xff\xfe",
    ]
    names = ["a.jsonl", "a.json", "a.csv", "a.txt", "a", "a.parquet", "a.zip"]
    for _ in range(300):
        raw = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(6)):
            at = draw.randrange(len(raw))
            raw[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(4))
            raw = raw or bytearray(b"\0")
        report = read(
            (draw.choice(names), bytes(raw)), template=draw.choice([2000, 2001, 2002, 40100, 40200])
        )
        assert report.refused or report.taken
