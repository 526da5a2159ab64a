"""The actions of a training: load the dataset, train, publish, deploy, evaluate. Two of them are written here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.dataset import state as saved_state
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.trainer.base import BaseAction
from qianfan.trainer.configs import DeployConfig
from qianfan.trainer.consts import ActionState
from qianfan.trainer.evaluating import EvaluateAction
from qianfan.trainer.loading import LoadDataSetAction
from qianfan.trainer.model import Model, Service
from qianfan.trainer.steps import Fields, Id, Step
from qianfan.trainer.training import TrainAction

if TYPE_CHECKING:
    from qianfan.trainer.event import EventHandler

__all__ = [
    "BaseAction",
    "DeployAction",
    "EvaluateAction",
    "LoadDataSetAction",
    "ModelPublishAction",
    "TrainAction",
]


@saved_state.saved
class ModelPublishAction(Step):
    """Publish a training run as a model and wait until it is ready.

    Input: `{"task_id", "job_id"}`, unless they were given to the constructor, and `name` of the model if wanted.
    Output: `{**input, "model_id", "model_version_id", "model"}`."""

    kind: ClassVar[str] = "publish"
    job_id: Id | None = None
    model: Model | None = None
    result: Fields | None = None
    task_id: Id | None = None

    def __init__(
        self,
        id: str | None = None,
        name: str | None = None,
        event_handler: EventHandler | None = None,
        *,
        task_id: Id | None = None,
        job_id: Id | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(id, name, event_handler, **kwargs)
        self.task_id, self.job_id = task_id, job_id

    def _renew(self, input: Any) -> None:
        super()._renew(input)
        self.model = None

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        if not again or self.model is None:
            self.task_id = _id(input, "task_id", self.task_id)
            self.job_id = _id(input, "job_id", self.job_id)
            self.model = Model(task_id=self.task_id, job_id=self.job_id)
        ids = {"task_id": self.task_id, "job_id": self.job_id}
        self.action_event(ActionState.Running, "publishing", ids)
        self.model.publish(input.get("name") or "", stop=self._stop, begun=self._note, **options)
        return {
            **input,
            **ids,
            "model_id": self.model.id,
            "model_version_id": self.model.version_id,
            "model": self.model,
        }

    def to_state(self) -> Fields:
        return {**super().to_state(), "model": self.model, "task_id": self.task_id, "job_id": self.job_id}

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        model = state.pop("model")
        action = super().from_state(state)
        action.model = model
        return action


@saved_state.saved
class DeployAction(Step):
    """Deploy a published model and wait until it answers.

    deploy_config: a DeployConfig, a dict of its fields, or the path of one.
    Input: `model`, or `model_id` and `model_version_id`, unless they were given to the constructor.
    Output: `{**input, "service_id", "service_endpoint", "service", "model"}`."""

    kind: ClassVar[str] = "deploy"
    deploy_config: DeployConfig | None
    model_id: Id | None
    model_version_id: Id | None
    result: Fields | None = None

    def __init__(
        self,
        deploy_config: DeployConfig | None = None,
        *,
        model_id: Id | None = None,
        model_version_id: Id | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deploy_config = DeployConfig.of(deploy_config)
        self.model_id, self.model_version_id = model_id, model_version_id
        self.model: Model | None = None

    def _renew(self, input: Any) -> None:
        super()._renew(input)
        self.model = None

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        if self.deploy_config is None:
            raise InvalidArgumentError(
                "deploy_config must be set", advice="give deploy_config=DeployConfig()"
            )
        if not again or self.model is None:
            self.model = self._model(input)
        self.model_id, self.model_version_id = self.model.id, self.model.version_id
        self.action_event(ActionState.Running, "deploying", {"model": self.model})
        service = self.model.deploy(self.deploy_config, stop=self._stop, begun=self._note, **options)
        if not isinstance(service, Service) or self.model.service is None:
            raise InternalError("model.service is not available", advice="deploy the model again")
        return {
            **input,
            "service_id": service.id,
            "service_endpoint": service.endpoint,
            "service": service,
            "model": self.model,
        }

    def _model(self, input: Fields) -> Model:
        if isinstance(input.get("model"), Model):
            return input["model"]  # type: ignore[no-any-return]
        ids = input.get("model_id"), input.get("model_version_id")
        if ids == (None, None):
            ids = self.model_id, self.model_version_id
        if None in ids:
            raise InvalidArgumentError(
                "there is no model to deploy",
                advice="the input wants model, or model_id and model_version_id",
            )
        return Model(id=ids[0], version_id=ids[1])

    def to_state(self) -> Fields:
        own = {
            name: getattr(self, name) for name in ("deploy_config", "model", "model_id", "model_version_id")
        }
        return {**super().to_state(), **own}

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        model = state.pop("model", None)
        action = super().from_state(state)
        action.model = model
        return action


def _id(input: Fields, name: str, given: Id | None) -> Id:
    value = given if input.get(name) is None else input[name]
    if value is None or isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidArgumentError(f"the input has no {name}", advice="publish what TrainAction returned")
    return int(value) if isinstance(value, str) and value.isdigit() else value
