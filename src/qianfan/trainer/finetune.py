"""`LLMFinetune`: a whole fine-tuning in one call. Its later name is `Finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.contract.enums import TrainMode
from qianfan.dataset import state as saved_state
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import limits, recipes
from qianfan.trainer.running import PipelineTrainer

if TYPE_CHECKING:
    from qianfan.trainer.base import Trainer
    from qianfan.trainer.configs import DeployConfig, TrainConfig
    from qianfan.trainer.event import EventHandler


@saved_state.saved
class LLMFinetune(PipelineTrainer):
    """Supervised fine-tuning: load the dataset, train, publish, deploy when there is a deploy_config, evaluate
    when there are evaluators.

    train_type: what to train, e.g. "ERNIE-Bot-turbo-0725"; that of the previous run when it is left out.
    dataset: conversations with answers, on the platform or of this machine; also an id, or a DatasetConfig.
    train_config: a TrainConfig, or the path of one; default that of the train type. event_handler: hears every
    event. base_model: only for a train type this release does not know. eval_dataset, evaluators, gate:
    see `EvaluateAction`; with a gate it stands before the deployment. dataset_bos_path: in place of a dataset. previous_trainer, previous_task_id: the trainer,
    or the `task-…`, whose run is gone on from.
    kwargs: name or task_name, task_description, job_description, peft_type, validate_strict, model_not_publish,
    train_mode.

    Raises InvalidArgumentError for what cannot work, before anything is sent."""

    kind: ClassVar[str] = "llm-finetune"

    def __init__(
        self,
        train_type: str | None = None,
        dataset: Any = None,
        train_config: TrainConfig | None = None,
        deploy_config: DeployConfig | None = None,
        event_handler: EventHandler | None = None,
        base_model: str | None = None,
        *,
        eval_dataset: Any = None,
        evaluators: Sequence[Any] | None = None,
        gate: Any = None,
        dataset_bos_path: str | None = None,
        previous_trainer: Trainer | None = None,
        previous_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        mode = limits.mode_of(kwargs.pop("train_mode", None) or self.train_mode)
        if self.train_mode != TrainMode.SFT.value and mode != self.train_mode:
            raise InvalidArgumentError(
                f"{type(self).__name__} trains by {self.train_mode}, not by {mode.value}",
                advice="leave train_mode out, or take LLMFinetune",
            )
        self.ppls = [
            recipes.pipeline(
                type(self).__name__,
                mode,
                train_type,
                dataset,
                train_config,
                deploy_config,
                event_handler,
                base_model,
                kwargs,
                publish=mode is not TrainMode.PostPretrain,
                eval_dataset=eval_dataset,
                evaluators=evaluators,
                gate=gate,
                dataset_bos_path=dataset_bos_path,
                previous_trainer=previous_trainer,
                previous_task_id=previous_task_id,
            )
        ]
        self.result = [None]


Finetune = LLMFinetune
