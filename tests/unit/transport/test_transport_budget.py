"""A server that is down is asked again, but not by everybody, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, Loopback

from qianfan import ChatCompletion
from qianfan.errors import APIError, ConnectionLost, QianfanError, RequestError
from qianfan.transport.budget import LEAST, Budget, budget_of
from qianfan.transport.retry import Retry

ASK = [{"role": "user", "content": "hi"}]


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    st.floats(0, 0.9),
    st.integers(0, 100),
    st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200),
)
def test_retries_stay_within_the_share_and_the_floor(
    share: float, floor: int, steps: list[tuple[bool, float]]
) -> None:
    """However calls and failures come: retries ≤ share · calls + floor · (minutes + 1)."""
    clock = Clock()
    budget = Budget(share, floor, clock)
    calls = retries = 0
    for is_call, seconds in steps:
        clock.now += seconds
        if is_call:
            budget.earn()
            calls += 1
        else:
            retries += budget.spend()
    assert retries <= share * calls + floor * ((clock.now - 1000) / 60 + 1) + 1e-6


def test_savings_are_limited_and_come_back() -> None:
    """A long quiet time saves up two minutes of the floor, no more; an emptied budget fills again."""
    clock = Clock()
    budget = Budget(0.0, 6, clock)
    clock.now += 3600
    assert sum(budget.spend() for _ in range(100)) == 12
    clock.now += 11
    assert [budget.spend(), budget.spend()] == [True, False]
    poor = Budget(0.5, 0, clock)
    for _ in range(100):
        poor.earn()
    assert sum(poor.spend() for _ in range(100)) == LEAST


def test_a_share_of_one_is_no_budget() -> None:
    """`retry_count` alone decides then; else there is one budget for each server."""
    assert budget_of("http://h", 1.0, 0) is None
    assert budget_of("http://h", 0.2, 5) is budget_of("http://h", 0.2, 5)
    assert budget_of("http://h", 0.2, 5) is not budget_of("http://i", 0.2, 5)


@pytest.mark.parametrize(
    ("error", "spends"),
    [
        (ConnectionLost("gone"), True),
        (RequestError("down", status_code=503), True),
        (APIError(336100, "high load"), True),
        (APIError(18, "qps"), False),
        (APIError(336502, "tpm"), False),
        (RequestError("slow down", status_code=429), False),
    ],
)
def test_only_trouble_of_the_server_is_taken_from_the_budget(error: QianfanError, spends: bool) -> None:
    """A server that says "slower" is well; waiting is what it wants."""
    assert Retry(3).spends(error) is spends


def test_a_dead_server_is_not_hammered(server: Loopback, settings: Any) -> None:
    """Twenty calls of three attempts each, with five retries there: 25 requests, not 60; and it is said."""
    settings.RETRY_BUDGET, settings.RETRY_BUDGET_FLOOR = 0.0, 5
    server.always = Answer({}, 503)
    options = {"retry_count": 3, "backoff_factor": 0, "retry_jitter": 0}
    chat = ChatCompletion(ak=f"dead-{server.port}", sk="s")
    for _ in range(20):
        with pytest.raises(RequestError) as error:
            chat.do(ASK, **options)
    assert 25 <= len(server.seen) <= 26
    assert "retry budget" in error.value.__notes__[0]
    settings.RETRY_BUDGET = 1
    with pytest.raises(RequestError):
        chat.do(ASK, **options)
    assert 28 <= len(server.seen) <= 29


def test_a_server_that_says_slower_is_asked_as_often_as_wanted(server: Loopback, settings: Any) -> None:
    """Quota answers are paced by the waits between attempts, and need no budget."""
    settings.RETRY_BUDGET, settings.RETRY_BUDGET_FLOOR = 0.0, 0
    server.answers += [Answer({"error_code": 18, "error_msg": "qps"})] * 4
    chat = ChatCompletion(ak=f"slow-{server.port}", sk="s")
    assert chat.do(ASK, retry_count=5, backoff_factor=0, retry_jitter=0)["result"] == "ok"
