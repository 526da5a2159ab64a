"""Bytes of any common encoding become UTF-8, however they are cut; what is no text is named on its line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest

from qianfan.dataset.encodings import WINDOW, as_utf8
from qianfan.dataset.formats import read_jsonl, read_txt
from qianfan.dataset.schemas import Problem

CHINESE = '[{"prompt": "今天天气怎么样？", "response": [["晴，最高 30℃。😀"]]}]\n'


def cut(raw: bytes, size: int) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("gb18030", ["GB18030"]),
        ("utf-16", ["UTF-16"]),
        ("utf-16-be", ["UTF-16"]),
        ("utf-32", ["UTF-32"]),
    ],
)
def test_a_file_of_any_encoding_is_read_however_it_is_cut(encoding: str, named: list[str], size: int) -> None:
    """The text is the same, and another encoding than UTF-8 is told once."""
    text = CHINESE * 40
    raw = text.encode(encoding)
    if encoding == "utf-16-be":
        raw = b"\xfe\xff" + raw
    told: list[str] = []
    assert b"".join(as_utf8(cut(raw, size), told.append)).decode() == text
    assert told == named


def test_the_first_other_character_decides_however_late_it_comes() -> None:
    """Megabytes of ASCII go through before it is known that the file is GB18030."""
    text = '{"prompt": "plain"}\n' * 100_000 + CHINESE * 3
    assert b"".join(as_utf8(cut(text.encode("gb18030"), 4096))).decode() == text


def test_a_bad_line_of_a_utf8_file_does_not_make_it_gb18030() -> None:
    """Most lines say what the file is; the other one is named."""
    lines = [CHINESE.encode() * 3, CHINESE.encode("gb18030"), CHINESE.encode() * 2]
    bad: list[Problem] = []
    rows = list(read_jsonl(as_utf8(iter(lines)), on_bad=lambda problem, raw: bad.append(problem)))
    assert [line for line, _ in rows] == [1, 2, 3, 5, 6]
    assert [(problem.line, problem.code, problem.column) for problem in bad] == [(4, 53, 14)]


def test_a_bad_line_of_a_gb18030_file_is_named() -> None:
    """Bytes that are neither: the line is refused, those around it are read."""
    good = CHINESE.encode("gb18030")
    bad: list[Problem] = []
    raw = good * 30 + b'"\xff\xff"\n' + good
    rows = list(read_jsonl(as_utf8(cut(raw, 100)), on_bad=lambda problem, raw: bad.append(problem)))
    assert len(rows) == 31
    assert [(problem.line, problem.code) for problem in bad] == [(31, 53)]


@pytest.mark.parametrize("text", ["Stra\xdfe caf\xe9 r\xe9sum\xe9\n", "\xe9t\xe9\n", "na\xefve fa\xe7ade\n"])
def test_latin_text_is_not_taken_for_chinese(text: str) -> None:
    """Letters with accents of an old encoding are refused, not turned into rare characters."""
    bad: list[Problem] = []
    rows = list(
        read_txt(as_utf8([text.encode("latin-1") * 20]), on_bad=lambda problem, raw: bad.append(problem))
    )
    assert rows == []
    assert len(bad) == 20


def test_half_characters_of_utf16_are_named_on_their_line() -> None:
    """A lone surrogate, and an odd byte at the end."""
    raw = b"\xff\xfe" + "good\n".encode("utf-16-le") + b"\x00\xd8" + "\nlast".encode("utf-16-le") + b"\x41"
    bad: list[int] = []
    rows = list(read_txt(as_utf8([raw]), on_bad=lambda problem, raw: bad.append(problem.line)))
    assert rows == [(1, "good")]
    assert bad == [2, 3]


def test_a_line_of_many_megabytes_is_converted_in_pieces() -> None:
    """Not more than a piece and a little is held at once."""
    text = "数据" * 2_000_000
    pieces = list(as_utf8(cut(text.encode("gb18030"), 1 << 16)))
    assert b"".join(pieces).decode() == text
    assert max(map(len, pieces)) < 8 * WINDOW


def test_nothing_is_read_before_it_is_asked_for() -> None:
    """The source is drawn piece by piece, so that memory is bounded."""
    drawn = 0

    def endless() -> Iterator[bytes]:
        nonlocal drawn
        while True:
            drawn += 1
            yield CHINESE.encode() * 10

    list(islice(as_utf8(endless()), 50))
    assert drawn < 200


def test_any_bytes_come_out_as_lines() -> None:
    """Noise never raises, and never loses a line."""
    draw = random.Random(3)
    for _ in range(300):
        raw = draw.randbytes(draw.randrange(200)) + b"\nend\n"
        out = b"".join(as_utf8(cut(raw, draw.choice([1, 3, 64]))))
        assert out.count(b"\n") >= 1
