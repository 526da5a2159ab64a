"""A text in pieces that are short enough to be embedded and quoted: paragraphs, then sentences, overlapping."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

SIZE: Final = 360  # in widths: a Latin letter is 1 wide, a Chinese character 2
OVERLAP: Final = 60
MAX_CHUNKS: Final = 20_000  # of one document

# Ends of sentences in Chinese and English; a closing quote or bracket belongs to the sentence before it.
_SENTENCE: Final = re.compile(
    r"[^。！？；…!?\n.;]*(?:[。！？；…!?;]+|\.(?=\s|$)|\.|\n|$)[”’」』）)\]\"']*\s*"
)
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_HEADING: Final = re.compile(r"#{1,6} [^\n]*")
_WIDE: Final = re.compile(
    r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff]"
)


def width(text: str) -> int:
    """How much a text is: Chinese characters count twice, as they say about twice as much."""
    return len(text) + len(_WIDE.findall(text))


def split(text: str, size: int = SIZE, overlap: int = OVERLAP) -> Iterator[str]:
    """Pieces of at most `size` widths, in order. Whole paragraphs are packed together as far as they fit;
    a Markdown heading begins a new piece, as what is about one thing is found more easily.

    A paragraph that is longer is cut between sentences, and each piece begins with the last sentences of the
    one before it, `overlap` widths at most; a sentence that is longer is cut anywhere."""
    held: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        paragraph = paragraph.strip()
        if not paragraph:
            continue
        new = _HEADING.match(paragraph) and not all(map(_HEADING.fullmatch, held))
        if held and (new or width("\n".join([*held, paragraph])) > size):
            yield "\n".join(held)
            held = []
        if width(paragraph) <= size:
            held.append(paragraph)
        else:
            yield from _long(paragraph, size, overlap)
    if held:
        yield "\n".join(held)


def _long(paragraph: str, size: int, overlap: int) -> Iterator[str]:
    held: list[str] = []
    total = 0  # widths of what is held
    for sentence in sentences(paragraph, size):
        wide = width(sentence)
        if held and total + wide > size:
            yield "".join(held).strip()
            held = _tail(held, min(overlap, size - wide))
            total = sum(map(width, held))
        held.append(sentence)
        total += wide
    if held:
        yield "".join(held).strip()


def _tail(held: list[str], overlap: int) -> list[str]:
    kept: list[str] = []
    room = overlap
    for sentence in reversed(held):
        room -= width(sentence)
        if room < 0:
            break
        kept.insert(0, sentence)
    return kept


def sentences(text: str, longest: int = SIZE) -> Iterator[str]:
    """The sentences of a text; together they are the text. None is wider than `longest`."""
    for found in _SENTENCE.finditer(text):
        sentence = found[0]
        while width(sentence[: longest + 1]) > longest:  # a character is at least 1 wide
            cut = _cut(sentence, longest)
            yield sentence[:cut]
            sentence = sentence[cut:]
        if sentence:
            yield sentence


def _cut(text: str, longest: int) -> int:
    """Where to cut a sentence that has no end: at the last space that fits, else anywhere."""
    total = 0
    for place, mark in enumerate(text):
        total += 2 if _WIDE.match(mark) else 1
        if total > longest:
            space = text.rfind(" ", place // 2, place)
            return space + 1 if space > 0 else max(place, 1)
    return len(text)
