"""`PostPreTrain`: a model reads plain texts before it is fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.contract.enums import TrainMode
from qianfan.dataset import state as saved_state
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import recipes
from qianfan.trainer.running import PipelineTrainer

if TYPE_CHECKING:
    from qianfan.trainer.configs import TrainConfig
    from qianfan.trainer.event import EventHandler


@saved_state.saved
class PostPreTrain(PipelineTrainer):
    """Load texts and train on them; nothing is published.

    train_type: e.g. "ERNIE-Speed". dataset: of the template GenericText, on the platform or of this machine.
    train_config, event_handler and kwargs: as `LLMFinetune` takes them. What it leaves in `result[0]` (datasets,
    task_id, job_id) is gone on from by `LLMFinetune(previous_trainer=…)`."""

    kind: ClassVar[str] = "post-pretrain"
    train_mode: ClassVar[str] = TrainMode.PostPretrain.value

    def __init__(
        self,
        train_type: str,
        dataset: Any,
        train_config: TrainConfig | None = None,
        event_handler: EventHandler | None = None,
        **kwargs: Any,
    ) -> None:
        if not train_type:
            raise InvalidArgumentError("train_type must be specified", advice='give e.g. "ERNIE-Speed"')
        of_recipe = {
            name: kwargs.pop(name, None)
            for name in ("dataset_bos_path", "previous_trainer", "previous_task_id")
        }
        self.ppls = [
            recipes.pipeline(
                type(self).__name__,
                TrainMode.PostPretrain,
                train_type,
                dataset,
                train_config,
                None,
                event_handler,
                kwargs.pop("base_model", None),
                kwargs,
                publish=False,
                **of_recipe,
            )
        ]
        self.result = [None]
