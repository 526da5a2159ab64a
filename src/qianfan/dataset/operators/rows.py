"""Operators over rows of any shape: texts, objects, conversations. The order stays, and so does the shape of a row.

Each text of a row is worked on by itself; a text that a filter drops, or of which cleaning leaves nothing, takes its
row with it. Duplicates are looked for among whole rows. Empty texts are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from qianfan.dataset.texts import texts_of, with_texts

from . import duplicates
from .files import cores, in_order
from .pipeline import Pipeline, Stages, Work

CHUNK: Final = 256  # rows that go to a process at once
FEW: Final = 512  # so few rows are done before another process has started
SAMPLES: Final = 2  # that are kept of each operator
Numbered = tuple[int, Any]


@dataclass(frozen=True)
class Sample:
    """What an operator did to a text of the row in this line; after is None for one that it dropped."""

    line: int
    before: str
    after: str | None


@dataclass
class Done:
    """What an operator did to the rows that reached it."""

    name: str
    stage: str
    changed: int = 0
    dropped: int = 0
    remaining: int = 0
    samples: list[Sample] = field(default_factory=list)

    def show(self, line: int, before: str, after: str | None) -> None:
        """Keep a sample while there are few; changed and dropped ones each have their places."""
        alike = sum((sample.after is None) == (after is None) for sample in self.samples)
        if alike < SAMPLES:
            self.samples.append(Sample(line, before, after))

    def and_then(self, other: Done) -> None:
        """Add what was done to later rows."""
        self.changed += other.changed
        self.dropped += other.dropped
        self.remaining += other.remaining
        for sample in other.samples:
            self.show(sample.line, sample.before, sample.after)


@dataclass
class _Part:
    rows: list[tuple[int, Any, int]] = field(default_factory=list)  # line, row, simhash
    done: list[Done] = field(default_factory=list)


@dataclass
class Cleaning:
    """Rows going through operators. `funnel`: what each has done so far, in order; `rows`: read, `kept`: given."""

    stages: Stages
    columns: Sequence[str] | None = None
    processes: int = 0
    rows: int = 0
    kept: int = 0
    funnel: list[Done] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises BadOperator for a stage, an operator or an argument that is unknown."""
        self._works = Pipeline.of(self.stages).works
        self._before = [work for work in self._works if not _late(work)]
        self._repeated = [work for work in self._works if work.operator.stage == "deduplication"]
        self._masks = [work for work in self._works if work.operator.stage == "desensitization"]
        self.funnel = [Done(work.operator.name, work.operator.stage) for work in self._works]

    def run(self, numbered: Iterable[Numbered]) -> Iterator[Numbered]:
        """`(line, row)` of the rows that are kept, changed, in order; the result does not depend on `processes`."""
        given = iter(numbered)
        first = list(islice(given, FEW))
        processes = self.processes or (1 if len(first) < FEW else cores())
        chunks = _chunks(first, given)
        work: Callable[[list[Numbered], Stages], _Part] = partial(_process, columns=self.columns)
        for part, size in in_order(chunks, work, self.stages, processes):
            self.rows += size
            for total, new in zip(self.funnel, part.done, strict=False):
                total.and_then(new)
            yield from self._rest(part.rows)

    def _rest(self, rows: list[tuple[int, Any, int]]) -> Iterator[Numbered]:
        """Duplicates are decided here, where everything before is known; then names are masked."""
        late = self.funnel[len(self._before) :]
        for line, row, number in rows:
            for work, done in zip(self._repeated, late, strict=False):
                if not work.is_new(number):
                    done.dropped += 1
                    done.show(line, _joined(row, self.columns), None)
                    break
                done.remaining += 1
            else:
                masks = late[len(self._repeated) :]
                self.kept += 1
                yield line, _through(self._masks, masks, line, row, self.columns)[1]


def _late(work: Work) -> bool:
    return work.operator.stage in ("deduplication", "desensitization")


def _chunks(first: list[Numbered], rest: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    for start in range(0, len(first), CHUNK):
        yield first[start : start + CHUNK]
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _process(rows: list[Numbered], stages: Stages, columns: Sequence[str] | None = None) -> _Part:
    """Everything that can be done with a row alone, without what comes after a look at all of them."""
    works = Pipeline.of(stages).works
    alone = [work for work in works if not _late(work)]
    repeated = any(work.operator.stage == "deduplication" for work in works)
    part = _Part(done=[Done(work.operator.name, work.operator.stage) for work in alone])
    for line, row in rows:
        kept, new = _through(alone, part.done, line, row, columns)
        if kept:
            number = duplicates.simhash(_joined(new, columns)) if repeated else 0
            part.rows.append((line, new, number))
    return part


def _through(
    works: list[Work], done: list[Done], line: int, row: Any, columns: Sequence[str] | None
) -> tuple[bool, Any]:
    """Whether the row is kept, and what it is after these operators."""
    texts = list(texts_of(row, columns))
    was = texts
    for work, told in zip(works, done, strict=True):
        changed = False
        now: list[str] = []
        for text in texts:
            after = work.do(text) if text.strip() else text
            if after is None or (text.strip() and not after.strip()):
                told.dropped += 1
                told.show(line, text, None)
                return False, row
            if after != text:
                changed = True
                told.show(line, text, after)
            now.append(after)
        told.changed += changed
        told.remaining += 1
        texts = now
    return True, row if texts == was else with_texts(row, iter(texts), columns)


def _joined(row: Any, columns: Sequence[str] | None) -> str:
    return "\n".join(texts_of(row, columns))
