"""Who judges answers: functions of this program (local evaluators), or the platform (qianfan evaluators)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from qianfan.contract.evaluation import DEFAULT_MAX_SCORE, DEFAULT_METRIC, MOST_DIMENSIONS, SATISFACTION
from qianfan.dataset import state as saved_state
from qianfan.evaluation import metrics
from qianfan.utils.logging import logger

Input = str | list[dict[str, Any]]


class SavedFields:
    """Saved as its fields are. Its subclasses are dataclasses."""

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """An object of a saved state."""
        return cls(**state)


class Evaluator:
    """What `EvaluationManager` takes."""


class LocalEvaluator(Evaluator, ABC):
    """An evaluator of your own: subclass it and write `evaluate`."""

    @abstractmethod
    def evaluate(self, input: Input, reference: str, output: str) -> dict[str, Any]:
        """Scores of one answer, by name.

        input: the question, or the conversation up to it. reference: the expected answer, "" for none.
        output: what the model said, "" when it could not be asked. Numbers are averaged over the rows."""


@saved_state.saved
@dataclass
class LocalRuleEvaluator(SavedFields, LocalEvaluator):
    """The rules of the platform in this process, for models that are not evaluated there.

    using_similarity: BLEU-4 and ROUGE. using_accuracy: exact match, accuracy and F1. words: Chinese by word as
    well, which needs jieba. stop_words: tokens that do not count."""

    kind: ClassVar[str] = "local-rule-evaluator"

    using_similarity: bool = True
    using_accuracy: bool = True
    words: bool = False
    stop_words: Sequence[str] = ()

    def evaluate(self, input: Input, reference: str, output: str) -> dict[str, Any]:
        """Scores, 0 to 1; without a reference only `jsonValid`."""
        found: dict[str, Any] = {"jsonValid": metrics.json_valid(output)}
        stop_words = frozenset(self.stop_words)
        if reference and self.using_accuracy:
            found |= metrics.agreement(output, reference, words=self.words, stop_words=stop_words)
        if reference and self.using_similarity:
            found |= metrics.overlap(output, reference, words=self.words, stop_words=stop_words)
        return found

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        return {**super().to_state(), "stop_words": list(self.stop_words)}


class QianfanEvaluator(SavedFields, Evaluator, ABC):
    """An evaluator of the platform. One of each kind may be in an evaluation."""

    mode: ClassVar[str]

    @abstractmethod
    def conf(self) -> dict[str, Any]:
        """Its part of the request."""


@saved_state.saved
@dataclass
class QianfanRefereeEvaluator(QianfanEvaluator):
    """A model as the judge.

    app_id: of the application whose model judges on the cloud; this platform counts nothing under it.
    prompt_metrics: what is judged. prompt_steps: how, in numbered lines; the platform has its own.
    prompt_max_score: the highest score, the lowest is 0. judge_model: the judge, a service or a preset model by
    its address or name, on this platform. template: a prompt of your own with {src}, {tgt} and {prediction}; a
    verdict on it must state `score: N` on a line of its own, or be a JSON object with `score` and `reason`."""

    kind: ClassVar[str] = "qianfan-referee-evaluator"
    mode: ClassVar[str] = "model"

    app_id: int
    prompt_metrics: str = DEFAULT_METRIC
    prompt_steps: str = ""
    prompt_max_score: int = DEFAULT_MAX_SCORE
    judge_model: str | None = None
    template: str = ""

    def conf(self) -> dict[str, Any]:
        prompt = {
            "templateContent": self.template,
            "metric": self.prompt_metrics,
            "steps": self.prompt_steps,
            "maxScore": self.prompt_max_score,
        }
        named = {"apiName": self.judge_model} if self.judge_model else {}
        return {"appId": self.app_id, "prompt": prompt, **named}


@saved_state.saved
@dataclass
class QianfanRuleEvaluator(QianfanEvaluator):
    """Scores by rule, against the dataset's answers. At least one of the two must be wanted (ValueError).

    using_similarity: BLEU-4, ROUGE, and the cosine of embeddings. using_accuracy: exact match, accuracy, F1.
    stop_words: the path of a file of words that do not count, one a line, on the platform."""

    kind: ClassVar[str] = "qianfan-rule-evaluator"
    mode: ClassVar[str] = "rule"

    using_similarity: bool = False
    using_accuracy: bool = False
    stop_words: str | None = None

    def __post_init__(self) -> None:
        if not self.using_similarity and not self.using_accuracy:
            raise ValueError("a rule evaluator needs a rule: using_similarity=True or using_accuracy=True")

    def conf(self) -> dict[str, Any]:
        wanted = {"similarity": self.using_similarity, "accuracy": self.using_accuracy}
        words = {"stopWordsPath": self.stop_words} if self.stop_words else {}
        return {"scoreModes": [name for name, is_wanted in wanted.items() if is_wanted], **words}


@saved_state.saved
@dataclass
class ManualEvaluatorDimension(SavedFields):
    """What people score. description: shown beside it."""

    kind: ClassVar[str] = "manual-evaluator-dimension"

    dimension: str
    description: str | None = None


@saved_state.saved
@dataclass
class QianfanManualEvaluator(QianfanEvaluator):
    """People score the answers. Satisfaction (满意度) is always the first dimension, and there are at most four."""

    kind: ClassVar[str] = "qianfan-manual-evaluator"
    mode: ClassVar[str] = "manual"

    evaluation_dimensions: list[ManualEvaluatorDimension] = field(default_factory=list)

    def conf(self) -> dict[str, Any]:
        given = [one for one in self.evaluation_dimensions if one.dimension != SATISFACTION]
        first = next(
            (one for one in self.evaluation_dimensions if one.dimension == SATISFACTION),
            ManualEvaluatorDimension(SATISFACTION),
        )
        if len(given) >= MOST_DIMENSIONS:
            logger.warning(
                "a manual evaluation has at most %d dimensions, satisfaction among them; left out: %s",
                MOST_DIMENSIONS,
                ", ".join(one.dimension for one in given[MOST_DIMENSIONS - 1 :]),
            )
        kept = [first, *given[: MOST_DIMENSIONS - 1]]
        return {
            "evaluationDimension": [
                {"dimension": one.dimension, **({"description": one.description} if one.description else {})}
                for one in kept
            ]
        }
