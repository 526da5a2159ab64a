"""Exceptions: the documented names, what each carries, and the language of its advice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from qianfan import errors
from qianfan.config import Config
from qianfan.errors import APIError, InvalidArgumentError, QianfanError, RequestError, speak

DOCUMENTED = (
    "QianfanError APIError RequestError AccessTokenExpiredError InvalidArgumentError ArgumentNotFoundError"
    " NotImplmentError InternalError RequestTimeoutError AuthError BearerTokenExpiredError ValidationError"
    " QianfanRequestError FileSizeOverflow"
)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No locale, and no language set, before and after."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    speak("auto")
    yield
    speak("auto")


@pytest.mark.parametrize("name", DOCUMENTED.split())
def test_the_documented_names_are_there(name: str) -> None:
    """All are QianfanErrors."""
    assert issubclass(getattr(errors, name), QianfanError)


def test_an_error_carries_what_is_known() -> None:
    """Code, message, request id, HTTP status, cause, and advice of the table in two languages."""
    cause = ValueError("why")
    error = APIError(336502, "Rate limit reached for TPM", "as-1", status_code=200, cause=cause)
    assert (error.code, error.error_code, error.status_code, error.req_id) == (336502, 336502, 200, "as-1")
    assert error.__cause__ is error.cause is cause
    assert "token_per_minute" in error.advice
    assert "请降低" in error.advice_zh
    assert str(error).startswith(
        "api return error, req_id: as-1 code: 336502, msg: Rate limit reached for TPM. "
    )
    assert str(error).endswith(error.advice)
    by_word = RequestError("HTTP 429", error_code="tpm_rate_limit_exceeded", status_code=429)
    assert by_word.advice == error.advice


def test_advice_that_the_platform_gave_is_not_followed_by_another() -> None:
    """The general advice of a code is for texts that have none, such as the cloud's."""
    told = APIError(500001, "run 7 does not exist. look at `qianfan finetune list`", "1")
    assert str(told).endswith("msg: run 7 does not exist. look at `qianfan finetune list`")
    assert told.advice == "look at `qianfan finetune list`"
    terse = APIError(17, "Open api daily request limit reached", "1")
    assert terse.advice in str(terse)
    assert "wait until tomorrow" in terse.advice


def test_the_text_speaks_the_language_that_is_set() -> None:
    """`QIANFAN_LANG`, also as an attribute; both pieces of advice stay readable."""
    Config({"LANG": "zh_CN.UTF-8"})
    error = APIError(18, "qps")
    assert str(error).endswith(error.advice_zh)
    assert "query_per_second" in error.advice
    assert (
        str(InvalidArgumentError("no", advice="do that")) == "no. do that"
    )  # none in Chinese: the English one
    assert str(InvalidArgumentError("no", advice="do that", advice_zh="请这样做")) == "no. 请这样做"
    Config({"LANG": "en"})
    assert str(APIError(18, "qps")).endswith(error.advice)
    with pytest.raises(InvalidArgumentError, match="en, zh or auto"):
        Config({"LANG": "fr"})


@pytest.mark.parametrize(
    ("environment", "is_chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, False),
        ({"QIANFAN_LANG": "zh"}, True),
        ({"QIANFAN_LANG": "en", "LANG": "zh_CN.UTF-8"}, False),
    ],
)
def test_the_locale_decides_where_nothing_is_set(environment: dict[str, str], is_chinese: bool) -> None:
    """In a process of its own, as a user starts it."""
    program = (
        "import qianfan\n"
        "try: qianfan.ChatCompletion()\n"
        "except qianfan.errors.InvalidArgumentError as error: print(ascii(str(error)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
    )
    assert ("\\u8bf7\\u8bbe\\u7f6e" in done.stdout) is is_chinese, done.stdout + done.stderr
