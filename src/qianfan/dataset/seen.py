"""Which rows were there before: 64 bits of each in one flat table, 8 to 16 bytes a row and no object each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

SMALLEST: Final = 1 << 12  # places; always a power of two
FULLEST: Final = 0.625  # of the places taken before the table grows


class Seen:
    """A set of rows that only grows. Two of n different rows are taken for one with a chance of n² / 2⁶⁵.

    That is 1 in 37 million for a million rows. expected: rows that will come, so that the table never grows."""

    def __init__(self, expected: int = 0) -> None:
        places = SMALLEST
        while places * FULLEST < expected:
            places *= 2
        self._make(places)

    def _make(self, places: int) -> None:
        self._table = array("q", [0]) * places
        self._mask = places - 1
        self._free = int(places * FULLEST)

    def is_new(self, data: bytes) -> bool:
        """Whether these bytes were not there before; they are from now on."""
        number = hash(data) or 1  # 0 is a free place
        table, mask = self._table, self._mask
        place = number & mask
        while found := table[place]:
            if found == number:
                return False
            place = (place + 1) & mask
        table[place] = number
        self._free -= 1
        if not self._free:
            self._grow()
        return True

    def _grow(self) -> None:
        before = self._table
        self._make(2 * len(before))
        table, mask = self._table, self._mask
        for number in before:
            if number:
                place = number & mask
                while table[place]:
                    place = (place + 1) & mask
                table[place] = number
                self._free -= 1


def identity(row: Any) -> bytes:
    """A row as bytes: the same for equal rows, whatever the order of their members."""
    try:
        return orjson.dumps(row, None, orjson.OPT_SORT_KEYS)
    except TypeError:  # a row of this program that is no JSON
        return repr(row).encode(errors="surrogatepass")


def distinct(rows: Iterable[tuple[int, Any]], expected: int = 0) -> Iterator[tuple[int, Any]]:
    """Every `(line, row)` the first time that its row comes."""
    is_new = Seen(expected).is_new
    for item in rows:
        if is_new(identity(item[1])):
            yield item
