"""`Gate`: go on only when the new model is shown to be better than, or not worse than, the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qianfan.dataset import state as saved_state
from qianfan.errors import GateClosed, InvalidArgumentError
from qianfan.evaluation.evaluation_result import EvaluationResult
from qianfan.evaluation.statistics import CONFIDENCE, FEWEST, Rule, Verdict
from qianfan.model import Model, Service
from qianfan.resources import Evaluation as EvaluationCalls
from qianfan.resources import Model as ModelCalls


@saved_state.saved
@dataclass
class Gate:
    """A condition on two models of one evaluation. Between an evaluation and a deployment:

        result = manager.eval([base, tuned], dataset)
        Gate("not worse", margin=0.02).require(result)      # raises GateClosed, and nothing is deployed
        tuned.deploy(config)

    rule: better, or not worse. metric: a score that rows have. margin, confidence, fewest: as
    `qianfan.evaluation.statistics.gate` has them. baseline: what EvaluateAction(gate=…) compares with."""

    kind: ClassVar[str] = "gate"

    rule: Rule = "better"
    metric: str = "accuracy"
    margin: float = 0.0
    confidence: float = CONFIDENCE
    fewest: int = FEWEST
    baseline: Model | Service | None = None

    def check(self, result: EvaluationResult, before: str | None = None, after: str | None = None) -> Verdict:
        """The verdict on `after` against `before`, by default the last and the first model of the result.

        Raises InvalidArgumentError when the result has one model only."""
        if len(result.models) < 2 and (before is None or after is None):
            raise InvalidArgumentError(
                "a gate compares two models, and this evaluation has one",
                advice="evaluate the model before and the new one in one evaluation",
            )
        return result.compare(
            before or result.models[0],
            after or result.models[-1],
            self.metric,
            self.rule,
            margin=self.margin,
            confidence=self.confidence,
            fewest=self.fewest,
        )

    def require(
        self, result: EvaluationResult, before: str | None = None, after: str | None = None
    ) -> Verdict:
        """The verdict, when it is yes. Raises GateClosed (`verdict`) when it is no."""
        verdict = self.check(result, before, after)
        if not verdict.passed:
            raise GateClosed(
                f"the gate on {self.metric} is closed: {verdict.reason}",
                verdict=verdict,
                advice="train on more or better data, or evaluate on more rows",
            )
        return verdict

    def record(
        self, result: EvaluationResult, before: str | None = None, after: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Let the platform itself give this verdict on its evaluation, and keep it: it opens the gates of the registry.

        Returns it as the platform shows it. Raises InvalidArgumentError for an evaluation of this process."""
        if result.task_id is None:
            raise InvalidArgumentError(
                "this evaluation was made in this process, so the platform can not vouch for it",
                advice="evaluate with qianfan evaluators",
            )
        answer = EvaluationCalls.give_verdict(
            result.task_id,
            before or result.models[0],
            after or result.models[-1],
            rule=self.rule,
            metric=self.metric,
            margin=self.margin,
            confidence=self.confidence,
            fewest=self.fewest,
            **options,
        )
        verdict: dict[str, Any] = answer["result"]
        return verdict

    def protect(
        self, model: Model | int | str, at: Sequence[str] = ("deploy",), **options: Any
    ) -> dict[str, Any]:
        """Set this gate before a model of the registry: the platform deploys (or publishes) only what passed it.

        model: a Model, or its id (`am-…`). Returns the gate as the platform shows it. The gate needs a baseline that
        is a model (InvalidArgumentError). Of this platform only."""
        base = self.baseline.model if isinstance(self.baseline, Service) else self.baseline
        name = (base.version_id or base.name) if base is not None else None
        ident: int | str | None = model.id if isinstance(model, Model) else model
        if name is None or ident is None:
            raise InvalidArgumentError(
                "the gate has no baseline, or the model no id",
                advice="give Gate(…, baseline=Model(version_id=…)) and a model that is published",
            )
        answer = ModelCalls.V2.set_model_gate(
            ident,
            name,
            at,
            rule=self.rule,
            metric=self.metric,
            margin=self.margin,
            confidence=self.confidence,
            fewest=self.fewest,
            **options,
        )
        gate: dict[str, Any] = answer["result"]
        return gate

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Gate:
        """A gate of a saved state."""
        return cls(**state)
