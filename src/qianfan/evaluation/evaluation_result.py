"""What an evaluation found: the answers, the scores of each model, and whether one is better than the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from qianfan.dataset import Dataset
from qianfan.dataset import state as saved_state
from qianfan.errors import InvalidArgumentError
from qianfan.evaluation.statistics import CONFIDENCE, FEWEST, Rule, Verdict, gate


@saved_state.saved
class EvaluationResult:
    """The result of `EvaluationManager.eval`.

    result_dataset: the answers. metrics: the means, `{"<model>_<version>": {metric: value}}`, or by `llm_tag` when
    evaluated in this process. rows: each answer with its scores, `{"model", "row", "prompt", "prediction",
    "reference", "scores", …}`. task_id: of the evaluation on the platform."""

    kind: ClassVar[str] = "evaluation-result"

    def __init__(
        self,
        result_dataset: Dataset | None = None,
        metrics: Mapping[str, dict[str, Any]] | None = None,
        rows: Sequence[Mapping[str, Any]] = (),
        task_id: int | str | None = None,
    ) -> None:
        self.result_dataset = result_dataset
        self.metrics: dict[str, dict[str, Any]] = dict(metrics or {})
        self.rows = [dict(row) for row in rows]
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"EvaluationResult(models={list(self.metrics)}, rows={len(self.rows)})"

    @property
    def models(self) -> list[str]:
        """The names under which models stand in `metrics`."""
        return list(self.metrics)

    def scores(self, model: str, metric: str) -> dict[Any, float]:
        """A model's score of each row that has it, by row.

        Raises InvalidArgumentError for a model or a metric that no row has."""
        found = {
            row["row"]: float(row["scores"][metric])
            for row in self.rows
            if row["model"] == model and row["scores"].get(metric) is not None
        }
        if not found:
            known = sorted({name for row in self.rows if row["model"] == model for name in row["scores"]})
            raise InvalidArgumentError(
                f"no row of {model!r} has the score {metric!r}",
                advice=f"models: {', '.join(self.models)}; scores: {', '.join(known) or 'none'}",
            )
        return found

    def compare(
        self,
        a: str,
        b: str,
        metric: str = "accuracy",
        rule: Rule = "better",
        *,
        margin: float = 0.0,
        confidence: float = CONFIDENCE,
        fewest: int = FEWEST,
        seed: int = 0,
    ) -> Verdict:
        """Whether model `b` is better than model `a`, or not worse, on the rows that both have a score of.

        See `qianfan.evaluation.statistics.gate`. Raises InvalidArgumentError without a row that both have."""
        left, right = self.scores(a, metric), self.scores(b, metric)
        both = [row for row in left if row in right]
        if not both:
            raise InvalidArgumentError(
                f"{a!r} and {b!r} have no row in common", advice="evaluate both on one dataset"
            )
        return gate(
            [left[row] for row in both],
            [right[row] for row in both],
            rule,
            margin=margin,
            confidence=confidence,
            fewest=fewest,
            seed=seed,
        )

    def to_html(self, path: str | Path, *, title: str = "Evaluation", **more: Any) -> Path:
        """Write a report: one file that needs no network. more: as `qianfan.evaluation.report.page` takes."""
        from qianfan.evaluation.report import page

        target = Path(path)
        target.write_text(page(self, title=title, **more), encoding="utf-8")
        return target

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        return {
            "result_dataset": self.result_dataset,
            "metrics": self.metrics,
            "rows": self.rows,
            "task_id": self.task_id,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> EvaluationResult:
        """A result of a saved state."""
        return cls(**state)
