"""The evaluation at the end of a training, and by itself."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.dataset import Dataset
from qianfan.dataset.state import saved
from qianfan.errors import InvalidArgumentError, TrainingFailed
from qianfan.evaluation import LocalEvaluator, ManualEvaluatorDimension, QianfanManualEvaluator
from qianfan.model import Model, Service
from qianfan.trainer import EvaluateAction, Event, EventHandler, LLMFinetune
from qianfan.trainer.configs import DeployConfig
from qianfan.trainer.consts import ActionState, ServiceType

ROWS = [[{"prompt": "hi", "response": [["hello"]]}], [{"prompt": "bye", "response": [["see you"]]}]]


@saved
class Exact(LocalEvaluator):
    """1 where the answer is what was expected."""

    kind = "test-exact"

    def evaluate(self, input: Any, reference: str, output: str) -> dict[str, Any]:
        return {"exact": float(output == reference)}

    def to_state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Exact:
        return cls()


def test_a_training_ends_with_its_evaluation(platform: StubPlatform) -> None:
    """The deployed service answers; result, status and events are as documented."""
    heard: list[Event] = []

    class Ear(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_class == "EvaluateAction":
                heard.append(event)

    questions = Dataset.create_from_pyobj(ROWS)
    trainer = LLMFinetune(
        "ERNIE-Bot-turbo-0725",
        Dataset(id=1),
        deploy_config=DeployConfig(),
        event_handler=Ear(),
        eval_dataset=questions,
        evaluators=[Exact()],
    )
    assert trainer.get_evaluate_result() is None
    trainer.run()
    found = trainer.output["eval_res"]
    assert trainer.get_evaluate_result() is found
    (metrics,) = found.metrics.values()
    assert metrics == {"exact": 0.5}
    assert trainer.output["service_endpoint"] == "abcd_ep"
    assert trainer.status == "EvaluationFinished"
    assert [event.action_state.value for event in heard] == ["Preceding", "Running", "Done"]
    assert heard[1].data == {"llm": trainer.output["service"], "dataset": questions}
    again = LLMFinetune.load(trainer.id)
    assert again.get_evaluate_result().metrics == found.metrics


def test_the_platform_evaluates_a_model(platform: StubPlatform) -> None:
    """Without a service the model is asked; people score what is left to them, so there is no result yet."""
    action = EvaluateAction(Dataset(id=1), [QianfanManualEvaluator([ManualEvaluatorDimension("tone")])])
    result = action.exec({"model_id": 501, "model_version_id": 601})
    assert result == {"eval_res": None, "model_id": 501, "model_version_id": 601}
    (created,) = platform.bodies("modelrepo/eval/create")
    assert created["versionEvalInfo"] == [{"modelId": 501, "modelVersionId": 601}]
    assert action.resume() == result
    assert len(platform.bodies("modelrepo/eval/create")) == 1
    again = action.loads(action.dumps() or b"")
    assert [one["dimension"] for one in again.evaluators[0].conf()["evaluationDimension"]] == [
        "满意度",
        "tone",
    ]


def test_the_service_goes_before_the_model() -> None:
    """Then the model, then the ids."""
    action = EvaluateAction(Dataset(id=1), [Exact()])
    service, model = Service(endpoint="e", service_type=ServiceType.Chat), Model(id=1, version_id=2)
    assert action._llm({"service": service, "model": model}) is service
    assert action._llm({"model": model, "model_version_id": 3}) is model
    with pytest.raises(InvalidArgumentError, match="nothing to evaluate"):
        action.exec({})
    assert action.state is ActionState.Error


def test_evaluators_of_both_kinds_do_not_mix() -> None:
    """Said when the action is made; so is what is missing."""
    with pytest.raises(ValueError, match="do not go together"):
        EvaluateAction(Dataset(id=1), [Exact(), QianfanManualEvaluator([])])
    with pytest.raises(InvalidArgumentError, match="eval_dataset and evaluators"):
        EvaluateAction(Dataset(id=1))
    with pytest.raises(ValueError, match="run exec"):
        EvaluateAction(Dataset(id=1), [Exact()]).resume()


def test_questions_that_nobody_could_answer_are_refused_before_the_training() -> None:
    """A model that is not deployed answers a dataset of the platform, and so do the platform's evaluators."""
    here = Dataset.create_from_pyobj(ROWS)
    with pytest.raises(InvalidArgumentError, match="a model that is not deployed"):
        LLMFinetune("ERNIE-Bot-turbo-0725", 1, eval_dataset=here, evaluators=[Exact()])
    with pytest.raises(InvalidArgumentError, match="evaluators of the platform"):
        EvaluateAction(here, [QianfanManualEvaluator([])])
    with pytest.raises(InvalidArgumentError, match="eval_dataset cannot be 'questions"):
        EvaluateAction("questions.jsonl", [Exact()])
    with pytest.raises(InvalidArgumentError, match="'exact' is no evaluator"):
        EvaluateAction(1, ["exact"])
    assert EvaluateAction(1, [Exact()]).eval_dataset.is_dataset_located_in_qianfan()


def test_a_stop_ends_the_wait_for_a_models_answers(platform: StubPlatform) -> None:
    """Of evaluators of one's own, too; the state is Stopped."""
    platform.evaluation_words = ["Doing"]

    class Stops(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_state is ActionState.Running:
                threading.Timer(0.1, action.stop).start()

    action = EvaluateAction(1, [Exact()], event_handler=Stops())
    with pytest.raises(TrainingFailed, match="EvaluateAction was stopped"):
        action.exec({"model_id": 501, "model_version_id": 601})
    assert action.state is ActionState.Stopped
