"""Limits: buckets that refill evenly, allowances that refuse, failures that are counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.contract.errors import DAILY_LIMIT, QPS_LIMIT, RPM_LIMIT, TOTAL_LIMIT, TPM_LIMIT
from qianfan_platform.accounts.attempts import Attempts
from qianfan_platform.accounts.limits import DAY_S, Allowance, Bucket, LimitReached, Limits

NOON = 1_700_000_000.0


def allowance(**limits: Any) -> Allowance:
    day = int(NOON // DAY_S)
    return Allowance("this account", Limits(**limits), 0.0, day=day, today=0, total=0)


def admitted(one: Allowance, now: float, estimate: int = 0, unix: float = NOON) -> bool:
    try:
        one.check(now, unix, estimate)
    except LimitReached:
        return False
    one.take(estimate)
    return True


@given(rate=st.integers(1, 50), gaps=st.lists(st.floats(0, 0.5, allow_nan=False), min_size=1, max_size=200))
def test_no_more_comes_through_than_a_window_and_its_refill(rate: int, gaps: list[float]) -> None:
    """Whatever the arrivals: at most the bucket's size and what flowed in since."""
    one, now, count = allowance(requests_per_second=rate), 0.0, 0
    for gap in gaps:
        now += gap
        count += admitted(one, now)
    assert count <= rate + rate * now + 1e-6


@pytest.mark.parametrize("rate", [0.2, 1, 3.5, 40])
def test_a_caller_that_keeps_to_its_rate_is_never_refused(rate: float) -> None:
    """Requests at exactly the rate, ten thousand of them."""
    one = allowance(requests_per_second=rate)
    assert all(admitted(one, number / rate) for number in range(10_000))


@pytest.mark.parametrize(
    ("limits", "row", "wait"),
    [
        ({"requests_per_second": 2}, QPS_LIMIT, "1"),
        ({"requests_per_minute": 2}, RPM_LIMIT, "30"),
        ({"tokens_per_minute": 200}, TPM_LIMIT, "30"),
        ({"requests_per_day": 2}, DAILY_LIMIT, str(int(DAY_S - NOON % DAY_S))),
    ],
)
def test_a_refusal_says_which_limit_and_how_long(limits: dict[str, Any], row: Any, wait: str) -> None:
    """The row of the documented code, and Retry-After in whole seconds."""
    one = allowance(**limits)
    assert admitted(one, 0, 100)
    assert admitted(one, 0, 100)
    with pytest.raises(LimitReached) as refused:
        one.check(0, NOON, 100)
    assert refused.value.row is row
    assert refused.value.headers["Retry-After"] == wait


def test_the_day_begins_anew_at_midnight_utc_and_the_total_never() -> None:
    """Requests of a day are counted by the day; tokens in all stay used."""
    one = allowance(requests_per_day=1, total_tokens=10)
    assert admitted(one, 0)
    assert not admitted(one, 0)
    assert admitted(one, 1, unix=NOON + DAY_S)
    one.settle(0, 10)
    with pytest.raises(LimitReached) as refused:
        one.check(2, NOON + 5 * DAY_S, 0)
    assert refused.value.row is TOTAL_LIMIT
    assert refused.value.headers == {}


def test_tokens_are_corrected_by_use_and_may_be_in_debt() -> None:
    """What was estimated too high comes back; what was too low is felt by the next, until it has refilled."""
    one = allowance(tokens_per_minute=600)
    assert admitted(one, 0, 500)
    one.settle(500, 100)
    assert one.remaining() == (None, 500)
    assert admitted(one, 0, 1)
    one.settle(1, 1100)
    assert not admitted(one, 30, 1)
    assert admitted(one, 61, 1)


def test_an_estimate_beyond_the_limit_waits_for_a_full_bucket() -> None:
    """It is not refused for ever."""
    one = allowance(tokens_per_minute=60)
    assert admitted(one, 0, 100_000)
    one.settle(100_000, 60)
    assert not admitted(one, 30, 100_000)
    assert admitted(one, 60, 100_000)


def test_other_limits_hold_at_once() -> None:
    """A changed limit has a fresh bucket; one that stayed keeps what it holds."""
    one = allowance(requests_per_minute=1, requests_per_second=5)
    assert admitted(one, 0)
    one.change(Limits(requests_per_minute=1), 0)
    assert not admitted(one, 0)
    one.change(Limits(requests_per_minute=100), 0)
    assert admitted(one, 0)


def test_a_bucket_does_not_mind_a_clock_that_stands_still() -> None:
    """Nor one that seems to go back: nothing is refilled."""
    bucket = Bucket(2, 1.0, 10.0)
    bucket.level = 0
    assert bucket.look(9.0) == 0
    assert bucket.look(10.5) == 1
    assert bucket.look(100.0) == 2


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────


def test_failures_of_an_address_and_of_a_key_are_counted_apart() -> None:
    """A key that is guessed at is closed for strangers; the address that had it right goes on."""
    now = [0.0]
    attempts = Attempts(of_address=5, of_key=2, clock=lambda: now[0])
    attempts.failed("evil", "AK")
    attempts.check("home", "AK")
    attempts.held("home", "AK")
    attempts.failed("evil", "AK")
    for who in ("evil", "stranger"):
        with pytest.raises(LimitReached, match="of key"):
            attempts.check(who, "AK")
    attempts.check("home", "AK")
    attempts.check("evil", "OTHER")
    for _ in range(5):
        attempts.failed("evil")
    with pytest.raises(LimitReached, match="of address evil"):
        attempts.check("evil", "OTHER")
    now[0] += 61
    attempts.check("evil", "AK")


def test_only_the_beginning_of_a_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In the log once, and in the refusal."""
    attempts = Attempts(of_key=3, clock=lambda: 0.0)
    for _ in range(9):
        attempts.failed("1.2.3.4", "ALTAKsecretpart")
    with pytest.raises(LimitReached) as refused:
        attempts.check("5.6.7.8", "ALTAKsecretpart")
    assert "secretpart" not in caplog.text + refused.value.text
    assert caplog.text.count("too many failed") == 1
