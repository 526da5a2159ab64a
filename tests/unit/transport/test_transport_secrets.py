"""No secret is in a log line, an error or the text of an object."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from typing import Any

import pytest
from loopback import Answer, Loopback

from qianfan import ChatCompletion, FineTune, disable_log, enable_log, errors
from qianfan.contract.errors import ROWS
from qianfan.errors import APIError, MissingExtra, QianfanError, StreamInterrupted, need
from qianfan.utils.logging import RedactingFormatter, logger, redact

ASK = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "text",
    [
        "POST http://h/x?a=1&access_token=SECRET&b=2",
        "http://h/oauth/2.0/token?grant_type=c&client_id=SECRET&client_secret=SECRET",
        "proxy http://user:SECRET@host:1 refused",
        "Authorization: bce-auth-v1/SECRET/2024/300/host/SECRET",
        "{'Authorization': 'Bearer SECRET'}",
        "token bce-v3/ALTAK-SECRET/SECRET ends",
        '{"ak": "SECRET", "sk": "SECRET", "access_token":"SECRET"}',
        "Keys(ak='SECRET', secret_key='SECRET')",
    ],
)
def test_secrets_are_taken_out_of_any_text(text: str) -> None:
    """In addresses, headers, JSON and printed objects."""
    assert "SECRET" not in redact(text)
    assert "***" in redact(text)


def test_plain_text_stays_as_it_is() -> None:
    """What is no secret is not touched."""
    for text in (
        "the task asks: 'risk'",
        "sk is not correct; check QIANFAN_SK",
        '{"task": "a", "mask": "b"}',
    ):
        assert redact(text) == text


def test_errors_and_logs_hold_no_secret(server: Loopback, settings: Any, caplog: Any) -> None:
    """Whatever fails, however much is logged, tokens and keys stay inside."""
    caplog.set_level(5, "qianfan")
    caplog.handler.setFormatter(RedactingFormatter("%(message)s"))
    keys = {"ak": "ak-SECRET", "sk": "sk-SECRET"}
    server.token_answer = lambda n: Answer({"access_token": "tok-SECRET"})
    echo = Answer(
        {"error_code": 1, "error_msg": "bad access_token=tok-SECRET and sk-header Bearer tok-SECRET"}
    )
    texts = []
    for answer in (
        echo,
        Answer(b"<b>access_token=tok-SECRET</b>", 500),
        Answer(drop=True, wait_s=0.05),
        Answer([1]),
    ):
        server.answers += [answer, answer] if answer.drop else [answer]  # one drop is made good in silence
        with pytest.raises(QianfanError) as error:
            ChatCompletion(**keys).do(ASK, retry_count=1)
        texts += [str(error.value), repr(error.value), str(error.getrepr(style="short").reprcrash)]
    server.answers += [Answer({}, 403, {"X-Bce-Error-Code": "AccessDenied", "X-Bce-Error-Message": "no"})]
    with pytest.raises(QianfanError) as error:
        FineTune.get_job(1, 2, **keys)
    assert "sending <Request POST" in caplog.text
    assert "received 403" in caplog.text
    texts += [str(error.value), repr(ChatCompletion(**keys)._manner({})), caplog.text]
    assert "SECRET" not in "".join(texts)


def test_logging_is_quiet_until_it_is_switched_on() -> None:
    """Warnings only; `enable_log` takes a number or a name; nothing is written twice."""
    program = (
        "import logging, qianfan\n"
        "from qianfan.utils.logging import logger, enable_log\n"
        "logger.info('hidden'); logger.warning('shown sk=\"SECRET\"')\n"
        "enable_log(10); logger.debug('debug'); qianfan.disable_log(); logger.error('off')\n"
        "enable_log('INFO'); logging.basicConfig(format='root %(message)s'); logger.info('once')\n"
    )
    lines = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    ).stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("[WARNING] [")
    assert lines[0].endswith('shown sk="***"')
    assert lines[1].endswith(": debug")
    assert lines[2] == "root once"


def test_log_levels_can_be_set_and_put_back() -> None:
    """Both public functions change the one logger."""
    before = logger.level
    try:
        enable_log("TRACE")
        assert logger.level == 5
        disable_log()
        assert logger.level == logging.CRITICAL
    finally:
        logger.setLevel(before)


def test_every_code_of_the_table_has_a_class_of_ours() -> None:
    """The exceptions named by the shared table exist, and all are QianfanErrors."""
    for row in ROWS.values():
        assert issubclass(getattr(errors, row.exception), QianfanError)


def test_errors_can_be_pickled_and_copied() -> None:
    """Worker processes hand them over with all they hold."""
    error = APIError(336100, "busy", "as-1", cause=ValueError("why"))
    interrupted = StreamInterrupted("cut", text="so far")
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (str(made), made.error_code, made.req_id) == (str(error), 336100, "as-1")
        assert made.advice == error.advice
    assert pickle.loads(pickle.dumps(interrupted)).text == "so far"


def test_a_missing_part_says_what_to_install() -> None:
    """`need` names the module, the reason and the command."""
    with pytest.raises(
        MissingExtra, match=r"no_such_module to read x files.*pip install 'open-qianfan\[dataset\]'"
    ):
        need("no_such_module", "to read x files", "dataset")
    assert need("json", "to read", "dataset").loads("1") == 1
