"""Near duplicates by simhash: texts whose 64 bits differ in few places are taken for the same.

Linear in the number of texts as long as few of them are alike: the bits are cut into more pieces than may
differ, so that two that are near share at least one piece, and only those are compared.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from typing import Final

from .words import words_of

BITS: Final = 64
GRAM: Final = 3  # words in a row
NEAREST: Final = 0
LANE: Final = 32  # bits of a counter
_LANE_MASK: Final = (1 << LANE) - 1
_LANES: Final = [sum((byte >> bit & 1) << bit * LANE for bit in range(8)) for byte in range(256)]
FARTHEST: Final = 12  # bits; beyond it everything is like everything


def simhash(text: str, gram: int = GRAM) -> int:
    """64 bits that are alike for texts that are alike. 0 for a text without words."""
    words = [word.lower() for word in words_of(text)]
    runs = (
        {" ".join(words[at : at + gram]) for at in range(max(1, len(words) - gram + 1))} if words else set()
    )
    counts = [0] * (BITS // 8)  # of each byte of the hashes: how often each of its bits was set, a lane each
    for run in runs:
        for place, byte in enumerate(hashlib.blake2b(run.encode(), digest_size=8).digest()):
            counts[place] += _LANES[byte]
    number = 0
    for lanes in counts:  # the first byte is the highest
        for bit in range(7, -1, -1):
            number = number << 1 | (2 * (lanes >> bit * LANE & _LANE_MASK) > len(runs))
    return number


class Seen:
    """What was kept so far. `distance`: bits in which two texts may differ and still count as the same."""

    def __init__(self, distance: float) -> None:
        if not NEAREST <= distance <= FARTHEST:
            raise ValueError(f"distance is {distance:g}; it must be between {NEAREST} and {FARTHEST} bits")
        self.distance = int(distance)
        pieces = self.distance + 1
        edges = [round(BITS * at / pieces) for at in range(pieces + 1)]
        self._pieces = [(low, (1 << (high - low)) - 1) for low, high in itertools.pairwise(edges)]
        self._tables: list[dict[int, list[int]]] = [defaultdict(list) for _ in self._pieces]

    def near(self, number: int) -> bool:
        """Whether something that was kept is as near as that."""
        for table, (shift, mask) in zip(self._tables, self._pieces, strict=True):
            for other in table.get(number >> shift & mask, ()):
                if (number ^ other).bit_count() <= self.distance:
                    return True
        return False

    def keep(self, number: int) -> None:
        """Remember one that is kept."""
        for table, (shift, mask) in zip(self._tables, self._pieces, strict=True):
            table[number >> shift & mask].append(number)
