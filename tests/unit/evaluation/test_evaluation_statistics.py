"""Conclusions against the figures that scipy 1.17 and statsmodels 0.15 gave once, and by simulation."""

from __future__ import annotations

import random

import pytest

from qianfan.evaluation import statistics

VALUES = [0.1, 0.4, 0.35, 0.8, 0.95, 0.2, 0.6, 0.55, 0.7, 0.3]
A = [0.2, 0.4, 0.5, 0.1, 0.9, 0.3, 0.6, 0.7, 0.2, 0.4]
B = [0.3, 0.5, 0.45, 0.4, 0.95, 0.5, 0.6, 0.8, 0.35, 0.6]


def test_the_interval_is_that_of_scipy() -> None:
    """scipy.stats.bootstrap, percentile, gives 0.34 to 0.655 for these ten values."""
    found = statistics.bootstrap(VALUES, resamples=20_000)
    assert found.mean == pytest.approx(0.495)
    assert found.low == pytest.approx(0.34, abs=0.01)
    assert found.high == pytest.approx(0.655, abs=0.01)
    assert found == statistics.bootstrap(VALUES, resamples=20_000), "the same seed gives the same interval"
    assert found != statistics.bootstrap(VALUES, resamples=20_000, seed=1)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    """Of 300 samples of 60 from a known distribution, about 95 % of the intervals hold its mean."""
    drawn = random.Random(7)
    held = 0
    for trial in range(300):
        interval = statistics.bootstrap([drawn.random() ** 2 for _ in range(60)], resamples=400, seed=trial)
        held += interval.low <= 1 / 3 <= interval.high
    assert 0.90 <= held / 300 <= 0.985


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (5, 1, 0.21875),
        (12, 4, 0.076812744),
        (30, 10, 0.0022214337),
        (0, 0, 1),
        (3, 3, 1),
        (100, 150, 0.0018833009),
    ],
)
def test_mcnemar_is_that_of_statsmodels(wins: int, losses: int, p: float) -> None:
    """The exact test, two-sided."""
    assert statistics.mcnemar(wins, losses) == pytest.approx(p, rel=1e-6)


def test_a_comparison_is_paired_and_its_p_is_that_of_scipy() -> None:
    """scipy.stats.permutation_test of the same pairs gives 0.0117."""
    found = statistics.compare(A, B, resamples=20_000)
    assert found.test == "permutation"
    assert found.p == pytest.approx(0.0117, abs=0.003)
    assert (found.wins, found.losses, found.ties) == (8, 1, 1)
    assert found.difference.mean == pytest.approx(0.115)
    assert statistics.compare([0, 1, 0], [1, 1, 0]).test == "mcnemar"
    with pytest.raises(ValueError, match="same rows"):
        statistics.compare([1], [1, 0])


def test_the_gate_says_better_only_when_it_is_shown() -> None:
    """30 wins of 40 pass, 22 do not, and neither does anything on too few rows."""
    worse = [0.0] * 40
    shown = statistics.gate(worse, [1.0] * 30 + [0.0] * 10)
    assert shown.passed
    assert shown.reason.startswith("B is better than A: the difference is +0.7500")
    mixed = statistics.gate([1.0] * 18 + [0.0] * 22, [0.0] * 18 + [1.0] * 22)
    assert not mixed.passed
    assert "not shown" in mixed.reason
    few = statistics.gate([0.0] * 10, [1.0] * 10)
    assert not few.passed
    assert "too few" in few.reason
    assert statistics.gate([0.0] * 10, [1.0] * 10, fewest=10).passed
    assert not statistics.gate(A * 3, A * 3).passed


def test_the_gate_says_not_worse_within_the_margin() -> None:
    """The same answers are not worse; a loss passes only when the whole interval is within the margin."""
    assert statistics.gate(A * 3, A * 3, "not worse").passed
    assert not statistics.gate(B * 3, A * 3, "not worse", margin=0.05).passed
    assert statistics.gate(B * 3, A * 3, "not worse", margin=0.2).passed
    with pytest.raises(ValueError, match="no rule"):
        statistics.gate(A, B, "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="margin"):
        statistics.gate(A, B, margin=-1)


def test_the_gate_lets_chance_through_as_rarely_as_it_says() -> None:
    """Two models that are equally good: at most 5 % of 200 gates say that B is better."""
    drawn = random.Random(11)
    passed = 0
    for trial in range(200):
        a = [float(drawn.random() < 0.6) for _ in range(50)]
        b = [float(drawn.random() < 0.6) for _ in range(50)]
        passed += statistics.gate(a, b, resamples=300, seed=trial).passed
    assert passed <= 10


def test_nothing_is_concluded_from_nothing() -> None:
    """No values, or a confidence that is none."""
    with pytest.raises(ValueError, match="no value"):
        statistics.bootstrap([])
    with pytest.raises(ValueError, match="confidence"):
        statistics.bootstrap([1.0], confidence=1)
