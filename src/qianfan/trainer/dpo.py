"""`DPO`: a model learns which of two answers is preferred."""

from __future__ import annotations

from typing import ClassVar

from qianfan.contract.enums import TrainMode
from qianfan.dataset import state as saved_state
from qianfan.trainer.finetune import LLMFinetune


@saved_state.saved
class DPO(LLMFinetune):
    """Preference training: the same steps and arguments as `LLMFinetune`.

    dataset: of the template PromptChosenRejected, where each row has a prompt, a chosen and a rejected answer.
    It is best begun from a model that answers already: previous_trainer, or previous_task_id."""

    kind: ClassVar[str] = "dpo"
    train_mode: ClassVar[str] = TrainMode.DPO.value
