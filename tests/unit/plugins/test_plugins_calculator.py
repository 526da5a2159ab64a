"""The calculator and the clock, against sums and against hostile texts."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.plugins import clock, rules
from qianfan_platform.plugins.calculator import calculate
from qianfan_platform.plugins.rules import Plain


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12*(3+4)", "84"), ("0.1+0.2", "0.3"), ("1/3", "0.333333333333333"), ("2^10", "1024"), ("10%3", "1"),
        ("7//2", "3"), ("-3--4", "1"), ("１２×３", "36"), ("３，０００÷4", "750"), ("1,000,000+1", "1000001"),
        ("99999999999*99999999999", "9999999999800000000001"), ("sqrt(16)", "4"), ("max(1, 2, 3)", "3"),
        ("round(2.345, 2)", "2.34"), ("1.5e3+1", "1501"), ("(1+2)*3=", "9"), ("【2+3】×2", "10"), ("2**-1", "0.5"),
    ],
)  # fmt: skip
def test_sums(expression: str, value: str) -> None:
    """Exact where the value is a short decimal; signs as people write them."""
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9", "9**9**9**9", "2**100000", "10**2000", "(10**400)**400", "1e999", "0.5**1999",
        "__import__('os').system('id')", "(1).__class__", "open('/etc/passwd')", "lambda: 1", "{1}*10**9",
        "'a'*10**9", "x", "print(1)", "1 if 1 else 2", "(" * 250, "-" * 299 + "1", "1/0", "1%0", "sqrt(-1)",
        "(-8)**0.5", "1" * 301, "", "True+1", "1j*1j", "{1:2}", "f'{1}'", "1;2", "a:=1", "max()", "round(1, 10**9)",
        "max(*[1])", "sqrt(x=4)", "1\x002", "log(0)", "exp(1000)", "99999999999999999999**99",
    ],
)  # fmt: skip
def test_hostile_expressions_are_refused_at_once(expression: str) -> None:
    """No name, no attribute, no call but the few functions, no number beyond bounds."""
    started = time.monotonic()
    with pytest.raises(Fault, match="this cannot be calculated"):
        calculate(expression)
    assert time.monotonic() - started < 0.5


def test_the_clock_knows_zones_cities_and_offsets() -> None:
    """And refuses what is none."""
    moment = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
    assert clock.now("Asia/Shanghai", moment) == "2026-11-22 00:30:00 Sunday 星期日 (Asia/Shanghai)"
    assert clock.now("东京", moment).startswith("2026-11-22 01:30:00")
    assert clock.now("UTC+5:30", moment) == "2026-11-21 22:00:00 Saturday 星期六 (UTC+5:30)"
    assert clock.now("GMT-3", moment).startswith("2026-11-21 13:30:00")
    for wrong in ("Mars/Olympus", "../../etc/passwd", "/etc/localtime", "UTC+99", "UTC+x", "a" * 500):
        with pytest.raises(Fault, match="there is no time zone"):
            clock.now(wrong)


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("12*(3+4)", Plain("calculator", "12*(3+4)")),
        ("What is 12*(3+4)?", Plain("calculator", "12*(3+4)")),
        ("请计算 12×(3+4) 等于多少？", Plain("calculator", "12×(3+4)")),
        ("What is 5-3?", Plain("calculator", "5-3")),
        ("What time is it?", Plain("clock", "")),
        ("what time is it in Tokyo now?", Plain("clock", "Asia/Tokyo")),
        ("北京现在几点了？", Plain("clock", "Asia/Shanghai")),
        ("今天星期几？", Plain("clock", "")),
        ("what time is it in Reykjavik?", None),
        ("冰岛现在几点", None),
        ("what time does the shop open?", None),
        ("what is 5", None),
        ("24/7", None),
        ("2024-11-05", None),
        ("call 555-1234", None),
        ("I have 12 boxes with 7 apples. 12*7?", None),
        ("hello", None),
        ("1+" * 100 + "1", None),
    ],
)
def test_only_plain_questions_are_answered_without_the_model(question: str, asked: Plain | None) -> None:
    """Whatever is in doubt is the model's."""
    assert rules.plain(question) == asked
