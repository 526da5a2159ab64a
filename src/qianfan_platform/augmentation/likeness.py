"""How like a new text is to all that are there: the same ROUGE-L as evaluations have, found without trying all.

Two bounds rule most texts out before their longest common sequence is looked for: it is no longer than the
shorter of both, and no longer than the tokens that both have in any order. What is left is measured, so that
the verdict is that of `qianfan.evaluation.metrics`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from qianfan.dataset.operators.duplicates import Seen, simhash
from qianfan.evaluation.metrics import MAX_LCS, counted, rouge_l

NEAR_BITS: Final = 3  # simhashes that differ in so few bits are of the same text
_MEASURED: Final = 100  # texts below the threshold of which the most like is told
_ROOM: Final = 1024  # places of a table when it is new


@dataclass(frozen=True)
class Nearest:
    """The text that is most like another. score: their ROUGE-L, 0 to 1. place: its number, -1 for none."""

    score: float = 0.0
    place: int = -1


class Texts:
    """Texts in the order in which they were added, numbered from 0."""

    def __init__(self) -> None:
        import numpy

        self._lengths = numpy.zeros(_ROOM, numpy.int32)
        self._tokens: list[tuple[str, ...]] = []
        self._where: dict[str, _Places] = {}  # token → who has it, and how often
        self._exact: dict[str, int] = {}
        self._near = Seen(NEAR_BITS)

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, text: str) -> int:
        """Remember a text; returns its number."""
        import numpy

        place = len(self._tokens)
        found = tuple(counted(text)[:MAX_LCS])
        self._tokens.append(found)
        if place >= len(self._lengths):
            self._lengths = numpy.concatenate([self._lengths, numpy.zeros_like(self._lengths)])
        self._lengths[place] = len(found)
        for token, count in Counter(found).items():
            self._where.setdefault(token, _Places()).add(place, count)
        self._exact.setdefault(_plain(text), place)
        if number := simhash(text):  # 0: no words to tell it by
            self._near.keep(number)
        return place

    def same(self, text: str) -> int | None:
        """The number of a text that differs in nothing but case and space; None when there is none."""
        return self._exact.get(_plain(text))

    def near(self, text: str) -> bool:
        """Whether a near duplicate of the text is there."""
        number = simhash(text)
        return bool(number) and self._near.near(number)

    def nearest(self, text: str, threshold: float) -> Nearest:
        """A text whose ROUGE-L with `text` is `threshold` or more, the likeliest tried first.

        When there is none: the most like one, of as many as are measured without need."""
        import numpy

        own = tuple(counted(text)[:MAX_LCS])
        if not own or not self._tokens:
            return Nearest()
        size = len(self._tokens)
        common = numpy.zeros(size, numpy.int32)
        for token, count in Counter(own).items():
            if (places := self._where.get(token)) is not None:
                who, often = places.arrays()
                common[who] += numpy.minimum(often, count)
        # The same rounding as in the score itself, so that a bound is never below what it bounds.
        bounds = 2.0 * common / (len(own) + self._lengths[:size])
        must = int(numpy.count_nonzero((bounds >= threshold) & (common > 0)))
        order = numpy.argsort(-bounds, kind="stable")[: must + _MEASURED]
        best = Nearest()
        for place in order:
            if best.score >= threshold or bounds[place] <= best.score:
                break
            score = rouge_l(own, self._tokens[place])
            if score > best.score:
                best = Nearest(score, int(place))
        return best


class _Places:
    """Numbers of texts and counts, in two growing arrays."""

    __slots__ = ("_counts", "_size", "_who")

    def __init__(self) -> None:
        import numpy

        self._who: Any = numpy.zeros(2, numpy.int32)
        self._counts: Any = numpy.zeros(2, numpy.int32)
        self._size = 0

    def add(self, place: int, count: int) -> None:
        import numpy

        if self._size == len(self._who):
            self._who = numpy.concatenate([self._who, numpy.zeros_like(self._who)])
            self._counts = numpy.concatenate([self._counts, numpy.zeros_like(self._counts)])
        self._who[self._size], self._counts[self._size] = place, count
        self._size += 1

    def arrays(self) -> tuple[Any, Any]:
        return self._who[: self._size], self._counts[: self._size]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
