"""`qianfan dataset` on files of this machine."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qianfan.cli import dataset_files, rows
from qianfan.cli.main import app
from qianfan.dataset.operators import CATALOGUE
from qianfan.errors import QianfanError

CHAT = [{"prompt": "What is 2+2? 😀", "response": [["4"]]}, {"prompt": "And times 3?", "response": [["12"]]}]
MAIL = [{"prompt": "Who [bold]is[/bold] it?", "response": [["li.lei@example.com"]]}]
OPENAI = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def said(*arguments: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["dataset", *map(str, arguments)], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output
    return result


def told(*arguments: str | Path, code: int = 0) -> Any:
    """What --json prints."""
    lines = said(*arguments, "--json", code=code).stdout.splitlines()
    return [json.loads(line) for line in lines]


def jsonl(path: Path, *found: Any) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in found))
    return path


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "data.jsonl", CHAT, MAIL)


def test_every_problem_is_told_by_line_and_with_its_fix(tmp_path: Path) -> None:
    """In the order of the file, bad JSON as well as bad rows; the code says that there were some."""
    bad = jsonl(tmp_path / "bad.jsonl", CHAT, [{"prompt": " "}], "no json\n", [{"response": [["x"]]}], OPENAI)
    done = said("check", bad, code=1)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "bad.jsonl line 2, field [0].prompt",
        "bad.jsonl line 3, column 1",
        "bad.jsonl line 4, field [0]",
    ]
    assert all(" — fix: " in line for line in lines)
    assert "4 rows as NonSortedConversation: 3 do not fit, 2 annotated" in done.stderr
    assert "openai" in done.stderr
    *problems, summary = told("check", bad, "--limit", 1, code=1)
    assert [(problem["line"], problem["field"]) for problem in problems] == [(2, "[0].prompt")]
    assert (summary["ok"], summary["bad"], summary["mapped"]) == (False, 3, {"openai": 1})


def test_a_good_file_passes_and_an_empty_one_does_not(file: Path, tmp_path: Path) -> None:
    """The template is what the rows are, or the one that is wanted."""
    assert told("check", file) == [
        {
            "ok": True,
            "template": "NonSortedConversation",
            "rows": 2,
            "bad": 0,
            "annotated": 2,
            "mapped": {},
            "notes": {},
        }
    ]
    assert told("check", file, "--template", "text", code=1)[-1]["bad"] == 2
    assert told("check", jsonl(tmp_path / "empty.jsonl"), code=1)[-1]["ok"] is False
    assert told("check", jsonl(tmp_path / "texts.txt", "one\ntwo\n"))[0]["template"] == "GenericText"
    said("check", file, "--template", "poem", code=2)
    said("check", tmp_path / "absent.jsonl", code=2)


def test_rows_are_shown_and_nothing_in_them_is_obeyed(file: Path, tmp_path: Path) -> None:
    """Markup stays as it is written, escapes of terminals are shown as signs."""
    shown = said("view", file).stdout
    assert "Who [bold]is[/bold] it?" in shown
    assert "── 2 " in shown
    evil = jsonl(tmp_path / "evil.jsonl", [{"prompt": "\x1b[31mred\u202e", "response": [["x" * 400]]}])
    shown = said("view", evil).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "␛[31mred" in shown
    assert "(100 more)" in shown
    assert "more)" not in said("view", evil, "--row", 1).stdout
    assert told("view", file, "--from", 2) == [{"line": 2, "row": MAIL}]
    assert told("view", file, "--row", 1) == [{"line": 1, "row": CHAT}]
    said("view", file, "--row", 9, code=2)
    said("view", tmp_path / "absent.jsonl", code=2)


def test_figures_are_drawn_or_given_as_json(file: Path) -> None:
    """Rows, turns, lengths."""
    assert "exact duplicates   0 (0.0 %)" in said("stats", file).stdout
    (figures,) = told("stats", file)
    assert (figures["rows"], figures["annotated"], figures["turns"]["max"]) == (2, 2, 2)


def test_cleaning_changes_texts_drops_rows_and_explains_itself(file: Path, tmp_path: Path) -> None:
    """Without -o nothing is written; with it the funnel says what became of every row."""
    jsonl(file, CHAT, MAIL, [{"prompt": "哈" * 20, "response": [["x"]]}])
    operators = ("--op", "remove_emoji", "--op", "replace_emails", "--op")
    repeated = "filter_check_character_repetition_removal:default_character_repetition_max_cutoff=0.2"
    done = said("clean", file, *operators, repeated, "--explain")
    assert "before  What is 2+2? 😀" in done.stdout
    assert "after   <EMAIL>" in done.stdout
    assert "dropped" in done.stdout
    assert "2 of 3 rows kept\n" in done.stderr
    out = tmp_path / "out.jsonl"
    (result,) = told("clean", file, *operators, repeated, "-o", out)
    assert [one["dropped"] for one in result["funnel"]] == [0, 1, 0]
    assert (result["rows"], result["kept"]) == (3, 2)
    assert read(out)[1][0]["response"] == [["<EMAIL>"]]


@pytest.mark.parametrize(
    ("op", "why"),
    [
        ("remove_everything", "there is no operator"),
        ("deduplication_simhash:distance", "has no value"),
        ("deduplication_simhash:distance=far", "is no number"),
        ("deduplication_simhash:distance=40", "between"),
        ("remove_emoji:strength=1", "no argument"),
    ],
)
def test_an_operator_that_cannot_run_is_refused(file: Path, tmp_path: Path, op: str, why: str) -> None:
    """Before the file is read, with what is known."""
    done = said("clean", file, "--op", op, "-o", tmp_path / "out.jsonl", code=2)
    assert why in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out.jsonl").exists()


def test_operators_are_listed() -> None:
    """All of the catalogue, with their arguments."""
    assert "deduplication_simhash" in said("operators").stdout
    (listed,) = told("operators")
    assert {one["name"] for one in listed["operators"]} == set(CATALOGUE)


def test_records_of_others_become_rows_and_rows_become_theirs(tmp_path: Path) -> None:
    """What is mapped to what is shown; there and back a row is the same."""
    alpaca = tmp_path / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": "add", "input": "1+1", "output": "2"}]))
    mine, theirs, back = tmp_path / "mine.jsonl", tmp_path / "theirs.jsonl", tmp_path / "back.jsonl"
    done = said("convert", alpaca, mine)
    assert "output → response" in done.stderr
    assert read(mine) == [[{"prompt": "add\n1+1", "response": [["2"]]}]]
    said("convert", mine, theirs, "--as", "openai")
    assert [message["role"] for message in read(theirs)[0]["messages"]] == ["user", "assistant"]
    (result,) = told("convert", theirs, back)
    assert result["from"] == {"openai": 1}
    assert read(back) == read(mine)
    said("convert", alpaca, mine, "--from", "as-is")
    assert read(mine) == [{"instruction": "add", "input": "1+1", "output": "2"}]
    said("convert", alpaca, mine, "--from", "nowhere", code=2)


def test_files_become_parquet_and_csv_and_come_back(file: Path, tmp_path: Path) -> None:
    """Conversations in a column of their own; of one turn, as columns for a spreadsheet."""
    parquet, back = tmp_path / "data.parquet", tmp_path / "back.jsonl"
    said("convert", file, parquet)
    said("convert", parquet, back)
    assert read(back) == [CHAT, MAIL]
    sheet = tmp_path / "sheet.csv"
    said("convert", jsonl(tmp_path / "one.jsonl", MAIL), sheet)
    assert sheet.read_text() == "prompt,response\nWho [bold]is[/bold] it?,li.lei@example.com\n"
    said("convert", sheet, back)
    assert read(back) == [MAIL]


def test_a_row_that_cannot_be_converted_stops_or_is_left_out_and_told(file: Path, tmp_path: Path) -> None:
    """Nothing is written unless it was asked for; nothing is left out in silence."""
    sheet = tmp_path / "sheet.csv"
    failed = CliRunner().invoke(app, ["dataset", "convert", str(file), str(sheet)])
    assert isinstance(failed.exception, QianfanError)
    assert "data.jsonl line 1" in str(failed.exception)
    assert not sheet.exists()
    done = said("convert", file, sheet, "--skip-bad")
    assert "data.jsonl line 1: a conversation of several turns" in done.stderr
    assert "1 row written" in done.stderr
    assert len(sheet.read_text().splitlines()) == 2


def test_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    """Exact ones, and near ones when they are asked for; the first stays."""
    words = " ".join(f"word{number}" for number in range(60))
    rows_ = [[{"prompt": words}], [{"prompt": words}], [{"prompt": words.replace("word30", "other")}], CHAT]
    file, out = jsonl(tmp_path / "data.jsonl", *rows_), tmp_path / "once.jsonl"
    assert told("dedup", file, "-o", out)[0]["kept"] == 3
    (found,) = told("dedup", file, "-o", out, "--near", 0.8)
    assert (found["rows"], found["exact"], found["near"], found["kept"]) == (4, 1, 1, 2)
    assert read(out) == [rows_[0], CHAT]
    said("dedup", file, "-o", out, "--near", 0.2, code=2)


def test_a_file_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """With those that are known."""
    strange = tmp_path / "data.docx"
    strange.write_bytes(b"x")
    assert "jsonl" in said("stats", strange, code=2).stderr


def test_texts_go_into_a_column_and_come_out(tmp_path: Path) -> None:
    """Of a text file and a table."""
    texts, sheet, back = tmp_path / "a.txt", tmp_path / "a.csv", tmp_path / "b.txt"
    texts.write_text("one, two\n=three\n")
    said("convert", texts, sheet)
    assert sheet.read_text().splitlines()[:2] == ["text", '"one, two"']
    said("convert", sheet, back)
    assert back.read_text() == texts.read_text()


def test_a_row_of_no_known_format_is_not_called_ours(tmp_path: Path) -> None:
    """A sheet with headings of its own, and texts where conversations are wanted: refused unless taken as they are."""
    sheet, texts, out = tmp_path / "a.csv", tmp_path / "a.txt", tmp_path / "b.jsonl"
    sheet.write_text("问题,回答\n你好,很好\n", encoding="gb18030")
    texts.write_text("one\n")
    for arguments in ((sheet, out), (texts, out, "--template", "conversation")):
        failed = CliRunner().invoke(app, ["dataset", "convert", *map(str, arguments)])
        assert "--from as-is" in str(failed.exception)
        assert not out.exists()
    said("convert", sheet, out, "--from", "as-is")
    assert read(out) == [{"问题": "你好", "回答": "很好"}]


def test_a_wrong_operator_is_told_which_was_meant(file: Path) -> None:
    """By the nearest name."""
    assert (
        "did you mean remove_emoji?"
        in said("clean", file, "--explain", "--op", "remove_emojis", code=2).stderr
    )


def test_a_pipe_is_no_file_of_rows(tmp_path: Path) -> None:
    """It could be read only once; it is not called empty."""
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    assert "no plain file" in said("check", pipe, code=2).stderr


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """A full disk, as the system tells it: without a name."""

    def rows_() -> Iterator[Any]:
        yield CHAT
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"x\.jsonl"):
        dataset_files.write(tmp_path / "x.jsonl", rows_())
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        dataset_files.write_bytes(tmp_path / "folder", io.BytesIO(b"x"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_bar_counts_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody looks; with and without the size of the file."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for border in (0, 999, 1000, 1001):
        seen = Terminal()
        monkeypatch.setattr("sys.stderr", seen)
        monkeypatch.setenv("TERM", "xterm")
        assert list(dataset_files.counted(range(border), "[red]counting", 10, lambda: 5)) == list(
            range(border)
        )
        assert list(dataset_files.counted(range(border), "counting")) == list(range(border))
        assert ("1,000 rows" in seen.getvalue()) == (border >= 1000)


def test_words_for_rows_and_cut_texts() -> None:
    """One row, two rows; a long text says how much is not shown."""
    assert (dataset_files.so_many(1), dataset_files.so_many(2000)) == ("1 row", "2,000 rows")
    assert rows.cut("abcdef", 4) == "abcd… (2 more)"
