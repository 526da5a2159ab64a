"""The four actions of a fine-tuning: load the dataset, train, publish, deploy."""

from __future__ import annotations

import difflib
import threading
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.contract import train_types
from qianfan.contract.enums import DataTemplateType, TrainDatasetType, TrainMode, TrainStatus
from qianfan.contract.ids import random_word
from qianfan.dataset import state as saved_state
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import Interrupted
from qianfan.errors import InternalError, InvalidArgumentError, TrainingFailed
from qianfan.resources import FineTune
from qianfan.trainer import configs, runs
from qianfan.trainer.base import BaseAction, RunStopped
from qianfan.trainer.consts import ActionState
from qianfan.trainer.model import Model, Service
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset import Dataset
    from qianfan.trainer.configs import DeployConfig, TrainConfig

Fields = dict[str, Any]
Id = int | str
CONVERSATION = DataTemplateType.NonSortedConversation


class _Step(BaseAction[Fields, Fields]):
    """An action that tells around `work`: Preceding before it, Done, Error or Stopped after it."""

    result: Fields | None = None

    def exec(self, input: Fields | None = None, **kwargs: Any) -> Fields:
        """Run the action once; the output is `{**input, …}`. kwargs: options of the calls it makes."""
        self._input, self.result = dict(input or {}), None
        return self._told(lambda: self._done(self._interruptible(self._input, kwargs)))

    def resume(self, **kwargs: Any) -> Fields:
        """Go on from the last input; what is done already is not done again."""
        if self.result is not None:
            return self._told(lambda: self._done(self.result))
        return self._told(lambda: self._done(self._interruptible(self._input or {}, kwargs, again=True)))

    @abstractmethod
    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        """The work itself. options: of the transport. again: it was begun before."""

    def _interruptible(self, input: Fields, kwargs: Fields, again: bool = False) -> Fields:
        try:
            return self.work(input, transport_options(kwargs), again)
        except Interrupted:
            raise RunStopped(f"{type(self).__name__} was stopped", advice="resume() goes on with it") from None

    def _done(self, result: Any) -> Fields:
        self.result = result
        return self.result  # type: ignore[return-value]


