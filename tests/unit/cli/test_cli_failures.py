"""Errors as texts and exit codes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qianfan.cli import failures
from qianfan.cli.main import run
from qianfan.config import get_config
from qianfan.errors import InvalidArgumentError, QianfanError
from qianfan.utils.logging import logger


@pytest.fixture(autouse=True)
def log_format() -> Iterator[None]:
    """The command gives the SDK's log a shorter form; the other tests get theirs back."""
    before = [(handler, handler.formatter) for handler in logger.handlers]
    yield
    for handler, formatter in before:
        handler.setFormatter(formatter)


def test_an_error_of_the_service_has_its_request_in_it() -> None:
    """The id helps whoever runs the platform."""
    error = QianfanError("no such endpoint", error_code=3, req_id="as-abc", advice="look at the list")
    assert failures.text_of(error) == "no such endpoint. look at the list (request as-abc)"


def test_a_file_that_cannot_be_used_is_named() -> None:
    """The name and the reason of the system."""
    assert failures.text_of(FileNotFoundError(2, "No such file", "x.json")) == "x.json: No such file"


def test_the_code_says_whether_something_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """2 when the arguments were wrong, 1 when the service said no, and no traceback for either."""
    assert failures.tell(QianfanError("no"), debug=False) == failures.FAILED
    with_keys = get_config()
    before, with_keys.AK = with_keys.AK, "x"
    try:
        assert failures.tell(InvalidArgumentError("wrong"), debug=False) == failures.USAGE
    finally:
        with_keys.AK = before
    assert capsys.readouterr().err == "qianfan: no\nqianfan: wrong\n"


def test_debug_shows_where_it_happened(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback, on standard error."""
    try:
        raise QianfanError("no")
    except QianfanError as error:
        failures.tell(error, debug=True)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["chat", "--nonsense"], ["image"], []])
def test_a_command_line_that_cannot_be_used_ends_with_2(arguments: list[str]) -> None:
    """Unknown commands and options, and commands that miss their own."""
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == failures.USAGE


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0."""
    for arguments in (["--version"], ["--help"], ["chat", "--help"]):
        with pytest.raises(SystemExit) as ended:
            run(arguments)
        assert not ended.value.code
    assert "qianfan chat" in capsys.readouterr().out


def test_completion_for_shells_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell that asks for words beginning with `comp` is told `completion`."""
    monkeypatch.setenv("_QIANFAN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "qianfan comp")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        run([])
    assert capsys.readouterr().out.split() == ["completion"]
