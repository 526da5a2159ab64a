"""Small parts of the commands: names, texts, sources, likeness, the history's place, a saved conversation."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer

from qianfan.cli.conversation import Conversation
from qianfan.cli.embedding import cosine
from qianfan.cli.history import state_folder
from qianfan.cli.options import given, lines_of, named, text_of
from qianfan.cli.output import show_table
from qianfan.cli.plugin import sources
from qianfan.resources import ChatCompletion


@pytest.mark.parametrize("columns", [None, "20"])
def test_ids_of_a_table_are_never_broken(
    columns: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are copied into the next command: not on a narrow terminal, and a pipe gets a line for each row."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    ident = "0123456789abcdef" * 6
    show_table(("id", "what"), [(ident, "some words of a text"), ("b", "c")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(ident)
    assert (len(lines) == 3) is (columns is None)


def test_a_name_that_is_no_preset_is_a_service_of_ones_own() -> None:
    """--endpoint goes before --model; neither leaves the default."""
    assert named(ChatCompletion, "ERNIE-Bot", None) == {"model": "ERNIE-Bot"}
    assert named(ChatCompletion, "my_service", None) == {"endpoint": "my_service"}
    assert named(ChatCompletion, "ERNIE-Bot", "my_service") == {"endpoint": "my_service"}
    assert named(ChatCompletion, None, None) == {}


def test_only_options_that_were_given_are_sent() -> None:
    """0 is given, None is not."""
    assert given(temperature=None, top_p=0) == {"top_p": 0}


def test_texts_come_from_arguments_and_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is what is piped in; nothing at all is refused, saying what is missing."""
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\n b \n"))
    assert lines_of(["x", "-"], "texts") == ["x", "a", "b"]
    monkeypatch.setattr("sys.stdin", io.StringIO("a pipe\n"))
    assert text_of(["read", "-", "now"], "message") == "read a pipe now"
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    with pytest.raises(typer.BadParameter, match="no message"):
        text_of(None, "message")
    with pytest.raises(typer.BadParameter, match="no texts"):
        lines_of(None, "texts")


def test_likeness_is_between_minus_one_and_one() -> None:
    """Same direction 1, opposite -1, at right angles 0; a vector without length is like nothing."""
    assert cosine([1, 2], [2, 4]) == pytest.approx(1)
    assert cosine([1, 2], [-1, -2]) == pytest.approx(-1)
    assert cosine([1, 0], [0, 3]) == 0
    assert cosine([0, 0], [1, 1]) == 0


def test_sources_of_a_plugin_are_found_where_they_are_documented() -> None:
    """And nowhere else: each plugin may have a shape of its own."""
    rows = [{"docName": "a.txt", "score": 0.5, "content": "x " * 100}]
    found = list(sources({"response": {"result": {"responses": rows}}}))
    assert [(name, score) for name, score, _ in found] == [("a.txt", 0.5)]
    assert len(found[0][2]) == 60
    for other in (None, {}, {"response": "text"}, {"response": {"result": {"responses": 7}}}):
        assert list(sources(other)) == []


def test_the_history_is_where_programs_keep_their_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """XDG_STATE_HOME when it is set."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "qianfan"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert tmp_path not in state_folder().parents


def test_a_question_without_an_answer_is_forgotten() -> None:
    """Turns alternate; the next question would be refused otherwise."""
    talk = Conversation()
    talk.asked("one")
    talk.answered(" \n")
    assert talk.turns == []
    talk.asked("two")
    talk.answered("second")
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant"]


def test_a_conversation_is_saved_for_programs_or_for_people(tmp_path: Path) -> None:
    """JSON by the ending .json, else Markdown."""
    talk = Conversation(endpoint="svc", system="be kind")
    talk.asked("你好")
    talk.answered("hello")
    talk.save(tmp_path / "a.json")
    kept = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert kept == {"model": "svc", "system": "be kind", "messages": talk.turns}
    talk.save(tmp_path / "a.md")
    assert (
        (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# svc\n\n> be kind\n\n**user**\n\n你好")
    )
