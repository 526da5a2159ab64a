"""No secret is in a log line, an error or the text of an object."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

from qianfan import ChatCompletion, FineTune, disable_log, enable_log, errors
from qianfan.contract.errors import ROWS
from qianfan.errors import APIError, MissingExtra, QianfanError, StreamInterrupted, need
from qianfan.transport.response import QfResponse
from qianfan.utils.logging import logger, redact

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


KINDS = {
    "oauth": ("ak", "sk"),
    "token": ("access_token",),
    "iam": ("access_key", "secret_key"),
    "bearer": ("bearer_token",),
    "private": ("access_code",),
}


def canary(name: str) -> str:
    """A secret that is easily found again."""
    return f"canary-{name}-0123456789"


def members(thing: Any) -> str:
    """All that a program may print of an object, its public members included."""
    names = [name for name in dir(thing) if not name.startswith("_")]
    return " ".join([repr(thing), str(thing), *(repr(getattr(thing, name)) for name in names)])


def traced(error: BaseException) -> str:
    """An error as a traceback shows it, with its causes and its own members."""
    return f"{''.join(traceback.format_exception(error))} {error!r} {error.args} {vars(error)}"


def spit(text: str) -> list[Answer]:
    """Answers of a server that says `text` again in every place it can."""
    return [
        Answer({"error_code": 1, "error_msg": f"bad: {text}"}),
        Answer({"error": {"code": "x", "message": text}}, 400),
        Answer(f"<b>{text}</b>".encode(), 500),
        Answer(text.encode()),
        Answer({}, 403, {"X-Bce-Error-Code": "AccessDenied", "X-Bce-Error-Message": text}),
        Answer({"result": "ok"}, headers={"Set-Cookie": canary("cookie")}),
        stream("{" + text),
        stream({"error_code": 1, "error_msg": text}),
    ]


def found(texts: list[str]) -> list[str]:
    """Where a canary is, with what stands around it."""
    return [
        text[max(at.start() - 60, 0) : at.end() + 30] for text in texts for at in re.finditer("canary-", text)
    ]


def outcome(call: Any) -> list[str]:
    """Everything that comes out of one call."""
    try:
        result = call()
        pieces = [result] if isinstance(result, QfResponse) else list(result)
        return [
            repr(result),
            *(f"{piece!r} {members(piece.request)} {pickle.dumps(piece.request)!r}" for piece in pieces),
        ]
    except QianfanError as error:
        logger.exception("failed")
        try:
            raise RuntimeError(f"what a program makes of it: {error}") from error
        except RuntimeError as wrapped:
            return [traced(error), traced(wrapped)]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What a handler of the program's own, which redacts nothing, gets from level TRACE on."""
    written, before = io.StringIO(), logger.level
    handler = logging.StreamHandler(written)
    logger.addHandler(handler)
    enable_log("TRACE")
    yield written
    logger.setLevel(before)
    logger.removeHandler(handler)


@pytest.mark.parametrize("kind", KINDS)
def test_no_canary_gets_out(server: Loopback, settings: Any, lines: io.StringIO, kind: str) -> None:
    """Against a server that repeats what it was told: no log line, error, text or member has a secret."""
    server.token_answer = lambda n: Answer({"access_token": canary("fetched"), "expires_in": 100})
    settings.REDIS_URL = f"redis://:{canary('redis')}@127.0.0.1:1/0"
    settings.ENABLE_PRIVATE = kind == "private"
    keys = {name: canary(name) for name in KINDS[kind]}
    chat = ChatCompletion(**keys, version="2" if kind == "bearer" else "1")
    calls = [lambda: chat.do(ASK), lambda: chat.do(ASK, stream=True)]
    if kind == "iam":
        calls.append(lambda: FineTune.get_job(1, 2, ak=keys["access_key"], sk=keys["secret_key"]))
    texts = [f"{settings!r} {chat._keys!r} {chat._manner({})!r} {chat!r}"]
    chat.do(ASK)  # a token is there now
    said = " ".join([*keys.values(), canary("fetched")] if kind == "oauth" else keys.values())
    for answer in spit(said):
        for call in calls:
            server.answers.append(answer)
            texts += outcome(call)
    texts.append(lines.getvalue())
    assert "sending <Request POST" in texts[-1]
    assert "received 500" in texts[-1]
    assert found(texts) == []


def test_no_login_of_a_proxy_or_an_address_gets_out(
    server: Loopback, settings: Any, lines: io.StringIO
) -> None:
    """A refused proxy, a dead one, and a base URL with a name and a password in it."""
    chat = ChatCompletion(ak=canary("ak"), sk=canary("sk"))
    with Loopback() as proxy:
        proxy.always = proxy.token_answer = lambda _: Answer({}, 407)
        settings.PROXY = f"http://user:{canary('proxy')}@127.0.0.1:{proxy.port}"
        texts = [*outcome(lambda: chat.do(ASK)), repr(settings)]
        assert proxy.tokens[0].headers["proxy-authorization"].startswith("Basic ")
    texts += outcome(lambda: chat.do(ASK))
    settings.PROXY = ""
    settings.BASE_URL = f"http://user:{canary('base')}@127.0.0.1:1"
    texts += [*outcome(lambda: chat.do(ASK, retry_count=2, backoff_factor=0, retry_jitter=0)), repr(settings)]
    settings.BASE_URL = f"user:{canary('base')}@127.0.0.1:1"
    texts += [*outcome(lambda: chat.do(ASK)), lines.getvalue()]
    assert "HTTP 407" in texts[0]
    assert found(texts) == []


def test_a_refused_key_is_not_repeated(server: Loopback, settings: Any, lines: io.StringIO) -> None:
    """Whatever the token endpoint says of it."""
    text = f"unknown {canary('ak')} with {canary('sk')}"
    server.token_answer = lambda _: Answer({"error": "invalid_client", "error_description": text}, 401)
    texts = [*outcome(lambda: ChatCompletion(ak=canary("ak"), sk=canary("sk")).do(ASK)), lines.getvalue()]
    assert "no access token for ak canary***" in texts[0]
    assert found(texts) == []


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
