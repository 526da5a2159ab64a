"""`qianfan dataset` against the platform."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from qianfan import embedded
from qianfan.cli.main import app
from qianfan.embedded import Embedded

ROWS = [[{"prompt": f"what is {number} and one?", "response": [[str(number + 1)]]}] for number in range(32)]


def png() -> bytes:
    """A picture of one black point."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    parts = (part(b"IHDR", header), part(b"IDAT", zlib.compress(b"\0\0")), part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Command:
    """Runs `qianfan …` in this process."""

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> Result:
        done = CliRunner().invoke(app, arguments, input=stdin, env={"COLUMNS": "200"})
        assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)


@pytest.fixture
def qianfan(platform: Embedded) -> Iterator[Command]:
    with embedded.configured(platform.environment):
        yield Command()


def test_a_file_goes_to_the_platform_and_comes_back(qianfan: Command, tmp_path: Path) -> None:
    """Uploaded and released; its rows are listed, shown and downloaded as they were."""
    file, back = tmp_path / "sums.jsonl", tmp_path / "back.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = qianfan.json("dataset", "upload", str(file), "--name", "sums by command", "--release")
    assert (done["imported"], done["released"], done["rows"], done["problems"]) == (True, True, 32, [])
    ident = done["id"]
    listed = qianfan("dataset", "entities", ident, "--from", "31", "--annotated", "yes", "--json").stdout
    assert len(listed.splitlines()) == 2
    shown = qianfan("dataset", "view", ident, "--from", "31", "--json").stdout.splitlines()
    assert [json.loads(line) for line in shown] == [
        {"line": 31, "row": ROWS[30]},
        {"line": 32, "row": ROWS[31]},
    ]
    told = qianfan("dataset", "download", ident, "-o", str(back))
    assert "32 rows of sums by command" in told.stderr
    assert [json.loads(line) for line in back.read_text().splitlines()] == ROWS
    (found,) = qianfan.json("dataset", "list", "--name", "sums by")["datasets"]
    assert (found["latestVersionId"], found["dataFormat"]) == (ident, "PromptResponse")
    (line,) = [line for line in qianfan("dataset", "list").stdout.splitlines() if ident in line]
    assert line.split()[-3:-1] == ["32", "released"]  # then when it changed
    qianfan("dataset", "delete", ident, "--yes")
    assert qianfan.json("dataset", "list", "--name", "sums by")["datasets"] == []


def test_a_record_gets_its_answer(qianfan: Command, tmp_path: Path) -> None:
    """By its id, and the dataset has it from then on."""
    file = tmp_path / "questions.jsonl"
    file.write_text('[{"prompt": "who?"}]\n[{"prompt": "where?"}]\n')
    ident = qianfan.json("dataset", "upload", str(file))["id"]
    first, _ = map(json.loads, qianfan("dataset", "entities", ident, "--json").stdout.splitlines())
    answer = [{"prompt": "who?", "response": [["me"]]}]
    qianfan("dataset", "annotate", ident, first["id"], "-", stdin=json.dumps(answer))
    shown = qianfan("dataset", "view", ident, "--row", "1", "--json").stdout
    assert json.loads(shown)["row"] == answer
    assert "2, 1 annotated" in qianfan("dataset", "show", ident).stdout
    assert qianfan.json("dataset", "release", ident) == {"id": ident, "released": True}
    assert qianfan.json("dataset", "show", ident)["releaseStatus"] == 2
    left = qianfan("dataset", "entities", ident, "--annotated", "no", "--json").stdout
    assert len(left.splitlines()) == 1
    qianfan("dataset", "annotate", ident, first["id"], "no json", code=2)


def test_refused_lines_are_told_and_the_command_fails(qianfan: Command, tmp_path: Path) -> None:
    """Each with its line and how to mend it; nothing was imported, unless so much may be bad."""
    file, refused = tmp_path / "bad.jsonl", tmp_path / "refused.jsonl"
    file.write_text('[{"prompt": "hi", "response": [["ho"]]}]\n[{"prompt": 7}]\nno json\n')
    done = qianfan("dataset", "upload", str(file), "--quarantine", str(refused), code=1)
    for line, what in ((2, "prompt is a number"), (3, "not valid JSON")):
        (told,) = [text for text in done.stderr.splitlines() if text.startswith(f"bad.jsonl line {line},")]
        assert what in told
        assert " — fix: " in told
    assert "nothing was imported" in done.stderr
    assert len(refused.read_text().splitlines()) == 2
    outcome = qianfan.json("dataset", "upload", str(file), "--bad-share", "0.7")
    assert (outcome["imported"], outcome["rows"], outcome["refused"]) == (True, 1, 2)
    assert [problem["line"] for problem in outcome["problems"]] == [2, 3]


def test_a_refused_addition_leaves_what_was_there(qianfan: Command, tmp_path: Path) -> None:
    """It can be released and downloaded, as a table too; a dataset that stayed empty says what to do with it."""
    good, bad, sheet = tmp_path / "good.jsonl", tmp_path / "bad.jsonl", tmp_path / "sheet.csv"
    good.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    bad.write_text('[{"prompt": ""}]\n')
    ident = qianfan.json("dataset", "upload", str(good))["id"]
    told = qianfan("dataset", "upload", str(bad), "--into", ident, code=1).stderr
    assert "fill it by" not in told
    qianfan("dataset", "release", ident)
    qianfan("dataset", "download", ident, "-o", str(sheet))
    assert sheet.read_text().splitlines()[0].startswith("prompt,response")
    assert len(sheet.read_text().splitlines()) == len(ROWS) + 1
    assert "is empty: fill it by --into" in qianfan("dataset", "upload", str(bad), code=1).stderr


def test_records_of_other_formats_are_imported_as_they_are(qianfan: Command, tmp_path: Path) -> None:
    """The platform says how it read them."""
    file = tmp_path / "chat.jsonl"
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    file.write_text(json.dumps({"messages": said}) + "\n")
    done = qianfan("dataset", "upload", str(file))
    assert "openai" in done.stderr
    shown = qianfan("dataset", "view", done.stdout.strip(), "--json").stdout
    assert json.loads(shown)["row"] == [{"prompt": "hi", "response": [["ho"]]}]


def test_pictures_are_uploaded_in_a_zip_and_described(qianfan: Command, tmp_path: Path) -> None:
    """The names of records are those of the pictures; a label is a description."""
    file = tmp_path / "pictures.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat.png", png())
    ident = qianfan.json("dataset", "upload", str(file))["id"]  # known by what is in it
    (entity,) = map(json.loads, qianfan("dataset", "entities", ident, "--json").stdout.splitlines())
    assert entity["name"] == "cat.png"
    qianfan("dataset", "annotate", ident, entity["id"], "--label", "a cat on a roof")
    assert "a cat on a roof" in qianfan("dataset", "entities", ident).stdout
    back = tmp_path / "back.zip"
    qianfan("dataset", "download", ident, "-o", str(back))
    with zipfile.ZipFile(back) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".png")]
        assert archive.read(name) == png()
    qianfan("dataset", "download", ident, "-o", str(tmp_path / "back.jsonl"), code=2)
    qianfan("dataset", "check", str(file), "--template", "image", code=2)
