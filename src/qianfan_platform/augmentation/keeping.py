"""Which samples are kept, and why the others are not. The same tries lead to the same verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from qianfan.contract.enums import DataTemplateType
from qianfan.dataset.schemas import check_row
from qianfan_platform.inference.quoting import neutral

from .likeness import Texts
from .parsing import LONGEST, Candidate

# Why a sample is dropped, as the interface tells it.
CUT: Final = "cut"
LONG: Final = "tooLong"
MARKS: Final = "templateMarks"
SAME: Final = "duplicate"
NEAR: Final = "nearDuplicate"
LIKE: Final = "tooSimilar"
ANSWER: Final = "noAnswer"
SCHEMA: Final = "doesNotFit"
ENOUGH: Final = "enough"

TAKEN: Final = ("", ANSWER, SCHEMA)  # of samples that no other one was like: later ones must differ from them

MEANINGS: Final = {
    CUT: "the model did not come to an end",
    LONG: f"longer than {LONGEST} characters",
    MARKS: "holds marks by which chat templates tell turns apart",
    SAME: "the same as another, apart from case and space",
    NEAR: "almost the same as another",
    LIKE: "its ROUGE-L with another is not below the threshold",
    ANSWER: "the model gave no answer to it",
    SCHEMA: "does not fit the template of the destination",
    ENOUGH: "so many were not wanted",
}


@dataclass
class Sample:
    """A candidate and what became of it. why: "" as long as nothing speaks against it."""

    number: int  # of its try
    place: int
    prompt: str
    answer: str = ""
    why: str = ""
    detail: str = ""
    score: float = 0.0
    nearest: str = ""

    def drop(self, why: str, detail: str = "") -> None:
        self.why, self.detail = why, detail[:1000]


@dataclass
class Known:
    """All texts that a new one must differ from, with what they are called."""

    threshold: float
    texts: Texts = field(default_factory=Texts)
    names: list[str] = field(default_factory=list)

    def add(self, name: str, prompt: str) -> None:
        self.texts.add(prompt)
        self.names.append(name)

    def judge(self, number: int, found: Sequence[Candidate], *, cut: bool) -> list[Sample]:
        """The samples of one try, those with no `why` being new; they count as known from now on."""
        samples = []
        for place, one in enumerate(found):
            sample = Sample(number, place, one.prompt, one.answer)
            samples.append(sample)
            self._judge(sample, cut=cut and len(found) == 1)
            if not sample.why:
                self.add(called(sample), sample.prompt)
        return samples

    def _judge(self, sample: Sample, *, cut: bool) -> None:
        text = sample.prompt
        if cut:
            return sample.drop(CUT)
        if len(text) > LONGEST:
            sample.prompt = text[:LONGEST]
            return sample.drop(LONG)
        if has_marks(text) or has_marks(sample.answer):
            return sample.drop(MARKS)
        same = self.texts.same(text)
        if same is not None:
            sample.score, sample.nearest = 1.0, self.names[same]
            return sample.drop(SAME)
        nearest = self.texts.nearest(text, self.threshold)
        sample.score = round(nearest.score, 6)
        sample.nearest = self.names[nearest.place] if nearest.place >= 0 else ""
        if nearest.score >= self.threshold:
            return sample.drop(LIKE)
        if self.texts.near(text):
            sample.drop(NEAR)
        return None


def has_marks(text: str) -> bool:
    """Whether a chat template would find marks of its own in the text."""
    return neutral(text) != text


def called(sample: Sample) -> str:
    """What a sample is called where another is like it."""
    return f"sample {sample.number}.{sample.place}"


def record(sample: Sample, template: DataTemplateType, system: str = "") -> list[dict[str, Any]]:
    """The record that a sample becomes."""
    turn: dict[str, Any] = {"prompt": sample.prompt}
    if template is DataTemplateType.NonSortedConversation:
        turn["response"] = [[sample.answer]]
        if system:
            turn = {"system": system, **turn}
    return [turn]


def fits(sample: Sample, template: DataTemplateType, system: str = "") -> bool:
    """Whether the record can stand in a dataset of the template; if not, the sample is dropped."""
    problem = check_row(record(sample, template, system), template, 1)
    if problem is not None:
        sample.drop(SCHEMA, f"{problem.field}: {problem.what}" if problem.field else problem.what)
    return problem is None
