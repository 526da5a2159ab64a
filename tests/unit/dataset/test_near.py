"""Near duplicates: found where they were planted, and nowhere else."""

from __future__ import annotations

import random
import sys

import pytest

from qianfan.dataset.near import NearDuplicates, runs_of
from qianfan.errors import InvalidArgumentError, MissingExtra

ENGLISH = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeiou" for c in ("n", "rt", "ss", "ck", "lid", "mer")]
CHINESE = [chr(0x4E00 + number) for number in range(600)]


def a_text(chance: random.Random, words: list[str], length: int = 100) -> list[str]:
    return chance.choices(words, k=length)


@pytest.mark.parametrize(("words", "separator"), [(ENGLISH, " "), (CHINESE, "")], ids=["English", "Chinese"])
def test_planted_near_duplicates_are_found_and_others_are_not(words: list[str], separator: str) -> None:
    """At 0.8: of 300 texts with one or two words of a hundred exchanged all but 3; of 300 half alike none."""
    chance = random.Random(5)
    kept = NearDuplicates(0.8)
    first = [a_text(chance, words) for _ in range(300)]
    assert all(kept.news(separator.join(text) for text in first))
    assert len(kept) == 300
    near = []
    for text in first:
        changed = list(text)
        for place in chance.sample(range(100), chance.randint(1, 2)):
            changed[place] = chance.choice(words)
        near.append(separator.join(changed))
    assert sum(kept.news(near)) <= 3
    half = [separator.join(text[:50] + a_text(chance, words, 50)) for text in first]
    assert sum(not new for new in kept.news(half)) == 0


def test_the_answers_do_not_depend_on_the_size_of_batches_or_the_run() -> None:
    """One by one, many at once, and again: the same; the first of two that are alike is kept."""
    chance = random.Random(6)
    texts = [" ".join(chance.choices(ENGLISH[:12], k=12)) for _ in range(700)]
    texts += [text.upper() + " !" for text in texts[:100]]
    one_by_one = NearDuplicates()
    answers = [one_by_one.is_new(text) for text in texts]
    assert answers == list(NearDuplicates().news(texts))
    assert not any(answers[700:])
    rows = [{"prompt": text} for text in texts]
    assert [(row, new) for row, new in zip(rows, answers, strict=True)] == list(NearDuplicates().judged(rows))


def test_short_and_empty_texts_are_compared_whole() -> None:
    """Case and marks do not count; one other word does."""
    kept = NearDuplicates()
    given = ("Yes.", "yes!", "No", "thank you", "", "  ", "???", "What is 2+2", "What is 3+2")
    assert [kept.is_new(text) for text in given] == [True, False, True, True, True, False, True, True, True]
    assert runs_of("one Two three four") == ["one two three", "two three four"]


def test_a_wrong_threshold_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threshold with its range, the library with the extra that brings it."""
    for wrong in (0.4, 1.1, True):
        with pytest.raises(InvalidArgumentError, match=r"0\.5 to 1"):
            NearDuplicates(wrong)
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingExtra, match=r"open-qianfan\[dataset\]"):
        NearDuplicates()
