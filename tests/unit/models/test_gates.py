"""Which verdicts decide for a gate: a yes to more is a yes, a no to less is a no, and nothing else follows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.evaluation import statistics
from qianfan_platform.models.gates import decides
from qianfan_platform.models.tables import ModelVerdict


def verdict(passed: bool, rule: str = "better", **figures: Any) -> ModelVerdict:
    usual = {"margin": 0.1, "confidence": 0.95, "fewest": 20}
    return ModelVerdict(passed=passed, rule=rule, **{**usual, **figures})


@pytest.mark.parametrize(
    ("passed", "rule", "figures", "wanted"),
    [
        (True, "better", {}, True),
        (False, "better", {}, True),
        (True, "better", {"margin": 0.2}, True),
        (False, "better", {"margin": 0.2}, False),
        (True, "better", {"margin": 0.0}, False),
        (False, "better", {"margin": 0.0}, True),
        (True, "not worse", {"margin": 0.0}, True),
        (True, "not worse", {"margin": 0.2}, False),
        (False, "not worse", {"margin": 0.2}, True),
        (True, "better", {"confidence": 0.9}, False),
        (False, "better", {"confidence": 0.99}, False),
        (False, "better", {"fewest": 50}, False),
        (True, "better", {"fewest": 5}, True),
    ],
)
def test_a_verdict_decides_only_what_follows_from_it(
    passed: bool, rule: str, figures: dict[str, Any], wanted: bool
) -> None:
    """Against a gate of margin 0.1 with confidence 0.95 on 20 rows."""
    condition = {"margin": 0.1, "confidence": 0.95, "fewest": 20}
    assert decides(verdict(passed, rule, **figures), condition) is wanted


MARGINS = st.sampled_from([0.0, 0.05, 0.1, 0.2])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=5, max_size=40),
    st.sampled_from(["better", "not worse"]),
    MARGINS,
    MARGINS,
    st.sampled_from([3, 10, 30]),
    st.sampled_from([3, 10, 30]),
)
def test_what_a_verdict_decides_is_what_the_gate_would_say(
    pairs: list[tuple[int, int]],
    rule: Any,
    given_margin: float,
    wanted_margin: float,
    given_fewest: int,
    fewest: int,
) -> None:
    """The same rows asked the gate's own question give the answer that was concluded."""
    a, b = [left for left, _ in pairs], [right for _, right in pairs]
    said = statistics.gate(a, b, rule, margin=given_margin, fewest=given_fewest, resamples=200)
    own = statistics.gate(a, b, rule, margin=wanted_margin, fewest=fewest, resamples=200)
    row = verdict(said.passed, rule, margin=given_margin, fewest=given_fewest)
    if decides(row, {"margin": wanted_margin, "confidence": 0.95, "fewest": fewest}):
        assert (said.passed and len(pairs) >= fewest) == own.passed
