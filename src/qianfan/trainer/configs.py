"""What a training is told, `TrainConfig`, and a deployment, `DeployConfig`: pydantic models."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from qianfan.config import get_config
from qianfan.contract import train_types
from qianfan.dataset.state import saved
from qianfan.model.configs import Config, DeployConfig
from qianfan.trainer.consts import PeftType

__all__ = ["DeployConfig", "TrainConfig"]

_V1_PEFT = {
    "ALL": "ALL",
    "FullFineTuning": "ALL",
    "LoRA": "LoRA",
    "P-tuning": "P-tuning",
    "PromptTuning": "P-tuning",
}
_V2_PEFT = {"ALL": PeftType.ALL, "LoRA": PeftType.LoRA, "P-tuning": PeftType.PTuning}
_NOT_HYPER = {"peft_type", "trainset_rate", "extras"}


@saved
class TrainConfig(Config):
    """How to train. A field left None is decided by the platform.

    `epochs` is taken for `epoch`. extras: further hyper-parameters, sent in camelCase."""

    kind: ClassVar[str] = "train-config"
    other_names: ClassVar[dict[str, str]] = {"epochs": "epoch"}

    epoch: int | None = Field(default=None, ge=1)  # passes over the data
    batch_size: int | None = Field(default=None, ge=1)  # samples a step
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_seq_len: int | None = Field(default=None, ge=1)  # tokens
    peft_type: str | None = None  # ALL, LoRA, P-tuning, or the words of PeftType
    trainset_rate: int = Field(default=20, ge=0, le=50)  # percent of the records held out for evaluation
    extras: Any = None
    logging_steps: int | None = Field(default=None, ge=1)
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    weight_decay: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    lora_rank: int | None = Field(default=None, ge=1)
    lora_alpha: int | None = Field(default=None, ge=1)
    lora_dropout: float | None = Field(default=None, ge=0, lt=1)
    lora_all_linear: str | None = None  # "True" or "False"
    scheduler_name: str | None = None  # linear, cosine, polynomial, constant, constant_with_warmup
    lora_target_modules: list[str] | None = None

    @field_validator("peft_type", mode="before")
    @classmethod
    def _peft(cls, value: Any) -> Any:
        return None if value is None else peft_word(value)

    @field_validator("lora_all_linear", mode="before")
    @classmethod
    def _text_of_bool(cls, value: Any) -> Any:
        return str(value) if isinstance(value, bool) else value

    @field_validator("extras")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, dict):
            raise ValueError("extras are a dict of further hyper-parameters")
        return value

    @property
    def epochs(self) -> int | None:
        """The same as `epoch`."""
        return self.epoch

    def hyper_parameters(self) -> dict[str, Any]:
        """What is set, with the names of the wire: `learning_rate` is `learningRate`."""
        named = {**self.model_dump(exclude=_NOT_HYPER), **(self.extras or {})}
        return {camel(name): value for name, value in named.items() if value is not None}


def camel(name: str) -> str:
    """`max_seq_len` → `maxSeqLen`; a name without underscores stays."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def peft_word(value: Any) -> str:
    """A tuning method as a text in one of the two vocabularies. Raises ValueError for another one."""
    word = getattr(value, "value", value)
    if word not in _V1_PEFT:
        raise ValueError(f"a tuning method is one of {', '.join(_V1_PEFT)}")
    return str(word)


def v1_peft(word: str) -> str:
    """A tuning method in the words of V1: ALL, LoRA, P-tuning."""
    return _V1_PEFT[word]


def v2_peft(word: str) -> str:
    """A tuning method in the words of V2: FullFineTuning, LoRA, PromptTuning."""
    return _V2_PEFT[_V1_PEFT[word]].value


def default_train_config(train_type: str) -> TrainConfig:
    """The documented defaults of a train type; of the default train type for a name that is not known."""
    row = (
        train_types.find(train_type)
        or train_types.find(get_config().DEFAULT_FINE_TUNE_TRAIN_TYPE)
        or train_types.table()[train_types.DEFAULT]
    )
    known = {camel(name): name for name in TrainConfig.model_fields}
    return TrainConfig(**{known[key]: value for key, value in row.defaults.items() if key in known})
