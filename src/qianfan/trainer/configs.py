"""What a training is told, `TrainConfig` and `DatasetConfig`, and a deployment: pydantic models."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from qianfan.dataset.state import saved
from qianfan.model.configs import Config, DeployConfig
from qianfan.trainer.consts import PeftType

__all__ = ["DatasetConfig", "DeployConfig", "TrainConfig"]

_V1_PEFT = {
    "ALL": "ALL",
    "FullFineTuning": "ALL",
    "LoRA": "LoRA",
    "P-tuning": "P-tuning",
    "PromptTuning": "P-tuning",
}
_V2_PEFT = {"ALL": PeftType.ALL, "LoRA": PeftType.LoRA, "P-tuning": PeftType.PTuning}
OURS = frozenset(
    {"virtual_tokens", "beta", "too_long", "most_dropped", "checkpoint_steps", "checkpoints_kept", "seed"}
)  # the cloud has no limits for
_CORPUS: dict[str | int, int] = {"common": 1, "yiyan": 2, "vertical": 3, 1: 1, 2: 2, 3: 3}
NOT_HYPER = frozenset({"peft_type", "trainset_rate", "extras"})  # what is no hyper-parameter


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
    # The rest is of this platform, whatever the train type.
    virtual_tokens: int | None = Field(default=None, ge=1)  # that prompt tuning learns
    beta: float | None = Field(default=None, gt=0)  # DPO: how much leaving the starting model costs
    too_long: str | None = None  # refuse (default), drop, truncate or split samples that are too long
    most_dropped: int | None = Field(
        default=None, ge=0, le=100
    )  # percent of the samples; more refuse the run (50)
    checkpoint_steps: int | None = Field(default=None, ge=1)  # between two checkpoints; else by time
    checkpoints_kept: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0)

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
        named = {**self.model_dump(exclude=set(NOT_HYPER)), **(self.extras or {})}
        return {camel(name): value for name, value in named.items() if value is not None}


class DatasetConfig(Config):
    """What a training reads, when it is more than one dataset.

    datasets: `Dataset`s, ids of datasets, or BOS paths. sampling_rates: one for each, 0.01 to 10: how often a
    record of it is seen in an epoch. eval_split_ratio: percent held out for evaluation; None takes the
    TrainConfig's trainset_rate. corpus_*: of the cloud, which mixes its own texts in: "common", "yiyan" or
    "vertical"; a share such as "5%" or "1:2"; labels of the vertical one. source_type: "Platform" or "Bos"; the
    datasets say so themselves."""

    kind: ClassVar[str] = "dataset-config"

    datasets: list[Any] = Field(min_length=1)
    sampling_rates: list[float] | None = None
    eval_split_ratio: int | None = Field(default=None, ge=0, le=100)
    corpus_type: str | int | None = None
    corpus_proportion: str | None = None
    corpus_labels: list[str] | None = Field(default=None, max_length=5)
    source_type: str | None = None

    @field_validator("sampling_rates")
    @classmethod
    def _within(cls, value: list[float] | None) -> list[float] | None:
        if any(not 0.01 <= rate <= 10 for rate in value or ()):
            raise ValueError("a sampling rate is 0.01 to 10")
        return value

    @model_validator(mode="after")
    def _one_each(self) -> DatasetConfig:
        if self.sampling_rates is not None and len(self.sampling_rates) != len(self.datasets):
            raise ValueError(f"{len(self.sampling_rates)} sampling_rates for {len(self.datasets)} datasets")
        if self.corpus_type is not None and self.corpus_type not in _CORPUS:
            raise ValueError(f"corpus_type is one of {', '.join(map(str, _CORPUS))}")
        if self.corpus_type is None and (self.corpus_proportion or self.corpus_labels):
            raise ValueError("corpus_proportion and corpus_labels belong to a corpus_type, which is missing")
        return self

    def corpus(self) -> dict[str, Any] | None:
        """What the cloud is told of its own texts, or None."""
        if self.corpus_type is None:
            return None
        row = {
            "corpusType": _CORPUS[self.corpus_type],
            "proportion": self.corpus_proportion,
            "labels": self.corpus_labels,
        }
        known = {name: value for name, value in row.items() if value is not None}
        return {"copyData": False, "config": [known]}


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
