"""Near duplicates: texts that share most of their runs of three words, found by MinHash in compiled code.

Two texts are alike by the share of runs that they have in common (Jaccard). It is estimated from 96 numbers of
each text (standard error 0.04 at 0.8) and looked up in 12 tables, so the work is linear in the texts as long as
few of them are half alike. A kept text costs two to three KiB. Case, marks and spaces do not count; a Chinese,
Japanese or Korean character is a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any, Final

from qianfan.dataset.operators.words import words_of
from qianfan.dataset.texts import text_of
from qianfan.errors import InvalidArgumentError, need

THRESHOLD: Final = 0.8
LOWEST: Final = 0.5  # below it too much is like everything
NUMBERS: Final = 96
SEED: Final = 42
BATCH: Final = 256  # texts that are looked up at once


class NearDuplicates:
    """What was kept so far. The same texts in the same order always give the same answers.

    threshold: share of runs in common, 0.5 to 1, from which a text counts as there already. It is an estimate:
    at 0.8, pairs that share 0.9 are found in 99 of 100 cases, those of 0.85 in nine of ten, those of 0.8 in four
    of ten, those of 0.7 in less than one of a hundred.
    Raises InvalidArgumentError for another threshold, MissingExtra without the extra `dataset`."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if isinstance(threshold, bool) or not LOWEST <= threshold <= 1:
            raise InvalidArgumentError(
                f"the threshold is {threshold!r}", advice=f"give a share from {LOWEST:g} to 1"
            )
        rensa: Any = need("rensa", "to find near duplicates", "dataset")
        bands = 12 if threshold >= THRESHOLD else 24
        self._index = rensa.RMinHashDeduplicator(threshold, NUMBERS, True, num_bands=bands, seed=SEED)
        self._number = 0

    def is_new(self, text: str) -> bool:
        """Whether nothing that was kept is like this text; then it is kept as well."""
        return self._new([text])[0]

    def news(self, texts: Iterable[str]) -> Iterator[bool]:
        """`is_new` of each text, in order, and faster than one by one; reads 256 texts ahead."""
        given = iter(texts)
        while batch := list(islice(given, BATCH)):
            yield from self._new(batch)

    def judged(self, rows: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
        """Each row, and whether its texts together are new."""
        given = iter(rows)
        while batch := list(islice(given, BATCH)):
            yield from zip(batch, self._new([text_of(row) for row in batch]), strict=True)

    def __len__(self) -> int:
        """How many texts are kept."""
        return int(self._index.len())

    def _new(self, texts: list[str]) -> list[bool]:
        first, self._number = self._number, self._number + len(texts)
        found = self._index.add_pairs([(str(at), runs_of(text)) for at, text in enumerate(texts, first)])
        return list(found)


def runs_of(text: str) -> list[str]:
    """Three words in a row, each run of them; of a shorter text all its words; of none the text itself."""
    words = [word.lower() for word in words_of(text)]
    if len(words) < 3:
        return [" ".join(words) or text.strip()]
    return [f"{one} {two} {three}" for (one, two), three in zip(pairwise(words), words[2:], strict=False)]
