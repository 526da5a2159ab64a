"""The second action: a training run is created and waited for."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.contract import train_types
from qianfan.contract.enums import TrainMode, TrainStatus
from qianfan.contract.ids import random_word
from qianfan.dataset import state as saved_state
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import Interrupted, progress_of
from qianfan.errors import InvalidArgumentError, TrainingFailed
from qianfan.model import runs
from qianfan.resources import FineTune
from qianfan.trainer import configs
from qianfan.trainer.base import RunStopped
from qianfan.trainer.consts import ActionState
from qianfan.trainer.steps import Fields, Id, Step
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.configs import TrainConfig


@saved_state.saved
class TrainAction(Step):
    """Create a training run and wait for its end.

    Input: `{"datasets": [{"type": 1, "id": 111}]}`. Output: `{**input, "task_id", "job_id"}`; it publishes
    nothing.

    train_type: e.g. "ERNIE-Bot-turbo-0725". train_config: default that of the train type. base_model: only
    wanted for a train type this release does not know. task_id: an existing container to run in.
    peft_type: where train_config has none. validate_strict: False lets pass what only the platform knows: a
    train type of its own, a tuning method that is not documented for a train type. Train types of the V2 interface are trained through it; there task_id is
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
            raise InvalidArgumentError(
                "train_type must be specified", advice='give e.g. "ERNIE-Bot-turbo-0725"'
            )
        self.train_type, self.base_model = train_type, _base_model(train_type, base_model, validate_strict)
        self.train_mode = TrainMode(train_mode) if train_mode is not None else TrainMode.SFT
        self.is_incr = task_id is not None and job_id is not None
        self.task_id, self.job_id = task_id, job_id
        self.task_name = task_name or f"task_{random_word(10)}"
        self.task_description, self.job_description = task_description, job_description
        self.train_config = (
            train_config if train_config is not None else self.get_default_train_config(train_type)
        )
        self.peft_type = _peft(train_type, peft_type or self.train_config.peft_type, validate_strict)
        self.validate_strict = validate_strict
        self.last_detail: Any = None
        self._send_lock = threading.RLock()
        self._stop_sent: runs.Run | None = None
        self._options: Fields = {}
        self._warned: set[str] = set()

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
        own = [
            "train_type",
            "train_config",
            "base_model",
            "task_id",
            "job_id",
            "train_mode",
            "task_name",
            "task_description",
        ]
        own += ["job_description", "peft_type", "validate_strict", "is_incr"]
        return {**super().to_state(), **{name: getattr(self, name) for name in own}}

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        is_incr = state.pop("is_incr")
        action = super().from_state(state)
        action.is_incr = is_incr
        return action

    def _looked(self, detail: Any) -> None:
        self.last_detail = detail
        for warning in progress_of(detail).get("warnings") or ():
            if self._observer is None and warning not in self._warned:  # else the progress shows it
                self._warned.add(warning)
                logger.warning("training run %s: %s", self.run, warning)
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
            raise InvalidArgumentError(
                "train set must be set", advice='the input is {"datasets": [{"type": 1, …}]}'
            )
        return (self._create_v2 if self.is_v2 else self._create_v1)(datasets, options)

    def _create_v1(self, datasets: Any, options: Fields) -> runs.Run:
        assert self.train_config is not None
        if isinstance(datasets, Mapping) or not all(isinstance(item, Mapping) for item in datasets):
            raise InvalidArgumentError(
                "the datasets are not of the V1 shape",
                advice='give [{"type": 1, "id": 111}], one for each dataset',
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
            datasets = {
                "sourceType": "Platform",
                "versions": [{"versionId": item["id"]} for item in datasets],
            }
        if self.job_id is None:
            created = FineTune.V2.create_job(
                name=self.task_name,
                model=str(self.train_type),
                train_mode=self.train_mode.value,
                description=self.task_description,
                **options,
            )
            self.job_id = created["result"]["jobId"]
        self.task_id = FineTune.V2.create_task(
            str(self.job_id),
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


def _base_model(train_type: str, base_model: str | None, strict: bool) -> str:
    """The base that belongs to a train type. Raises InvalidArgumentError that names what was meant."""
    if not strict and train_types.find(train_type) is None:
        return base_model or train_type
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
    return (
        f"{what} may be {', '.join(near or known)}; validate_strict=False passes a name of your own platform"
    )


def _peft(train_type: str, word: str | None, strict: bool) -> str:
    """The tuning method in the words of V1; the default of the train type when there is none."""
    row = train_types.find(train_type) or train_types.table()[train_types.DEFAULT]
    if word is None:
        return str(row.defaults.get("peftType", "LoRA"))
    try:
        method = configs.v1_peft(configs.peft_word(word))
    except ValueError as error:
        raise InvalidArgumentError(f"peft_type cannot be {word!r}: {error}") from None
    if method not in row.peft and strict and row.name == train_type:
        raise InvalidArgumentError(
            f"{train_type} cannot be tuned by {word}", advice=f"peft_type may be {', '.join(row.peft)}"
        )
    return method