@saved_state.saved
class LoadDataSetAction(_Step):
    """Bring a dataset to the platform if it is not there, and release it.

    Output: `{"datasets": [{"id", "type": 1, "name"}]}`.

    dataset: a `Dataset`; rows of this machine are saved to the platform first. dataset_template: what it must
    be. generation: "v2" gives the shape of the V2 interface."""

    kind: ClassVar[str] = "load-dataset"
    dataset: Dataset | None = None

    def __init__(
        self,
        dataset: Dataset | None = None,
        dataset_template: DataTemplateType | None = None,
        generation: str = "v1",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.dataset_template = DataTemplateType(dataset_template) if dataset_template is not None else None
        self.generation = generation
        self._imported: QianfanDataSource | None = None  # where local rows were brought

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        source = self._on_platform(options, again)
        source.release_dataset(stop=self._stop, **options)
        if not source.is_released:
            raise InvalidArgumentError("dataset must be released", advice="release it in the console")
        return {**input, "datasets": self._output(source)}

    def _on_platform(self, options: Fields, again: bool) -> QianfanDataSource:
        if self.dataset is None:
            raise InvalidArgumentError("dataset must be set", advice="give dataset=Dataset.load(…)")
        source = getattr(self.dataset, "inner_data_source_cache", None)
        if not hasattr(self.dataset, "to_platform"):
            raise InvalidArgumentError(
                f"invalid dataset: {type(self.dataset).__name__}", advice="give a qianfan.dataset.Dataset"
            )
        if isinstance(source, QianfanDataSource) and self.dataset.is_dataset_located_in_qianfan():
            source.refresh(**options)
            self._check_template(source.template_type)
            return source
        if again and self._imported is not None:
            self._imported.wait_for_import(self._stop, **options)
            return self._imported
        template = self.dataset_template or CONVERSATION
        return self.dataset.to_platform(
            create_args={"template_type": template},
            only_annotated=template is CONVERSATION,
            on_import=lambda target: setattr(self, "_imported", target),
            stop=self._stop,
            **options,
        )

    def _check_template(self, template: DataTemplateType | None) -> None:
        wanted = self.dataset_template
        if wanted is not None and template is not None and template is not wanted:
            raise InvalidArgumentError(
                f"dataset must be `{wanted.name}` template, this one is `{template.name}`",
                advice="create the dataset with that template and import the rows again",
            )

    def _output(self, source: QianfanDataSource) -> Any:
        if self.generation == "v2":
            return {"sourceType": "Platform", "versions": [{"versionId": source.info.get("datasetPK", source.id)}]}
        number = source.old_dataset_id if source.old_dataset_id is not None else source.id
        return [{"id": number, "type": TrainDatasetType.Platform.value, "name": source.name}]

    def to_state(self) -> Fields:
        return {
            **super().to_state(),
            "dataset": self.dataset,
            "dataset_template": self.dataset_template,
            "generation": self.generation,
            "imported": self._imported,
        }

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        imported = state.pop("imported", None)
        action = super().from_state(state)
        action._imported = imported
        return action


@saved_state.saved
class TrainAction(_Step):
    """Create a training run and wait for its end.

    Input: `{"datasets": [{"type": 1, "id": 111}]}`. Output: `{**input, "task_id", "job_id"}`; it publishes
    nothing.

    train_type: e.g. "ERNIE-Bot-turbo-0725". train_config: default that of the train type. base_model: only
    wanted for a train type this release does not know. task_id: an existing container to run in.
    peft_type: where train_config has none. validate_strict: False lets a tuning method pass that is not
    documented for the train type. Train types of the V2 interface are trained through it; there task_id is
    the run and job_id the container."""

    kind: ClassVar[str] = "train"
    base_model: str | None = None
    is_incr: bool = False
    job_description: str | None = None
    job_id: Id | None = None
    result: Fields | None = None
    task_description: str | None = None
    task_id: Id | None = None
    task_name: str = ""
    train_config: TrainConfig | None = None
    train_mode: TrainMode = TrainMode.SFT
    train_type: str | None = ""

    def __init__(
        self,
        train_type: str | None = None,
        train_config: TrainConfig | None = None,
        base_model: str | None = None,
        task_id: Id | None = None,
        job_id: Id | None = None,
        train_mode: TrainMode | None = None,
        task_name: str | None = None,
        task_description: str | None = None,
        job_description: str | None = None,
        *,
        peft_type: str | None = None,
        validate_strict: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if train_type is None:
            raise InvalidArgumentError("train_type must be specified", advice='give e.g. "ERNIE-Bot-turbo-0725"')
        self.train_type, self.base_model = train_type, _base_model(train_type, base_model)
        self.train_mode = TrainMode(train_mode) if train_mode is not None else TrainMode.SFT
        self.is_incr = task_id is not None and job_id is not None
        self.task_id, self.job_id = task_id, job_id
        self.task_name = task_name or f"task_{random_word(10)}"
        self.task_description, self.job_description = task_description, job_description
        self.train_config = train_config if train_config is not None else self.get_default_train_config(train_type)
        self.peft_type = _peft(train_type, peft_type or self.train_config.peft_type, validate_strict)
        self.validate_strict = validate_strict
        self.last_detail: Any = None
        self._send_lock = threading.RLock()
        self._stop_sent: runs.Run | None = None
        self._options: Fields = {}

    def get_default_train_config(self, model_type: str) -> TrainConfig:
        """The documented defaults of a train type."""
        return configs.default_train_config(model_type)

    @property
    def is_v2(self) -> bool:
        """Whether this training goes through the V2 interface: its name or its mode is of V2 only."""
        row = train_types.find(self.train_type or "")
        return self.train_mode is not TrainMode.SFT or (row is not None and row.generation == "v2")

    @property
    def run(self) -> runs.Run | None:
        """The run as soon as it is created."""
        if self.task_id is None or self.job_id is None:
            return None
        return runs.Run(self.task_id, self.job_id)

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        self._options = options
        if self.is_incr and not again:
            raise NotImplementedError("training further from a finished run is not part of the V1 interface")
        run = self.run if again else None
        if run is not None:
            detail = run.look(**options)
            status = runs.status_of(detail)
            if status in (TrainStatus.Running, TrainStatus.Finish):
                self.action_event(ActionState.Running, "train resume", detail)
            else:
                logger.info("training run %s ended as %s; the task is run again", run, status.value)
                run = None
        if run is None:
            run = self._create(input.get("datasets"), options)
        try:
            status, detail = run.wait(self._looked, self._stop, **options)
        except Interrupted:
            self._send_stop(run, options)
            raise self._stopped(run) from None
        if status is TrainStatus.Stop:
            raise self._stopped(run)
        if status is not TrainStatus.Finish:
            raise TrainingFailed(
                f"training run {run} failed{runs.why(detail)}",
                advice="see trainer.get_log(); after a fix, trainer.resume() goes on from the last checkpoint",
            )
        return {**input, "task_id": self.task_id, "job_id": self.job_id}

    def stop(self, **kwargs: Any) -> None:
        """Stop the run on the platform; it is final there, `resume` makes a new one."""
        self._stop.set()
        run = self.run
        if run is None:
            logger.warning("the training has no ids yet; it is stopped as soon as it has")
        elif self.result is None:
            self._send_stop(run, {**self._options, **transport_options(kwargs)})
        self._tell_stopped()

    def to_state(self) -> Fields:
        own = "train_type train_config base_model task_id job_id train_mode task_name task_description".split()
        own += "job_description peft_type validate_strict is_incr".split()
        return {**super().to_state(), **{name: getattr(self, name) for name in own}}

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        is_incr = state.pop("is_incr")
        action = super().from_state(state)
        action.is_incr = is_incr
        return action

    def _looked(self, detail: Any) -> None:
        self.last_detail = detail
        self.action_event(ActionState.Running, "training", detail)

    def _send_stop(self, run: runs.Run, options: Fields) -> None:
        with self._send_lock:  # of two that stop, the second waits until the platform knows
            if self._stop_sent != run:
                run.stop(**options)
                self._stop_sent = run

    def _stopped(self, run: runs.Run) -> RunStopped:
        return RunStopped(
            f"training run {run} was stopped",
            advice="trainer.resume() trains again: from the last checkpoint here, from the beginning on the cloud",
        )

    def _create(self, datasets: Any, options: Fields) -> runs.Run:
        if not datasets:
            raise InvalidArgumentError("train set must be set", advice='the input is {"datasets": [{"type": 1, …}]}')
        return (self._create_v2 if self.is_v2 else self._create_v1)(datasets, options)

    def _create_v1(self, datasets: Any, options: Fields) -> runs.Run:
        assert self.train_config is not None
        if isinstance(datasets, Mapping) or not all(isinstance(item, Mapping) for item in datasets):
            raise InvalidArgumentError(
                "the datasets are not of the V1 shape", advice='give [{"type": 1, "id": 111}], one for each dataset'
            )
        if self.task_id is None:
            created = FineTune.create_task(
                name=self.task_name,
                base_train_type=self.base_model,
                train_type=self.train_type,
                description=self.task_description,
                **options,
            )
            self.task_id = created["result"]["id"]
        job: Fields = {
            "taskId": self.task_id,
            "baseTrainType": self.base_model,
            "trainType": self.train_type,
            "trainMode": self.train_mode.value,
            "peftType": configs.v1_peft(self.peft_type),
            "trainConfig": self._hyper_parameters(),
            "trainset": [{"type": item.get("type", 1), "id": item["id"]} for item in datasets],
            "trainsetRate": self.train_config.trainset_rate,
        }
        if self.job_description is not None:
            job["description"] = self.job_description
        self.job_id = FineTune.create_job(job, **options)["result"]["id"]
        return self._created()

    def _create_v2(self, datasets: Any, options: Fields) -> runs.Run:
        assert self.train_config is not None
        if not isinstance(datasets, Mapping):
            datasets = {"sourceType": "Platform", "versions": [{"versionId": item["id"]} for item in datasets]}
        if self.job_id is None:
            created = FineTune.V2.create_job(
                name=self.task_name,
                model=self.train_type,
                train_mode=self.train_mode.value,
                description=self.task_description,
                **options,
            )
            self.job_id = created["result"]["jobId"]
        self.task_id = FineTune.V2.create_task(
            self.job_id,
            configs.v2_peft(self.peft_type),
            self._hyper_parameters(),
            {"splitRatio": self.train_config.trainset_rate, **datasets},
            **options,
        )["result"]["taskId"]
        return self._created()

    def _created(self) -> runs.Run:
        run = self.run
        assert run is not None
        logger.info("training run %s is created", run)
        return run

    def _hyper_parameters(self) -> Fields:
        """What the user set, and the one member without which the cloud refuses some train types."""
        assert self.train_config is not None
        given = self.train_config.hyper_parameters()
        row = train_types.find(self.train_type or "")
        if row is not None and "maxSeqLen" in row.ranges and "maxSeqLen" in row.defaults:
            given.setdefault("maxSeqLen", row.defaults["maxSeqLen"])
        return given


@saved_state.saved
class ModelPublishAction(_Step):
    """Publish a training run as a model and wait until it is ready.

    Input: `{"task_id", "job_id"}`, and `name` of the model if wanted.
    Output: `{**input, "model_id", "model_version_id", "model"}`."""

    kind: ClassVar[str] = "publish"
    job_id: Id | None = None
    model: Model | None = None
    result: Fields | None = None
    task_id: Id | None = None

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        if not again or self.model is None:
            self.task_id, self.job_id = _id(input, "task_id"), _id(input, "job_id")
            self.model = Model(task_id=self.task_id, job_id=self.job_id)
        ids = {"task_id": self.task_id, "job_id": self.job_id}
        self.action_event(ActionState.Running, "publishing", ids)
        self.model.publish(input.get("name") or "", stop=self._stop, **options)
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
        own = {name: state.pop(name) for name in ("model", "task_id", "job_id")}
        action = super().from_state(state)
        for name, value in own.items():
            setattr(action, name, value)
        return action


@saved_state.saved
class DeployAction(_Step):
    """Deploy a published model and wait until it answers.

    Input: `model`, or `model_id` and `model_version_id`.
    Output: `{**input, "service_id", "service_endpoint", "service", "model"}`."""

    kind: ClassVar[str] = "deploy"
    deploy_config: DeployConfig | None
    model_id: Id | None
    model_version_id: Id | None
    result: Fields | None = None

    def __init__(self, deploy_config: DeployConfig | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deploy_config = deploy_config
        self.model_id = None
        self.model_version_id = None
        self.model: Model | None = None

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        if self.deploy_config is None:
            raise InvalidArgumentError("deploy_config must be set", advice="give deploy_config=DeployConfig()")
        if not again or self.model is None:
            self.model = self._model(input)
        self.model_id, self.model_version_id = self.model.id, self.model.version_id
        self.action_event(ActionState.Running, "deploying", {"model": self.model})
        service = self.model.deploy(self.deploy_config, stop=self._stop, **options)
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
        if None in ids:
            raise InvalidArgumentError(
                "there is no model to deploy", advice="the input wants model, or model_id and model_version_id"
            )
        return Model(id=ids[0], version_id=ids[1])

    def to_state(self) -> Fields:
        own = {"deploy_config": self.deploy_config, "model": self.model}
        return {**super().to_state(), **own}

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        model = state.pop("model", None)
        action = super().from_state(state)
        if model is not None:
            action.model, action.model_id, action.model_version_id = model, model.id, model.version_id
        return action


def _id(input: Fields, name: str) -> Id:
    value = input.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidArgumentError(f"the input has no {name}", advice="publish what TrainAction returned")
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _base_model(train_type: str, base_model: str | None) -> str:
    """The base that belongs to a train type. Raises InvalidArgumentError that names what was meant."""
    table = train_types.table()
    bases = sorted({row.base for row in table.values()})
    if base_model is not None:
        if base_model not in bases:
            raise InvalidArgumentError(
                f"there is no base model {base_model!r}", advice=_near(base_model, bases, "base_model")
            )
        return base_model
    row = table.get(train_type)
    if row is None:
        raise InvalidArgumentError(
            f"there is no train type {train_type!r}, and base_model is empty",
            advice=_near(train_type, list(table), "train_type"),
        )
    return row.base


def _near(name: str, known: list[str], what: str) -> str:
    lower = {word.lower(): word for word in known}
    near = [lower[word] for word in difflib.get_close_matches(name.lower(), lower, 3, 0.5)]
    return f"{what} may be {', '.join(near or known)}"


def _peft(train_type: str, word: str | None, strict: bool) -> str:
    """The tuning method in the words of V1; the default of the train type when there is none."""
    row = train_types.find(train_type) or train_types.table()[train_types.DEFAULT]
    if word is None:
        return str(row.defaults.get("peftType", "LoRA"))
    method = configs.TrainConfig(peft_type=word).peft_type or "LoRA"
    method = configs.v1_peft(method)
    if method not in row.peft and strict and row.name == train_type:
        raise InvalidArgumentError(
            f"{train_type} cannot be tuned by {word}", advice=f"peft_type may be {', '.join(row.peft)}"
        )
    return method
