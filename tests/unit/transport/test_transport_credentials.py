"""Which credentials a call carries: the table of levels and kinds, seen by a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Seen

from qianfan import ChatCompletion, FineTune
from qianfan.config import Config
from qianfan.contract import signing
from qianfan.errors import InvalidArgumentError
from qianfan.transport.credentials import Keys, console_signer
from qianfan.transport.signers import BearerSigner, CodeSigner, IamSigner, NoSigner, TokenSigner

ASK = [{"role": "user", "content": "hi"}]
OAUTH, IAM = {"ak": "ak", "sk": "sk"}, {"access_key": "key", "secret_key": "secret"}
TOKEN, BEARER = {"access_token": "token"}, {"bearer_token": "bearer"}


def upper(pairs: dict[str, str]) -> dict[str, str]:
    return {name.upper(): value for name, value in pairs.items()}


@pytest.mark.parametrize(
    ("arguments", "settings", "kind"),
    [
        (OAUTH, {}, TokenSigner),
        (IAM, {}, IamSigner),
        (TOKEN, {}, TokenSigner),
        ({**OAUTH, **IAM}, {}, TokenSigner),
        (IAM, upper(OAUTH), TokenSigner),  # OAuth goes first, wherever it comes from
        (TOKEN, upper(IAM), TokenSigner),
        ({"ak": "ak"}, upper(IAM), IamSigner),  # half a pair is no pair
        ({"ak": "", "sk": ""}, upper(IAM), IamSigner),  # empty is not set
        ({"ak": "ak"}, {"SK": "sk"}, TokenSigner),  # halves of two levels make a pair
        ({}, {"NO_AUTH": True}, NoSigner),
        (OAUTH, {"NO_AUTH": True}, NoSigner),
        (OAUTH, {"ENABLE_PRIVATE": True}, IamSigner),
        ({**OAUTH, "access_code": "code"}, {"ENABLE_PRIVATE": True}, CodeSigner),
        (OAUTH, {"ENABLE_PRIVATE": True, "ACCESS_CODE": "code"}, CodeSigner),
        (OAUTH, {"ACCESS_CODE": "code"}, TokenSigner),  # of private deployments alone
    ],
)
def test_what_is_given_decides_how_an_inference_call_is_signed(
    arguments: dict[str, str], settings: dict[str, Any], kind: type
) -> None:
    """A token, or ak and sk; else access key and secret key; private deployments and NO_AUTH besides."""
    config = Config(settings)
    assert type(Keys.of(arguments, config).inference_signer(config, "http://h")) is kind


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        ({}, {}, "QIANFAN_AK and QIANFAN_SK"),
        ({"ak": "ak", "secret_key": "s"}, {}, "QIANFAN_AK and QIANFAN_SK"),
        (IAM, {"ENABLE_PRIVATE": True}, "QIANFAN_ACCESS_CODE"),
        (BEARER, {}, "QIANFAN_AK and QIANFAN_SK"),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, str], settings: dict[str, Any], words: str) -> None:
    """In English and in Chinese."""
    config = Config(settings)
    with pytest.raises(InvalidArgumentError, match=words) as error:
        Keys.of(arguments, config).inference_signer(config, "http://h")
    assert "请设置" in error.value.advice_zh


@pytest.mark.parametrize(
    ("arguments", "settings", "kind"),
    [
        (BEARER, {}, BearerSigner),
        (IAM, {}, BearerSigner),
        ({}, upper(BEARER), BearerSigner),
        ({}, {"NO_AUTH": True}, NoSigner),
        (OAUTH, {}, None),
    ],
)
def test_v2_wants_a_bearer_token_or_iam_keys(
    arguments: dict[str, str], settings: dict[str, Any], kind: type | None
) -> None:
    """OAuth keys are of no use there."""
    config = Config(settings)
    if kind is None:
        with pytest.raises(InvalidArgumentError, match="QIANFAN_BEARER_TOKEN"):
            Keys.of(arguments, config).bearer_signer(config)
    else:
        assert type(Keys.of(arguments, config).bearer_signer(config)) is kind


def test_console_calls_take_iam_keys_by_other_names() -> None:
    """`ak` and `sk` of a console call are the IAM pair; those of the settings AK and SK are not used."""
    config = Config(upper(OAUTH))
    with pytest.raises(InvalidArgumentError, match="QIANFAN_ACCESS_KEY"):
        console_signer({}, config)
    assert type(console_signer({"ak": "a", "sk": "b"}, config)) is IamSigner
    assert type(console_signer({"ak": "a"}, Config(upper(IAM)))) is IamSigner
    assert type(console_signer({}, Config({"NO_AUTH": True}))) is NoSigner


LEVELS = [".env", "environment", "function", "argument"]


@pytest.mark.parametrize("highest", range(4), ids=LEVELS)
def test_levels_from_the_file_to_the_argument(highest: int, tmp_path: Path) -> None:
    """`.env` < environment < module function < argument: of those given, the highest counts."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    lines = ["import qianfan", "given = {}"]
    (tmp_path / ".env").write_text("QIANFAN_ACCESS_TOKEN=.env\nQIANFAN_ACCESS_KEY=.env\n")
    if highest >= 1:
        environment |= {"QIANFAN_ACCESS_TOKEN": "environment", "QIANFAN_ACCESS_KEY": "environment"}
    if highest >= 2:
        lines.append("qianfan.AccessToken('function'); qianfan.AccessKey('function')")
    if highest >= 3:
        lines.append("given = {'access_token': 'argument', 'access_key': 'argument'}")
    lines.append("keys = qianfan.ChatCompletion(**given)._keys; print(keys.access_token, keys.access_key)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [LEVELS[highest]] * 2, done.stderr


def verified(seen: Seen, secret: str, host: str | None = None) -> str:
    """The access key of a request's signature, which is checked as the platform checks it."""
    return signing.verify(
        seen.headers["authorization"],
        lambda key: secret,
        method=seen.method,
        raw_path=seen.path,
        query=list(seen.query.items()),
        headers={**seen.headers, **({"host": host} if host else {})},
        unix=signing_time(seen),
    )


def signing_time(seen: Seen) -> float:
    from datetime import datetime

    return datetime.fromisoformat(seen.headers["x-bce-date"]).timestamp()


def test_what_each_kind_sends(server: Loopback, settings: Any) -> None:
    """A token in the address, a signature, a code, or nothing."""
    ChatCompletion(ak=f"kinds-{server.port}", sk="s").do(ASK, query={"a": "中"})
    seen = server.seen[-1]
    assert seen.target.endswith("?a=%E4%B8%AD&access_token=token-1")
    assert "authorization" not in seen.headers
    assert server.tokens[0].query == {
        "grant_type": "client_credentials",
        "client_id": f"kinds-{server.port}",
        "client_secret": "s",
    }

    ChatCompletion(access_key="key", secret_key="secret").do(ASK, query={"a": "中"})
    assert verified(server.seen[-1], "secret") == "key"
    assert "access_token" not in server.seen[-1].query

    settings.IAM_HOST = "front.example"
    ChatCompletion(access_key="key", secret_key="secret").do(ASK)
    assert verified(server.seen[-1], "secret", host="front.example") == "key"
    FineTune.get_job(1, 2, ak="key", sk="secret")
    assert verified(server.seen[-1], "secret", host="front.example") == "key"
    settings.IAM_HOST = None

    settings.ENABLE_PRIVATE = True
    ChatCompletion(ak="private", sk="secret").do(ASK)
    assert verified(server.seen[-1], "secret") == "private"
    ChatCompletion(access_code="the-code").do(ASK)
    assert server.seen[-1].headers["authorization"] == "ACCESSCODE the-code"
    settings.ENABLE_PRIVATE = False

    settings.NO_AUTH = True
    ChatCompletion().do(ASK)
    FineTune.get_job(1, 2)
    for seen in server.seen[-2:]:
        assert "authorization" not in seen.headers
        assert "access_token" not in seen.query


def test_a_bearer_token_is_fetched_once_or_used_as_it_is(server: Loopback, settings: Any) -> None:
    """V2: with or without the word Bearer; with IAM keys one is asked for, signed, with its life."""
    for given in ("bce-v3/ALTAK-x/y", "Bearer bce-v3/ALTAK-x/y"):
        ChatCompletion(version="2", bearer_token=given).do(ASK)
        assert server.seen[-1].headers["authorization"] == "Bearer bce-v3/ALTAK-x/y"
    seen = len(server.seen)
    from loopback import Answer

    server.answers.append(Answer({"token": "fetched", "expireTime": "2099-01-02T03:04:05.000Z"}))
    chat = ChatCompletion(version="2", access_key=f"key-{server.port}", secret_key="secret")
    chat.do(ASK)
    chat.do(ASK)
    issue, *calls = server.seen[seen:]
    assert (issue.path, issue.query) == ("/v1/BCE-BEARER/token", {"expireInSeconds": "43200"})
    assert verified(issue, "secret") == f"key-{server.port}"
    assert [call.headers["authorization"] for call in calls] == ["Bearer fetched"] * 2
