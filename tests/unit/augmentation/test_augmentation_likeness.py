"""The nearest text: the verdict of ROUGE-L over all, found without measuring all."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan.evaluation.metrics import overlap
from qianfan_platform.augmentation.likeness import Texts

WORDS = ["the", "lamp", "is", "broken", "refund", "please", "灯", "坏", "了", "?", "don't", "７", "A_b"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(known=st.lists(texts, max_size=12), text=texts, threshold=st.sampled_from([0.2, 0.5, 2 / 3, 0.7, 1.0]))
def test_the_verdict_is_that_of_rouge_l_over_all(known: list[str], text: str, threshold: float) -> None:
    """Below the threshold exactly when every pair is; the score that is told is that of the text that is told."""
    found = Texts()
    for one in known:
        found.add(one)
    nearest = found.nearest(text, threshold)
    scores = [overlap(text, one)["rouge_l"] for one in known]
    assert (nearest.score >= threshold) == (max(scores, default=0.0) >= threshold)
    if nearest.place >= 0:
        assert scores[nearest.place] == nearest.score


def test_duplicates_are_found_whatever_their_case_and_space() -> None:
    """And near duplicates, by the operators that cleaning has."""
    known = Texts()
    long = " ".join(f"word{number}" for number in range(400))
    for text in ("How  do I boil\nan egg?", long):
        known.add(text)
    assert known.same("how do i BOIL an egg?") == 0
    assert known.same("How do I boil two eggs?") is None
    assert known.near(long + " word60")
    assert not known.near("How do I boil two eggs?")
    assert not known.near("?!")


@pytest.mark.parametrize("size", [2000])
def test_looking_among_thousands_takes_milliseconds(size: int) -> None:
    """Among five thousand texts that share most of their words, a look takes less than fifty milliseconds."""
    draw = random.Random(7)
    words = [f"word{number}" for number in range(300)]
    known = Texts()
    for _ in range(size):
        known.add(" ".join(draw.choices(words, k=30)))
    began = time.process_time()
    for _ in range(20):
        known.nearest(" ".join(draw.choices(words, k=30)), 0.7)
    assert (time.process_time() - began) / 20 < 0.05
