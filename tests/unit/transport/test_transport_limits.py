"""Limits of an object, of the process and of the server: who shares them, and how tokens are counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from loopback import Answer, Loopback, stream

from qianfan import ChatCompletion
from qianfan.config import Config
from qianfan.errors import APIError, InvalidArgumentError
from qianfan.transport.call import Request, Sleep
from qianfan.transport.limiter import Limiter
from qianfan.transport.limits import Book, Limits, estimate, owner_of

ASK = [{"role": "user", "content": "hi"}]
REQUEST = Request("POST", "http://h", "/chat/x", (), {}, b"x" * 400, 1.0)  # 100 tokens by estimate


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> str:
    """A caller of this test alone: limits of the process are shared by name."""
    return owner_of(request.node.nodeid)


def waits(limits: Limits, request: Request = REQUEST) -> float:
    """Seconds that the next call has to wait."""
    return sum(effect.seconds for effect in limits.wait(request) if isinstance(effect, Sleep))


def settle(limits: Limits, used: int | None) -> None:
    assert list(limits.settle(REQUEST, used)) == []


def test_an_argument_counts_for_one_object_and_a_setting_for_all(owner: str) -> None:
    """Two objects with `query_per_second` go side by side; with QPS_LIMIT they share."""
    own = [Limits.of({"query_per_second": 1}, Config(), owner) for _ in range(2)]
    assert [waits(limits) for limits in own] == [0.0, 0.0]
    shared = [Limits.of({}, Config({"QPS_LIMIT": 1}), owner) for _ in range(2)]
    assert waits(shared[0]) == 0.0
    assert waits(shared[1]) == pytest.approx(1.0, abs=0.05)
    other = Limits.of({}, Config({"QPS_LIMIT": 1}), owner + "else")
    assert waits(other) == 0.0


def test_zero_switches_a_limit_of_the_process_off_for_one_object(owner: str) -> None:
    """An argument beats the setting, also with 0; `forcing_disable` switches all off."""
    for options in ({"query_per_second": 0}, {"query_per_second": 1, "forcing_disable": True}):
        limits = Limits.of(options, Config({"QPS_LIMIT": 1}), owner)
        assert [waits(limits) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_requests_a_minute_are_spread_over_the_minute(owner: str) -> None:
    """Thirty a minute are one each two seconds; of the settings the slower one counts."""
    limits = Limits.of({"request_per_minute": 30}, Config(), owner)
    assert waits(limits) == 0.0
    assert waits(limits) == pytest.approx(2.0, abs=0.05)
    both = Limits.of({}, Config({"QPS_LIMIT": 5, "RPM_LIMIT": 30}), owner)
    assert (waits(both), waits(both)) == (0.0, pytest.approx(2.0, abs=0.05))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"query_per_second": 1, "request_per_minute": 60}, "cannot be given together"),
        ({"query_per_second": "fast"}, "query_per_second cannot be 'fast'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], words: str) -> None:
    """Two rates for one thing, and what is no number; both are ValueErrors, too."""
    with pytest.raises(InvalidArgumentError, match=words) as error:
        Limits.of(options, Config(), "x")
    assert isinstance(error.value, ValueError)


def test_tokens_are_estimated_before_and_counted_after() -> None:
    """Sixty tokens a second: the estimate of 100 is corrected to what was really used."""
    clock = Clock()
    limits = Limits("o", tokens=(Limiter(60.0, clock),), book=Book())
    assert estimate(REQUEST) == 100
    assert waits(limits) == 0.0
    settle(limits, 400)
    assert waits(limits) == pytest.approx(400 / 60)
    settle(limits, None)  # nobody said: the estimate stays
    assert waits(limits) == pytest.approx(500 / 60)


def test_a_refusal_for_tokens_empties_the_budget_and_another_error_gives_it_back() -> None:
    """336502 makes the next call wait for its tokens once more; a wrong argument costs nothing."""
    clock = Clock()
    limits = Limits("o", tokens=(Limiter(100.0, clock),), book=Book())
    waits(limits)
    list(limits.refused(REQUEST, APIError(336003, "bad")))
    assert waits(limits) == 0.0
    list(limits.refused(REQUEST, APIError(336502, "tpm")))
    assert waits(limits) == pytest.approx(2.0)


def test_what_a_server_tells_lowers_the_limits_for_the_whole_process() -> None:
    """Learnt where there is a limit, or where the server refused; kept for that address alone."""
    told = {"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "600"}
    book = Book()
    free, limited = Limits("o", book=book), Limits("o", requests=(Limiter(1000.0),), book=book)
    free.learn(REQUEST, told)
    assert free.are_idle
    limited.learn(REQUEST, told)
    assert not free.are_idle
    assert book.learnt("o http://h/chat/x", "requests").rate == 1.0  # type: ignore[union-attr]
    assert book.learnt("o http://h/chat/x", "tokens").rate == 10.0  # type: ignore[union-attr]
    assert book.learnt("o http://h/chat/y", "requests") is None
    refused = Limits("p", book=Book())
    refused.learn(REQUEST, told, APIError(336501, "rpm"))
    assert not refused.are_idle
    for nonsense in ("-1", "0", "many", "inf", "nan"):
        other = Limits("q", requests=(Limiter(1.0),), book=Book())
        other.learn(REQUEST, {"x-ratelimit-limit-requests": nonsense})
        assert other._book.learnt("q http://h/chat/x", "requests") is None


@pytest.fixture
def keys(server: Loopback, settings: Any) -> dict[str, str]:
    """Keys of this test alone."""
    return {"ak": f"limits-{server.port}", "sk": "s"}


def test_one_object_keeps_its_rate_on_the_wire(server: Loopback, keys: dict[str, str]) -> None:
    """Ten calls a second, sync and async counted together, spaced by a tenth of a second."""
    chat = ChatCompletion(**keys, query_per_second=10)
    chat.do(ASK)
    asyncio.run(_twice(chat))
    chat.do(ASK)
    assert 0.25 < server.seen[3].at - server.seen[0].at < 1.0  # three places, each a tenth of a second


async def _twice(chat: ChatCompletion) -> None:
    await asyncio.gather(chat.ado(ASK), chat.ado(ASK))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_the_usage_of_an_answer_slows_the_next_call(
    server: Loopback, keys: dict[str, str], is_async: bool, is_stream: bool
) -> None:
    """100 tokens a second: an answer of 40 makes the next call wait 0.4 s; a stream counts at its end."""
    usage = {"usage": {"total_tokens": 40}}
    server.always = (
        stream({"result": "a", "is_end": False}, {"result": "", "is_end": True, **usage})
        if is_stream
        else Answer({"result": "ok", **usage})
    )
    chat = ChatCompletion(**keys, token_per_minute=6000)

    async def ask() -> None:
        answer = await chat.ado(ASK, stream=is_stream)
        if is_stream:
            async for _ in answer:
                pass

    for _ in range(2):
        if is_async:
            asyncio.run(ask())
        else:
            list(chat.do(ASK, stream=is_stream))
    assert 0.33 < server.seen[1].at - server.seen[0].at < 1.0


def test_limits_of_a_server_that_refuses_are_kept(server: Loopback, keys: dict[str, str]) -> None:
    """After 336501 with headers, another object with the same keys keeps to what they say."""
    told = {"X-Ratelimit-Limit-Requests": "300"}
    server.answers.append(
        Answer({"error_code": 336501, "error_msg": "Rate limit reached for RPM"}, headers=told)
    )
    ChatCompletion(**keys).do(ASK, retry_count=2, backoff_factor=0, retry_jitter=0, retry_err_codes={336501})
    started = time.monotonic()
    for _ in range(2):
        ChatCompletion(**keys).do(ASK)
    assert time.monotonic() - started > 0.3  # three calls at five a second
