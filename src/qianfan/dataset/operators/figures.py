"""Figures of a text that filters look at. Each is a number of one text alone."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from importlib import resources
from typing import Final

from .words import is_chinese, words_of

WORD_GRAM: Final = 5  # words in a row
CHARACTER_GRAM: Final = {True: 3, False: 10}  # characters in a row: Chinese, or else
LONGEST_FLAGGED: Final = 8


def word_number(text: str) -> float:
    """How many words it has."""
    return float(len(words_of(text)))


def word_repetition(text: str, length: int = WORD_GRAM) -> float:
    """Share of the runs of `length` words that come more than once, 0 to 1; 0 for a shorter text."""
    words = [word.lower() for word in words_of(text)]
    runs = Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))
    total = runs.total()
    return sum(count for count in runs.values() if count > 1) / total if total else 0.0


def character_repetition(text: str, length: int | None = None) -> float:
    """Share of the most frequent runs of characters among all of them, 0 to 1.

    Of n different runs the √n most frequent ones count, those that come once never. length: 3 characters for
    Chinese, 10 for other texts, unless given."""
    length = length or CHARACTER_GRAM[is_chinese(text)]
    runs = Counter(text[at : at + length] for at in range(len(text) - length + 1))
    total = runs.total()
    if not total:
        return 0.0
    repeated = [count for _, count in runs.most_common(math.isqrt(len(runs))) if count > 1]
    return sum(repeated) / total


def special_characters(text: str) -> float:
    """Share of the characters that are neither letters, digits nor spaces, 0 to 1; 0 for an empty text."""
    special = sum(not (mark.isalnum() or mark.isspace()) for mark in text)
    return special / len(text) if text else 0.0


def flagged_words(text: str) -> float:
    """Share of the words that stand in the list of flagged words, Chinese and English, 0 to 1."""
    return share_of(text, _flagged())


def share_of(text: str, phrases: frozenset[tuple[str, ...]]) -> float:
    """Share of the words that belong to one of these phrases, 0 to 1. phrases: lower case, a tuple of words each."""
    words = [word.lower() for word in words_of(text)]
    found = 0
    at = 0
    while at < len(words):
        step = 1
        for length in range(min(LONGEST_FLAGGED, len(words) - at), 0, -1):
            if tuple(words[at : at + length]) in phrases:
                found += length
                step = length
                break
        at += step
    return found / len(words) if words else 0.0


@cache
def _flagged() -> frozenset[tuple[str, ...]]:
    """The list that ships with the SDK: short, our own, a phrase in each line."""
    text = resources.files(__package__).joinpath("flagged_words.txt").read_text(encoding="utf-8")
    lines = [line.strip().lower() for line in text.splitlines()]
    return frozenset(tuple(words_of(line)) for line in lines if line and not line.startswith("#"))
