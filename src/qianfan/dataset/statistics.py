"""What is in a dataset, in one pass over its rows: how many, how long, how many twice, in which languages."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qianfan.dataset.operators.fluency import language
from qianfan.dataset.schemas import is_annotated
from qianfan.dataset.seen import Seen, identity
from qianfan.dataset.texts import text_of
from qianfan.resources.llm.counting import estimated_tokens

PERCENTILES: Final = (50, 90, 95, 99)
BINS: Final = 12
LONGEST: Final = 5
ALL_LANGUAGES: Final = 2_000  # rows whose language is looked at; of those after them every fiftieth
EVERY: Final = 50
READ: Final = 1_000  # characters of a row that tell its language
KINDS: Final[dict[type, str]] = {str: "texts", dict: "objects", list: "conversations"}


@dataclass
class Spread:
    """Numbers by how often they came: exact, in as much memory as there are different ones."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, number: int) -> None:
        """Count one."""
        self.counts[number] += 1

    @property
    def total(self) -> int:
        """The sum of all numbers."""
        return sum(number * count for number, count in self.counts.items())

    @property
    def mean(self) -> float:
        """0 when there are none."""
        return self.total / max(1, self.counts.total())

    def percentile(self, share: float) -> int:
        """The smallest number that at least `share` percent of all do not exceed; 0 when there are none."""
        wanted, seen = self.counts.total() * share / 100, 0
        for number in sorted(self.counts):
            seen += self.counts[number]
            if seen >= wanted:
                return number
        return 0

    def histogram(self, bins: int = BINS) -> list[tuple[int, int, int]]:
        """(lowest, highest, how many) of bins of one width up to the 99th percentile; the last has the rest."""
        if not self.counts:
            return []
        low, high, most = min(self.counts), self.percentile(99), max(self.counts)
        width = max(1, -(-(high - low + 1) // bins))
        found: list[tuple[int, int, int]] = []
        for start in range(low, high + 1, width):
            end = start + width - 1
            found.append((start, end, sum(c for n, c in self.counts.items() if start <= n <= end)))
        end = found[-1][1]
        if beyond := sum(count for number, count in self.counts.items() if number > end):
            found.append((end + 1, most, beyond))
        return found

    def as_dict(self) -> dict[str, Any]:
        """min, max, mean, p50 … p99 and the histogram."""
        return {
            "min": min(self.counts, default=0),
            "max": max(self.counts, default=0),
            "mean": round(self.mean, 2),
            **{f"p{share}": self.percentile(share) for share in PERCENTILES},
            "histogram": [{"from": low, "to": high, "rows": rows} for low, high, rows in self.histogram()],
        }


@dataclass
class Statistics:
    """The figures of a dataset. `str()` draws them as text, a notebook shows them as a table.

    rows; kinds: rows that are conversations, objects or texts. turns, characters, tokens: of a row; tokens are
    estimated as `Tokenizer` does. annotated: rows whose every turn has an answer. duplicates: rows that are
    exactly a row before. empty: rows in which a member is empty, by its name. members: rows that have it.
    languages: ISO 639-1 codes ("" for none) of `language_rows` rows: the first 2,000 and every fiftieth after.
    longest: (characters, line) of the five longest rows."""

    rows: int = 0
    annotated: int = 0
    duplicates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    turns: Spread = field(default_factory=Spread)
    characters: Spread = field(default_factory=Spread)
    tokens: Spread = field(default_factory=Spread)
    empty: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    language_rows: int = 0
    longest: list[tuple[int, int]] = field(default_factory=list)
    _seen: Seen | None = field(default_factory=Seen, repr=False, compare=False)

    def add(self, line: int, row: Any) -> None:
        """Count a row that stands in this line."""
        self.rows += 1
        text = text_of(row)
        size = len(text)
        self.kinds[KINDS.get(type(row), "other values")] += 1
        self.turns.add(len(row) if isinstance(row, list) else 1)
        self.characters.add(size)
        self.tokens.add(estimated_tokens(text))
        self.annotated += is_annotated(row) or (isinstance(row, dict) and bool(row.get("response")))
        self._members(row)
        if self.rows <= ALL_LANGUAGES or self.rows % EVERY == 0:
            self.language_rows += 1
            self.languages[language(text[:READ])[0]] += 1
        self._seen = self._seen or Seen()
        self.duplicates += not self._seen.is_new(identity(row))
        if len(self.longest) < LONGEST:
            heapq.heappush(self.longest, (size, -line))
        elif (size, -line) > self.longest[0]:
            heapq.heapreplace(self.longest, (size, -line))

    def _members(self, row: Any) -> None:
        turns = row if isinstance(row, list) else [row]
        names: set[str] = set()
        empty: set[str] = set()
        for turn in turns:
            if isinstance(turn, Mapping):
                for name, value in turn.items():
                    names.add(name)
                    if is_empty(value):
                        empty.add(name)
        self.members.update(names)
        self.empty.update(empty)

    def finish(self) -> Statistics:
        """Forget what only counting needs; returns self."""
        self.longest = [(size, -line) for size, line in sorted(self.longest, reverse=True)]
        self._seen = None
        return self

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values."""
        return {
            "rows": self.rows,
            "kinds": dict(self.kinds),
            "annotated": self.annotated,
            "duplicates": self.duplicates,
            "turns": self.turns.as_dict(),
            "characters": self.characters.as_dict(),
            "tokens": self.tokens.as_dict(),
            "totalCharacters": self.characters.total,
            "totalTokens": self.tokens.total,
            "members": dict(self.members),
            "empty": dict(self.empty),
            "languages": dict(self.languages.most_common()),
            "languageRows": self.language_rows,
            "longest": [{"characters": size, "line": line} for size, line in self.longest],
        }

    def __str__(self) -> str:
        from qianfan.dataset.overview import drawn

        return drawn(self)

    def _repr_html_(self) -> str:
        from qianfan.dataset.overview import as_html

        return as_html(self)


def statistics(rows: Iterable[Any]) -> Statistics:
    """The figures of rows, read once. 16 bytes are kept of each row, to know it again."""
    return of_lines(enumerate(rows, 1))


def of_lines(numbered: Iterable[tuple[int, Any]]) -> Statistics:
    """The figures of `(line, row)`."""
    found = Statistics()
    for line, row in numbered:
        found.add(line, row)
    return found.finish()


def is_empty(value: Any) -> bool:
    """Whether a member holds nothing: null, blanks, no items, or items that are all empty."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):
        return all(is_empty(item) for item in value)
    return value is None or value == {}
