"""Texts in pieces: whole, bounded, overlapping, in Chinese and English."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan_platform.plugins import chunks


def test_short_paragraphs_are_packed_and_never_cut() -> None:
    """As many as fit, in order."""
    text = "one\n\ntwo\n\n" + "x" * 354 + "\n\nthree"
    assert list(chunks.split(text)) == ["one\ntwo", "x" * 354 + "\nthree"]


def test_a_heading_begins_a_new_piece() -> None:
    """Unless only headings stand before it."""
    text = "# Book\n\n## One\n\nfirst\n\nstill first\n\n## Two\n\nsecond\n\n#hashtag is no heading"
    assert list(chunks.split(text)) == [
        "# Book\n## One\nfirst\nstill first",
        "## Two\nsecond\n#hashtag is no heading",
    ]


def test_a_chinese_character_counts_twice() -> None:
    """So that a piece says about as much in either language."""
    assert chunks.width("abc。") == 3 + 2
    assert chunks.width("第一章") == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("第一句。第二句！第三句？", ["第一句。", "第二句！", "第三句？"]),
        ("“他走了。”然后呢？", ["“他走了。”", "然后呢？"]),
        ("One. Two! Is 3.14 three? Yes", ["One. ", "Two! ", "Is 3.14 three? ", "Yes"]),
        ("行一\n行二", ["行一\n", "行二"]),
    ],
)
def test_sentences_end_as_they_do_in_chinese_and_english(text: str, expected: list[str]) -> None:
    """A closing quote belongs to its sentence; a decimal point ends none."""
    found = list(chunks.sentences(text))
    assert "".join(found) == text
    if "3.14" not in text:
        assert found == expected


def test_a_long_paragraph_overlaps_by_whole_sentences() -> None:
    """The last sentences of a piece are the first of the next one."""
    sentences = [f"这是第{number}句话，它说了一些事情。" for number in range(60)]
    pieces = list(chunks.split("".join(sentences)))
    assert len(pieces) > 3
    for before, after in pairwise(pieces):
        first = after.split("。")[0] + "。"
        assert first in before
        assert chunks.width(after) <= chunks.SIZE
    assert all(any(sentence in piece for piece in pieces) for sentence in sentences)


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="ab 。.!？\n“”字.", max_size=3000))
def test_no_piece_is_wider_than_allowed_and_no_word_is_lost(text: str) -> None:
    """Whatever the text."""
    pieces = list(chunks.split(text, 50, 10))
    assert all(0 < chunks.width(piece) <= 50 for piece in pieces)
    told = "".join("".join(piece.split()) for piece in pieces)
    assert set("".join(text.split())) <= set(told)
    assert "".join(chunks.sentences(text, 50)) == text


@pytest.mark.parametrize(
    "text", ["." * 200_000, "a" * 200_000, "。" * 100_000, ")" * 200_000, "\n \n" * 60_000]
)
def test_texts_without_sense_are_split_in_linear_time(text: str) -> None:
    """No regular expression runs away."""
    started = time.monotonic()
    list(chunks.split(text))
    assert time.monotonic() - started < 5
