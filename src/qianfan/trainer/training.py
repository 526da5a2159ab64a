"""The second action: a training run is created and waited for."""

from __future__ import annotations

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
from qianfan.trainer import configs, limits
from qianfan.trainer.base import RunStopped
from qianfan.trainer.consts import ActionState
from qianfan.trainer.steps import Fields, Id, Step
from qianfan.trainer.trainsets import as_v1, as_v2
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.configs import TrainConfig


@saved_state.saved
class TrainAction(Step):
    """Create a training run and wait for its end.

    Input: `{"datasets": [{"type": 1, "id": 111}]}`. Output: `{**input, "task_id", "job_id"}`; it publishes
    nothing. Where the platform tells them, `metrics` and `checkpoints` are in the output, too.

    train_type: e.g. "ERNIE-Bot-turbo-0725". train_config: a TrainConfig, a dict of its fields, or the path of one;
    default that of the train type. base_model: only
    wanted for a train type this release does not know. peft_type: where train_config has none.
    validate_strict: False lets pass what only the platform knows: a train type of its own, values outside the
    cloud's limits; True compares with these limits for V1, too.

    Train types of the V2 interface, and all modes but SFT, are trained through it; there task_id is the run and
    job_id the container. task_id alone is a container to run in (V1). Both ids, or a `task-…`, name an earlier
    run to go on from (`is_incr`); train_type may be left out then. previous: the same as a run."""

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
        train_mode: TrainMode | str | None = None,
        task_name: str | None = None,
        task_description: str | None = None,
        job_description: str | None = None,
        *,
        peft_type: str | None = None,
        validate_strict: bool | None = None,
        job_name: str | None = None,
        previous: runs.Run | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._previous = previous or _earlier(task_id, job_id)
        self.is_incr = self._previous is not None
        self.task_id, self.job_id = task_id, job_id
        self.run: runs.Run | None = None  # as soon as it is created
        self._public_id: str | None = None  # `task-…` of a run of V1
        told = train_type is None and self._previous is not None  # the platform's own word is not doubted
        if train_type is None and self._previous is not None:
            train_type = self._previous.train_type()
            if not train_type:
                raise InvalidArgumentError(
                    f"the platform does not tell what training run {self._previous} trains",
                    advice="give train_type",
                )
        if train_type is None:
            raise InvalidArgumentError(
                "train_type must be specified", advice='give e.g. "ERNIE-Bot-turbo-0725"'
            )
        train_config = configs.TrainConfig.of(train_config)
        strict = validate_strict is not False
        self.train_type = train_type
        self.base_model = limits.base_model_of(train_type, base_model, strict and not told)
        self.train_mode = limits.mode_of(train_mode)
        if task_name and job_name and task_name != job_name:
            raise InvalidArgumentError("TrainAction got task_name and job_name", advice="give one of them")
        self.task_name = task_name or job_name or f"task_{random_word(10)}"
        self.task_description, self.job_description = task_description, job_description
        word = peft_type if train_config is None else train_config.peft_type or peft_type
        self.peft_type = limits.method_of(train_type, self.train_mode, word, strict)
        self.validate_strict = validate_strict
        if train_config is None:
            self.train_config = limits.defaults_of(train_type, self.train_mode, self.peft_type)
        else:
            self.train_config = train_config
            limits.check(train_config, train_type, self.train_mode, self.peft_type, validate_strict)
        self.last_detail: Any = None
        self._send_lock = threading.RLock()
        self._stop_sent: runs.Run | None = None
        self._options: Fields = {}
        self._warned: set[str] = set()

    def get_default_train_config(self, model_type: str) -> TrainConfig:
        """The documented defaults of a train type."""
        return limits.defaults_of(model_type)

    @property
    def is_v2(self) -> bool:
        """Whether this training goes through the V2 interface: its name, its mode or what it goes on from is
        of V2 only."""
        row = train_types.find(self.train_type or "")
        of_v2 = row is not None and row.generation == "v2"
        return self.train_mode is not TrainMode.SFT or of_v2 or _is_v2(self._previous)

    @property
    def reference(self) -> runs.Run | None:
        """The run as another training goes on from it: with its mode, and its `task-…` where that is known."""
        if self.run is None:
            return None
        return runs.Run(self.run.task_id, self.run.job_id, self._public_id, self.train_mode)

    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        self._options = options
        if again and self.run is None and self._input is None:
            self.run = _earlier(self.task_id, self.job_id)  # never executed: the run to wait for is theirs
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
            run = self._create(input, options)
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
                advice=f"see trainer.get_log() or `qianfan finetune log {run.run_id}`; "
                "after a fix, trainer.resume() goes on from the last checkpoint",
            )
        return {**input, "task_id": run.task_id, "job_id": run.job_id, **runs.findings(detail)}

    def stop(self, **kwargs: Any) -> None:
        """Stop the run on the platform; it is final there, `resume` makes a new one."""
        self._stop.set()
        if self.run is None:
            logger.warning("the training has no ids yet; it is stopped as soon as it has")
        elif self.result is None:
            self._send_stop(self.run, {**self._options, **transport_options(kwargs)})
        self._tell_stopped()

    def _renew(self, input: Any) -> None:
        super()._renew(input)
        self.run, self._public_id, self.last_detail = None, None, None

    def _is_unended(self) -> bool:
        return self.run is not None and self.state in (ActionState.Preceding, ActionState.Running)

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
        own += ["job_description", "peft_type", "validate_strict"]
        return {
            **super().to_state(),
            **{name: getattr(self, name) for name in own},
            "created": runs.ids(self.run),
            "previous": runs.ids(self._previous),
            "public_id": self._public_id,
        }

    @classmethod
    def from_state(cls, state: Fields) -> Any:
        ids = {name: state.pop(name) for name in ("task_id", "job_id", "public_id")}
        created, previous = (runs.of(state.pop(name)) for name in ("created", "previous"))
        action = super().from_state({**state, "previous": previous})
        action.task_id, action.job_id, action._public_id = ids.values()
        action.run = created
        return action

    def _looked(self, detail: Any) -> None:
        self.last_detail = detail
        for warning in progress_of(detail).get("warnings") or ():
            if not self._shown and warning not in self._warned:  # else the progress shows it
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

    def _create(self, input: Fields, options: Fields) -> runs.Run:
        if not input.get("datasets"):
            raise InvalidArgumentError(
                "train set must be set", advice='the input is {"datasets": [{"type": 1, …}]}'
            )
        run = (self._create_v2 if self.is_v2 else self._create_v1)(input, options)
        self.run, self.task_id, self.job_id = run, run.task_id, run.job_id
        self._note()
        logger.info("training run %s is created", run)
        return run

    def _create_v1(self, input: Fields, options: Fields) -> runs.Run:
        assert self.train_config is not None
        trainset, split = as_v1(input["datasets"]), self.train_config.trainset_rate
        if isinstance(input["datasets"], Mapping):
            split = input["datasets"].get("splitRatio", split)
        if self.task_id is None and self._previous is not None:
            self.task_id = self._previous.task_id
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
            "trainset": trainset,
            "trainsetRate": input.get("eval_split_ratio", split),
        }
        if self._previous is not None:
            job["jobRunType"] = 1
            job["increConfig"] = {"taskId": self._previous.task_id, "jobId": self._previous.job_id}
        if self.job_description is not None:
            job["description"] = self.job_description
        answer = FineTune.create_job(job, **options)["result"]
        self._public_id = answer.get("uuid")
        return runs.Run(self.task_id, answer["id"])

    def _create_v2(self, input: Fields, options: Fields) -> runs.Run:
        assert self.train_config is not None
        own = self._previous is None or str(self.job_id).startswith("job-")
        container = self.job_id if own else self._container_of_previous()
        if container is None:
            created = FineTune.V2.create_job(
                name=self.task_name,
                model=str(self.train_type),
                train_mode=self.train_mode.value,
                description=self.task_description,
                **options,
            )
            container = self.job_id = created["result"]["jobId"]
        split = input.get("eval_split_ratio", self.train_config.trainset_rate)
        task = FineTune.V2.create_task(
            str(container),
            configs.v2_peft(self.peft_type),
            self._hyper_parameters(),
            {"splitRatio": split, **as_v2(input["datasets"])},
            increment_task_id=None if self._previous is None else str(self._previous.public_id(**options)),
            corpusConfig=input.get("corpus_config"),
            **options,
        )["result"]["taskId"]
        return runs.Run(task, container)

    def _container_of_previous(self) -> Id | None:
        """Where an increment of the same mode runs: beside the run that it goes on from."""
        before = self._previous
        if before is None or not before.is_v2 or before.mode is not self.train_mode:
            return None
        return before.job_id or None

    def _hyper_parameters(self) -> Fields:
        """What the user set, and the one member without which the cloud refuses some train types."""
        assert self.train_config is not None
        given = self.train_config.hyper_parameters()
        row = train_types.find(self.train_type or "")
        if row is not None and "maxSeqLen" in row.ranges and "maxSeqLen" in row.defaults:
            given.setdefault("maxSeqLen", row.defaults["maxSeqLen"])
        return given


def _is_v2(run: runs.Run | None) -> bool:
    return run is not None and run.is_v2


def _earlier(task_id: Id | None, job_id: Id | None) -> runs.Run | None:
    """The earlier run that two constructor arguments name: a `task-…`, or both ids of V1."""
    if str(task_id).startswith("task-"):
        return runs.Run(str(task_id), job_id if job_id is not None else "")
    return None if task_id is None or job_id is None else runs.Run(task_id, job_id)
