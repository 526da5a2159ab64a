"""The last action, where it is wanted: the model or its service is evaluated on a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from qianfan.dataset import state as saved_state
from qianfan.dataset.sources import QianfanDataSource
from qianfan.errors import APIError, InvalidArgumentError, RequestError
from qianfan.model import Model, Service
from qianfan.trainer.consts import ActionState
from qianfan.trainer.steps import Fields, Step
from qianfan.utils.logging import logger


@saved_state.saved
class EvaluateAction(Step):
    """Let what was trained answer a dataset, and judge the answers.

    Input: `service`, else `model`, else `model_id` and `model_version_id`. Output: `{"eval_res", **input}`.

    eval_dataset: where the questions are, a Dataset or the id of one. evaluators: local ones (`LocalEvaluator`) or those of the platform,
    not both (ValueError). gate: go on only when the model passes it; its baseline is evaluated as well. A closed gate
    raises GateClosed, so that what follows, such as a deployment, is not done."""

    kind: ClassVar[str] = "evaluate"
    result: Fields | None = None

    def __init__(
        self, eval_dataset: Any = None, evaluators: Sequence[Any] = (), gate: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if eval_dataset is None or not evaluators:
            raise InvalidArgumentError(
                "an evaluation needs eval_dataset and evaluators", advice="give both, or neither"
            )
        self.eval_dataset, self.evaluators = _dataset(eval_dataset), list(evaluators)
        self.gate = gate
        if gate is not None and gate.baseline is None:
            raise InvalidArgumentError("the gate has no baseline", advice="give Gate(…, baseline=Model(…))")
        self._manager()  # tells now what cannot be mixed
        if self._remote():
            self.must_be_on_platform("evaluators of the platform read one")

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        llm = self._llm(input)
        self.action_event(ActionState.Running, "evaluating", {"llm": llm, "dataset": self.eval_dataset})
        llms = [llm] if self.gate is None else [self.gate.baseline, llm]
        result = self._manager().eval(llms, self.eval_dataset, stop=self._stop, **options)
        if self.gate is not None:
            self._record(result, options)
            self.gate.require(result)
        return {"eval_res": result, **input}

    def _record(self, result: Any, options: Fields) -> None:
        """Leave the verdict with the platform, for the gates of its registry; a cloud keeps none."""
        if result.task_id is None:
            return
        try:
            self.gate.record(result, **options)
        except (APIError, RequestError) as error:
            logger.info("the verdict of evaluation %s was not kept: %s", result.task_id, error)

    def resume(self, **kwargs: Any) -> Fields:
        """Evaluate again what the last input named. Raises ValueError without one."""
        if self._input is None:
            raise ValueError("the evaluation has no input yet; run exec() first")
        return super().resume(**kwargs)

    def _llm(self, input: Fields) -> Model | Service:
        if isinstance(input.get("service"), Service):
            return input["service"]  # type: ignore[no-any-return]
        if isinstance(input.get("model"), Model):
            return input["model"]  # type: ignore[no-any-return]
        model_id, version_id = input.get("model_id"), input.get("model_version_id")
        if version_id is None:
            raise InvalidArgumentError(
                "there is nothing to evaluate",
                advice="the input wants service, model, or model_id and model_version_id",
            )
        return Model(id=model_id, version_id=version_id)

    def must_be_on_platform(self, why: str) -> None:
        """Raise InvalidArgumentError where the questions are rows of this machine."""
        source = self.eval_dataset.inner_data_source_cache
        if not isinstance(source, QianfanDataSource) or self.eval_dataset.is_changed:
            raise InvalidArgumentError(
                f"eval_dataset is not on the platform, and {why} that is",
                advice="save it there: dataset.save(replace_source=True, qianfan_dataset_create_args={…})",
            )

    def _remote(self) -> list[Any]:
        from qianfan.evaluation.evaluator import LocalEvaluator

        return [one for one in self.evaluators if not isinstance(one, LocalEvaluator)]

    def _manager(self) -> Any:
        from qianfan.evaluation import EvaluationManager
        from qianfan.evaluation.evaluator import Evaluator

        for one in self.evaluators:
            if not isinstance(one, Evaluator):
                raise InvalidArgumentError(
                    f"{one!r} is no evaluator", advice="give objects of LocalEvaluator or QianfanEvaluator"
                )
        remote = self._remote()
        local = [one for one in self.evaluators if one not in remote]
        return EvaluationManager(local_evaluators=local or None, qianfan_evaluators=remote or None)

    def to_state(self) -> Fields:
        return {
            **super().to_state(),
            "eval_dataset": self.eval_dataset,
            "evaluators": self.evaluators,
            "gate": self.gate,
        }


def _dataset(given: Any) -> Any:
    from qianfan.dataset import Dataset

    if isinstance(given, Dataset):
        return given
    if isinstance(given, (int, str)) and (str(given).isdigit() or str(given).startswith("ds-")):
        return Dataset(id=int(given) if str(given).isdigit() else given)
    raise InvalidArgumentError(
        f"eval_dataset cannot be {given!r}", advice="give Dataset.load(…), or the id of a dataset"
    )
