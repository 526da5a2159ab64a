"""`LLMFinetune`: a whole fine-tuning in one call."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qianfan.config import get_config
from qianfan.contract.enums import DataTemplateType, TrainMode
from qianfan.dataset import state as saved_state
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model.log import TrainLog
from qianfan.trainer import live
from qianfan.trainer.actions import DeployAction, LoadDataSetAction, ModelPublishAction, TrainAction
from qianfan.trainer.base import BaseAction, Pipeline, Trainer
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.configs import DeployConfig, TrainConfig
    from qianfan.trainer.event import EventHandler

_OF_TRAINING: Final = frozenset(
    [
        "task_id",
        "job_id",
        "train_mode",
        "task_name",
        "task_description",
        "job_description",
        "peft_type",
        "validate_strict",
    ]
)
_LATER: Final = frozenset(
    ["eval_dataset", "evaluators", "dataset_bos_path", "previous_trainer", "previous_task_id"]
)
_OTHER: Final = frozenset({"name", "job_name", "model_not_publish"})


@saved_state.saved
class LLMFinetune(Trainer):
    """Supervised fine-tuning: load the dataset, train, publish, and deploy when there is a deploy_config.

    train_type: what to train, e.g. "ERNIE-Bot-turbo-0725". dataset: conversations with answers, on the
    platform or of this machine. train_config: a TrainConfig, or the path of one; default that of the train
    type. event_handler: hears every event. base_model: only for a train type this release does not know.
    kwargs: name or task_name, task_description, job_description, peft_type, validate_strict, train_mode,
    model_not_publish.

    Raises InvalidArgumentError for what cannot work, before anything is sent."""

    kind: ClassVar[str] = "llm-finetune"

    def __init__(
        self,
        train_type: str,
        dataset: Any,
        train_config: TrainConfig | None = None,
        deploy_config: DeployConfig | None = None,
        event_handler: EventHandler | None = None,
        base_model: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._check_names(kwargs)
        if dataset is None:
            raise InvalidArgumentError("dataset must be set", advice="give dataset=Dataset.load(…)")
        if isinstance(train_config, (str, Path)):
            from qianfan.trainer.configs import TrainConfig

            train_config = TrainConfig.load(train_config)
        training = {name: value for name, value in kwargs.items() if name in _OF_TRAINING}
        training.setdefault("task_name", kwargs.get("name") or kwargs.get("job_name"))
        train = TrainAction(train_type, train_config, base_model, event_handler=event_handler, **training)
        text = train.train_mode is TrainMode.PostPretrain
        load = LoadDataSetAction(
            dataset,
            DataTemplateType.GenericText if text else DataTemplateType.NonSortedConversation,
            "v2" if train.is_v2 else "v1",
            event_handler=event_handler,
        )
        source = getattr(dataset, "inner_data_source_cache", None)
        load._check_template(getattr(source, "template_type", None))
        actions: list[BaseAction[Any, Any]] = [load, train]
        if not text and not kwargs.get("model_not_publish"):
            actions.append(ModelPublishAction(event_handler=event_handler))
            if deploy_config is not None:
                actions.append(DeployAction(deploy_config, event_handler=event_handler))
        self.ppls = [Pipeline(actions, event_handler=event_handler)]
        self.result = [None]

    def run(self, **kwargs: Any) -> Trainer:
        """Run the whole training and wait for its end; `trainer.result[0]` is what it left. Returns self.

        input: the first action's input, such as {"name": "my_model"}. show_progress: True or False; by
        default a bar is shown on a terminal and in a notebook. Other keywords are options of the calls, such as
        retry_count and request_timeout. A failure is kept as `{"error": exception}` in `result[0]` and raised.
        Raises InvalidArgumentError when the trainer has no pipeline."""
        input = kwargs.pop("input", None)
        return self._drive(lambda pipeline, options: pipeline.exec(input, **options), kwargs)

    def resume(self, **kwargs: Any) -> LLMFinetune:
        """Go on after a stop or a failure, also in another process after `loads`. Returns self.

        A run that still goes on is waited for; one that was stopped or failed is created again for the same
        task: this platform starts it from its last checkpoint, the cloud from the beginning."""
        return self._drive(lambda pipeline, options: pipeline.resume(**options), kwargs)

    def stop(self, **kwargs: Any) -> Trainer:
        """Stop the training, from another thread or from an event handler. Returns self.

        `run()` raises TrainingFailed then. Raises InternalError when nothing was started."""
        self._only_pipeline().stop(**kwargs)
        return self

    @property
    def output(self) -> Any:
        """The same as `result[0]`."""
        return self.result[0] if self.result else None

    def get_log(self) -> TrainLog:
        """The log of the run so far: a list of lines with `metrics` and `ledger`.

        Raises InternalError before there is a run, and on a platform that keeps no log."""
        for action in self.actions.values():
            if isinstance(action, TrainAction) and action.run is not None:
                return action.run.log()
        raise InternalError(
            "there is no log yet: no training run was created", advice="run the trainer first"
        )

    def dumps(self) -> bytes:
        """The trainer with all its actions as versioned JSON, at any step."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> LLMFinetune:
        """A new trainer of what `dumps` wrote; `resume()` goes on with it. Pickled bytes raise UnsafeState."""
        from qianfan.trainer import loads

        return loads(data, LLMFinetune)  # type: ignore[no-any-return]

    def to_state(self) -> dict[str, Any]:
        """What is saved; handlers are not."""
        return {"pipeline": self._only_pipeline(), "result": self.result}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> LLMFinetune:
        """A trainer of a saved state."""
        trainer = cls.__new__(cls)
        trainer.ppls, trainer.result = [state["pipeline"]], state["result"]
        return trainer

    def _drive(self, work: Callable[[Pipeline, dict[str, Any]], Any], kwargs: dict[str, Any]) -> LLMFinetune:
        pipeline = self._only_pipeline()
        asked = kwargs.pop("show_progress", None)
        config = get_config()
        options = {
            "backoff_factor": config.TRAINER_STATUS_POLLING_BACKOFF_FACTOR,
            "retry_count": config.TRAINER_STATUS_POLLING_RETRY_TIMES,
            **kwargs,
        }
        self.result = [None]
        try:
            with live.shown(pipeline, asked):
                self.result[0] = work(pipeline, options)
        except Exception as error:
            self.result[0] = {"error": error}
            raise
        return self

    @staticmethod
    def _check_names(kwargs: dict[str, Any]) -> None:
        for name in sorted(_LATER & kwargs.keys()):
            if kwargs[name] is not None:
                raise InvalidArgumentError(
                    f"LLMFinetune({name}=…) is not part of this release", advice="leave it out"
                )
        known = [*_OF_TRAINING, *_OTHER, *_LATER]
        for name in kwargs.keys() - set(known):
            near = difflib.get_close_matches(name, known, 1)
            logger.warning(
                "LLMFinetune has no argument %r, so it is ignored%s",
                name,
                f"; did you mean {near[0]!r}?" if near else "",
            )
