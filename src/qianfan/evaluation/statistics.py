"""What may be concluded from scores: intervals, paired comparison, and a yes or no for a gate. Pure and seeded."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

RESAMPLES: Final = 2_000
CONFIDENCE: Final = 0.95
FEWEST: Final = 20  # pairs below which a gate says nothing but "too few"
MOST_DRAWN: Final = 2_000_000  # numbers drawn for one interval; a larger sample is resampled less often
Rule = Literal["better", "not worse"]


@dataclass(frozen=True)
class Interval:
    """A mean and how far chance may have moved it. low and high hold the true mean with `confidence`."""

    mean: float
    low: float
    high: float
    n: int
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Comparison:
    """B against A on the same rows. difference: of the means, B − A.

    p: how likely chance alone gives a difference as large; of McNemar's exact test when every score is 0 or 1,
    else of the signs of the differences drawn anew. wins, losses, ties: rows on which B is above, below, equal."""

    difference: Interval
    p: float
    test: Literal["mcnemar", "permutation"]
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True)
class Verdict:
    """What a gate says. reason: one sentence with the figures."""

    passed: bool
    rule: Rule
    reason: str
    comparison: Comparison

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def bootstrap(
    values: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean with its percentile bootstrap interval. Raises ValueError without a value.

    confidence: above 0, below 1. The same values and seed give the same interval."""
    _check(values, confidence)
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1 or all(value == values[0] for value in values):
        return Interval(mean, min(mean, values[0]), max(mean, values[0]), n, confidence)
    drawn = random.Random(seed)
    times = max(200, min(resamples, MOST_DRAWN // n))
    means = sorted(math.fsum(drawn.choices(values, k=n)) / n for _ in range(times))
    tail = (1 - confidence) / 2
    return Interval(mean, quantile(means, tail), quantile(means, 1 - tail), n, confidence)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of sorted values lies, between neighbours in a straight line."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def compare(
    a: Sequence[float],
    b: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """B against A: scores of the same rows in the same order. Raises ValueError when their numbers differ."""
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same rows: there are {len(a)} and {len(b)}")
    differences = [right - left for left, right in zip(a, b, strict=True)]
    interval = bootstrap(differences, confidence=confidence, resamples=resamples, seed=seed)
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    if {*a, *b} <= {0, 1}:
        return Comparison(interval, mcnemar(wins, losses), "mcnemar", wins, losses, len(a) - wins - losses)
    p = _permutation(differences, resamples, seed)
    return Comparison(interval, p, "permutation", wins, losses, len(a) - wins - losses)


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided exact p: of so many rows on which both differ, how likely a split as uneven is by chance."""
    n, k = wins + losses, min(wins, losses)
    if not n:
        return 1.0
    tail = sum(math.exp(_log_choose(n, i) - n * math.log(2)) for i in range(k + 1))
    return min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _permutation(differences: Sequence[float], resamples: int, seed: int) -> float:
    """Two-sided p of the mean, the signs of the differences being drawn anew."""
    sizes = [abs(d) for d in differences if d]
    if not sizes:
        return 1.0
    drawn = random.Random(seed)
    seen = abs(math.fsum(differences)) - 1e-12
    times = max(200, min(resamples, MOST_DRAWN // len(sizes)))
    reached = 0
    for _ in range(times):
        signs = drawn.getrandbits(len(sizes))
        total = math.fsum(size if signs >> place & 1 else -size for place, size in enumerate(sizes))
        reached += abs(total) >= seen
    return (reached + 1) / (times + 1)


def gate(
    a: Sequence[float],
    b: Sequence[float],
    rule: Rule = "better",
    *,
    margin: float = 0.0,
    confidence: float = CONFIDENCE,
    fewest: int = FEWEST,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Whether B may take A's place, judged on scores of the same rows.

    better: the whole interval of B − A lies above `margin`, and chance alone gives such a difference at most as
        often as 1 − confidence. not worse: it lies above −`margin`, or touches it.
    fewest: with fewer rows the answer is no. Raises ValueError for another rule or a margin below 0."""
    if rule not in ("better", "not worse"):
        raise ValueError(f"{rule!r} is no rule of a gate; use 'better' or 'not worse'")
    if margin < 0:
        raise ValueError(f"the margin is {margin:g}; it must be 0 or more")
    found = compare(a, b, confidence=confidence, resamples=resamples, seed=seed)
    interval = found.difference
    if rule == "better":
        passed, wanted = interval.low > margin and found.p <= 1 - confidence, f"above {margin:g}"
    else:
        passed, wanted = interval.low >= -margin, f"at least {-margin:g}"
    told = (
        f"the difference is {interval.mean:+.4f}, with {confidence:.0%} confidence between {interval.low:+.4f} "
        f"and {interval.high:+.4f} (n = {interval.n}, p = {found.p:.4g})"
    )
    if interval.n < fewest:
        return Verdict(
            False, rule, f"{interval.n} rows are too few to say, {fewest} are needed; {told}", found
        )
    said = f"B is {rule} than A" if rule == "better" else f"B is {rule}"
    reason = (
        f"{said}: {told}" if passed else f"it is not shown that {said}: {told}; its low end must be {wanted}"
    )
    return Verdict(passed, rule, reason, found)


def _check(values: Sequence[float], confidence: float) -> None:
    if not values:
        raise ValueError("there is no value to conclude anything from")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence:g}; it must be above 0 and below 1")
