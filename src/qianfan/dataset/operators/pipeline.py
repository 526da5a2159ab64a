"""Operators in a row over many texts: what is kept, how it was changed, and where each text was dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import duplicates
from .catalogue import STAGES, Operator, find

Stages = Mapping[str, Sequence[Mapping[str, Any]]]
"""What the wire calls operationsV2: for each stage a list of {"name", "args"}."""


@dataclass
class Work:
    """An operator with its arguments, and what it has done so far."""

    operator: Operator
    given: dict[str, float]
    changed: int = 0  # texts
    dropped: int = 0
    remaining: int = 0
    seen: duplicates.Seen | None = None

    def do(self, text: str) -> str | None:
        """The text as it goes on, or None when it is dropped."""
        operator = self.operator
        if operator.change is not None:
            after = operator.change(text)
            self.changed += after != text
            self.remaining += 1
            return after
        if operator.figure is not None and operator.keeps is not None:
            kept = operator.keeps(operator.figure(text), self.given)
        else:
            kept = self.is_new(duplicates.simhash(text))
        if not kept:
            self.dropped += 1
            return None
        self.remaining += 1
        return text

    def is_new(self, number: int) -> bool:
        """Whether no text before was near this simhash; a new one is remembered. 0 is a text without words."""
        if self.seen is None:
            self.seen = duplicates.Seen(self.given["distance"])
        if not number:
            return True
        if self.seen.near(number):
            return False
        self.seen.keep(number)
        return True


@dataclass(frozen=True)
class Verdict:
    """What became of a text. dropped_by: the operator, "" for a text that is kept."""

    text: str
    dropped_by: str = ""


@dataclass
class Pipeline:
    """Operators in the order of their stages. `run` may be called for one part of the texts after another."""

    works: list[Work] = field(default_factory=list)

    @classmethod
    def of(cls, stages: Stages) -> Pipeline:
        """The pipeline of `stages`. Raises BadOperator for a stage, an operator or an argument that is unknown."""
        from .catalogue import BadOperator

        for stage in stages:
            if stage not in STAGES:
                raise BadOperator(f"there is no stage {stage[:40]!r}", f"stages are {', '.join(STAGES)}")
        works = []
        for stage in STAGES:
            for item in stages.get(stage) or ():
                operator = find(str(item.get("name", "")), stage)
                works.append(Work(operator, operator.checked(item.get("args") or {})))
        return cls(works)

    def run(self, texts: Iterable[str]) -> Iterator[Verdict]:
        """A verdict for each text, in order."""
        for text in texts:
            yield self._one(text)

    def _one(self, text: str) -> Verdict:
        for work in self.works:
            after = work.do(text)
            if after is None:
                return Verdict(text, work.operator.name)
            text = after
        return Verdict(text)

    def funnel(self) -> list[dict[str, Any]]:
        """What each operator did so far: name, stage, how many it changed, dropped, and left."""
        return [
            {
                "name": work.operator.name,
                "stage": work.operator.stage,
                "changed": work.changed,
                "dropped": work.dropped,
                "remaining": work.remaining,
            }
            for work in self.works
        ]
