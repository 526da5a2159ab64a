"""The conversation of one call, driven by hand: no network, no clock."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qianfan.contract.routes import FINETUNE_CREATE_TASK, V2_CHAT, Route
from qianfan.errors import (
    AccessTokenExpiredError,
    APIError,
    AuthError,
    ConnectionLost,
    RequestError,
    RequestTimeoutError,
)
from qianfan.transport.call import Call, Reply, Request, Send, Sleep
from qianfan.transport.exchange import exchange
from qianfan.transport.limiter import Limiter
from qianfan.transport.limits import NO_LIMITS, Limits
from qianfan.transport.retry import Retry
from qianfan.transport.signers import BearerSigner, IamSigner, TokenSigner
from qianfan.transport.tokens import TokenKey, TokenStore

CHAT = Call(Route("/chat/x", "inference"))
REQUEST = Request("POST", "http://h:1", "/chat/x", (), {"Content-Type": "application/json"}, b"{}", 60.0)
KEY = TokenKey("ak", "sk", "http://h:1")


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, headers, json.dumps(body).encode())


def signed_by_iam() -> IamSigner:
    return IamSigner("ak", "sk", unix=lambda: 1704164645.0)


def retry(attempts: int = 1, **more: Any) -> Retry:
    return Retry(attempts, **{"jitter": 0.0, "codes": frozenset({18, 336100}), **more})


def drive(conversation: Any, *answers: Any) -> tuple[list[Any], Any]:
    """Answer each `Send` in turn, pass each `Sleep`; what was asked for, and how it ended."""
    asked, left, value = [], list(answers), None
    resume = conversation.send
    try:
        while True:
            effect = resume(value)
            asked.append(effect)
            resume, value = conversation.send, None
            if isinstance(effect, Send):
                value = left.pop(0)
                if isinstance(value, Exception):
                    resume = conversation.throw
    except StopIteration as done:
        return asked, done.value
    except Exception as error:
        return asked, error


def sleeps(asked: list[Any]) -> list[float]:
    return [effect.seconds for effect in asked if isinstance(effect, Sleep)]


def start(attempts: int = 1, call: Call = CHAT, signer: Any = None, clock: Any = None, **more: Any) -> Any:
    signer = signer or signed_by_iam()
    request = replace(REQUEST, timeout_s=more.get("timeout_s", 60.0))
    return exchange(call, request, signer, NO_LIMITS, retry(attempts, **more), clock or Clock())


def test_a_good_answer_ends_the_call() -> None:
    """One request, one body."""
    asked, (sent, answer, body) = drive(start(), reply({"result": "hi"}))
    assert len(asked) == 1
    assert sent.headers["Authorization"].startswith("bce-auth-v1/ak/2024-01-02T03:04:05Z/300/")
    assert (answer.status, body) == (200, {"result": "hi"})


@pytest.mark.parametrize(
    "failure",
    [
        reply({"error_code": 18, "error_msg": "qps"}),
        reply({}, 429),
        reply({}, 503),
        ConnectionLost("gone"),
        RequestTimeoutError("late"),
    ],
)
def test_what_may_pass_is_tried_again(failure: Any) -> None:
    """Codes, 429, 5xx, no connection and no answer are retried; waits are 1 s and 2 s."""
    asked, (_, _, body) = drive(start(3), failure, failure, reply({"result": 1}))
    assert body == {"result": 1}
    assert sleeps(asked) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (reply({"error_code": 336003, "error_msg": "bad"}), APIError),
        (reply({"code": "InappropriateJSON", "message": "m"}, 400), RequestError),
        (reply([1]), RequestError),
    ],
)
def test_what_will_not_pass_is_raised_at_once(failure: Any, kind: type) -> None:
    """A wrong argument is wrong the second time, too."""
    asked, error = drive(start(3), failure)
    assert isinstance(error, kind)
    assert len(asked) == 1


def test_one_attempt_is_the_default_and_the_last_error_is_raised() -> None:
    """retry_count is the total of attempts."""
    for attempts in (1, 2):
        asked, error = drive(start(attempts), *[reply({"error_code": 18, "error_msg": "q"})] * attempts)
        assert isinstance(error, APIError)
        assert error.error_code == 18
        assert sum(isinstance(effect, Send) for effect in asked) == attempts


def test_the_server_may_ask_for_a_longer_wait() -> None:
    """Retry-After is obeyed when it is longer than the planned wait, and refused beyond the deadline."""
    asked, _ = drive(start(2), reply({}, 429, **{"retry-after": "7"}), reply({}))
    assert sleeps(asked) == [7.0]
    asked, error = drive(start(2), reply({}, 429, **{"retry-after": "9000"}))
    assert sleeps(asked) == []
    assert error.retry_after_s == 9000


def test_all_attempts_share_one_deadline() -> None:
    """When the time of the whole call is used up, no further attempt is made, and none outlasts it."""
    clock = Clock()
    conversation = start(5, clock=clock, timeout_s=2.0, backoff=1.0)
    deadline = retry(5, timeout_s=2.0, backoff=1.0).deadline_s
    assert next(conversation).request.timeout_s == 2.0
    clock.now += deadline - 1.5
    assert conversation.throw(ConnectionLost("gone")) == Sleep(1.0)
    clock.now += 1.0
    assert conversation.send(None).request.timeout_s == pytest.approx(0.5)
    with pytest.raises(ConnectionLost):
        conversation.throw(ConnectionLost("gone again"))


def test_a_stale_connection_is_replaced_once_without_being_asked() -> None:
    """A kept-alive connection that had been closed costs no attempt and no wait; a second time is an error."""
    asked, (_, _, body) = drive(start(1), ConnectionLost("stale", stale=True), reply({"result": 1}))
    assert body == {"result": 1}
    assert sleeps(asked) == []
    lost = ConnectionLost("stale", stale=True)
    assert drive(start(1), lost, lost)[1] is lost


def test_a_refused_token_is_renewed_once() -> None:
    """110 and 111 bring one new token and one repetition, outside the count of attempts."""
    for code in (110, 111):
        signer = TokenSigner(TokenStore(), KEY, given="old")
        refused = reply({"error_code": code, "error_msg": "token"})
        asked, (sent, _, body) = drive(
            start(1, signer=signer),
            refused,
            reply({"access_token": "new", "expires_in": 100}),
            reply({"ok": 1}),
        )
        assert [effect.request.path for effect in asked] == ["/chat/x", "/oauth/2.0/token", "/chat/x"]
        assert (dict(sent.query)["access_token"], body) == ("new", {"ok": 1})
        _, error = drive(start(1, signer=signer), refused, reply({"access_token": "n2"}), refused)
        assert isinstance(error, AccessTokenExpiredError)
        assert error.error_code == code


def test_a_given_token_without_keys_is_never_renewed() -> None:
    """There is nothing to renew it with; the error says what to set."""
    signer = TokenSigner(TokenStore(), None, given="old")
    asked, error = drive(start(3, signer=signer), reply({"error_code": 110, "error_msg": "token"}))
    assert len(asked) == 1
    assert isinstance(error, AccessTokenExpiredError)
    assert "QIANFAN_AK" in str(error)
    assert "old" not in str(error)


def test_wrong_keys_are_told_without_showing_them() -> None:
    """The token endpoint's 401 becomes AuthError with the cause; the call itself is never sent."""
    signer = TokenSigner(TokenStore(), TokenKey("ak-secret-1", "sk-secret", "http://h:1"))
    no = reply({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
    asked, error = drive(start(1, signer=signer), no)
    assert [effect.request.path for effect in asked] == ["/oauth/2.0/token"]
    assert isinstance(error, AuthError)
    assert "sk is not correct" in str(error)
    assert "ak-secret-1" not in str(error)
    assert "sk-secret" not in str(error)


def test_every_attempt_takes_a_place_in_the_rate_limit() -> None:
    """The limiter says how long to wait; repetitions wait for their place as well."""
    clock = Clock()
    limiter = Limiter(0.5, clock)
    conversation = exchange(
        CHAT, REQUEST, signed_by_iam(), Limits(requests=(limiter,)), retry(2, backoff=0.0), clock
    )
    asked, _ = drive(conversation, reply({"error_code": 18, "error_msg": "qps"}), reply({}))
    assert [type(effect).__name__ for effect in asked] == ["Send", "Sleep", "Sleep", "Send"]
    assert sleeps(asked) == [0.0, 2.0]


def test_the_limiter_spaces_calls_evenly() -> None:
    """Two a second: places at 0, 0.5 and 1 s; after a pause the next one is free again. No rate, no limit."""
    clock = Clock()
    limiter = Limiter(2.0, clock)
    assert [limiter.reserve() for _ in range(3)] == [0.0, 0.5, 1.0]
    clock.now += 10
    assert [limiter.reserve(), limiter.reserve()] == [0.0, 0.5]
    assert [Limiter(0.0).reserve(), Limiter(-1.0).reserve()] == [0.0, 0.0]


def test_waits_grow_and_are_capped() -> None:
    """backoff · 2^(n-1) + U(0, jitter), at most max_wait."""
    policy = Retry(9, backoff=1.0, jitter=0.5, max_wait_s=5.0)
    delays = [policy.delay_after(ConnectionLost("x"), n, lambda low, high: high) for n in (1, 2, 3, 4)]
    assert delays == [1.5, 2.5, 4.5, 5.0]


@pytest.mark.parametrize(
    ("body", "status", "kind", "code", "text"),
    [
        ({"error_code": 500001, "error_msg": "bad name", "log_id": "7"}, 200, APIError, 500001, "bad name"),
        (
            {"success": False, "status": 400, "code": 3, "message": "no", "result": None},
            200,
            APIError,
            3,
            "no",
        ),
        ({"success": False, "message": {"global": "taken"}}, 200, APIError, 400, "taken"),
        ({"code": "InappropriateJSON", "message": "wrong"}, 400, RequestError, "InappropriateJSON", "wrong"),
        (
            {"error": {"code": "invalid_model", "message": "m"}, "id": "as-1"},
            401,
            RequestError,
            "invalid_model",
            "m",
        ),
    ],
)
def test_every_family_has_its_own_shape_of_error(
    body: dict, status: int, kind: type, code: object, text: str
) -> None:
    """Code and message are found whichever way a family of routes writes them."""
    _, error = drive(start(call=Call(FINETUNE_CREATE_TASK)), reply(body, status))
    assert type(error) is kind
    assert (error.error_code, error.code, error.error_msg) == (code, code, text)
    assert error.req_id == str(body.get("id") or body.get("log_id") or "")


def test_a_refused_signature_says_why() -> None:
    """The gateway's headers are in the text, with the status and what to check."""
    headers = {"x-bce-error-code": "AccessDenied", "x-bce-error-message": "NotFound, cause: no credential"}
    _, error = drive(start(), Reply(403, headers, b""))
    assert isinstance(error, RequestError)
    assert error.status_code == 403
    assert "NotFound, cause: no credential" in str(error)
    assert "secret key" in str(error)


def test_the_advice_of_a_known_code_is_in_the_text_once() -> None:
    """What to do comes from the table of codes."""
    _, error = drive(start(), reply({"error_code": 336006, "error_msg": "odd number"}))
    assert str(error).count("messages alternate") == 1
    assert error.advice.startswith("messages alternate")


def test_waiting_for_a_place_takes_no_time_from_the_call() -> None:
    """Standing in our own queue for longer than the timeout leaves the call all of its time."""
    clock = Clock()
    limiter = Limiter(0.01, clock)
    limiter.reserve()
    conversation = exchange(CHAT, REQUEST, signed_by_iam(), Limits(requests=(limiter,)), retry(), clock)
    assert next(conversation) == Sleep(100.0)
    clock.now += 100.0
    assert conversation.send(None).request.timeout_s == 60.0


def test_a_refused_bearer_token_is_renewed_too() -> None:
    """V2 says it with HTTP 401 and a word."""
    refused = reply({"error": {"code": "invalid_iam_token", "message": "IAM Certification failed"}}, 401)
    key = TokenKey("ak", "sk", "http://iam:1", bearer_life_s=100)
    asked, (sent, _, _) = drive(
        start(call=Call(V2_CHAT), signer=BearerSigner(TokenStore(), key)),
        reply({"token": "one"}),
        refused,
        reply({"token": "two"}),
        reply({"choices": []}),
    )
    assert [effect.request.path for effect in asked].count("/v1/BCE-BEARER/token") == 2
    assert sent.headers["Authorization"] == "Bearer two"
