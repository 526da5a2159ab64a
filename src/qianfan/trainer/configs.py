"""What a training and a deployment are told: `TrainConfig` and `DeployConfig`, pydantic models."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from qianfan.contract import train_types
from qianfan.contract.enums import DeployPoolType
from qianfan.dataset.state import saved
from qianfan.errors import InvalidArgumentError, need
from qianfan.trainer.consts import PeftType, ServiceType
from qianfan.utils.logging import logger

_V1_PEFT = {"ALL": "ALL", "FullFineTuning": "ALL", "LoRA": "LoRA", "P-tuning": "P-tuning", "PromptTuning": "P-tuning"}
_V2_PEFT = {"ALL": PeftType.ALL, "LoRA": PeftType.LoRA, "P-tuning": PeftType.PTuning}
_NOT_HYPER = {"peft_type", "trainset_rate", "extras"}


class _Config(BaseModel):
    """Checks values at construction; a name it does not know is logged with the name that was meant."""

    kind: ClassVar[str] = "config"
    other_names: ClassVar[dict[str, str]] = {}

    def __init__(self, **data: Any) -> None:
        name = type(self).__name__
        for other, known in self.other_names.items():
            if other in data:
                value = data.pop(other)
                if data.setdefault(known, value) != value:
                    raise InvalidArgumentError(
                        f"{name} got {known}={data[known]!r} and {other}={value!r}",
                        advice=f"they are one and the same; give {known}",
                    )
        fields = type(self).model_fields
        for unknown in [key for key in data if key not in fields]:
            near = difflib.get_close_matches(unknown, [*fields, *self.other_names], 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(fields)}"
            logger.warning("%s has no field %r, so it is ignored%s", name, unknown, meant)
            del data[unknown]
        try:
            super().__init__(**data)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            place = ".".join(map(str, wrong["loc"])) or "a value"
            reason = wrong["msg"].removeprefix("Value error, ")
            raise InvalidArgumentError(
                f"{name}.{place} cannot be {wrong.get('input')!r}: {reason}", advice=f"mend {place} and try again"
            ) from None

    def to_state(self) -> dict[str, Any]:
        """The fields as plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """A configuration of a saved state."""
        return cls(**state)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Read a configuration from a .yaml or .json file.

        Raises FileNotFoundError, and InvalidArgumentError for another suffix or other content."""
        file = Path(path)
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            try:
                values = json.loads(text)
            except ValueError as error:
                raise InvalidArgumentError(f"{file.name} is not JSON: {error}", advice="repair it") from error
        elif file.suffix in (".yaml", ".yml"):
            yaml = need("yaml", why="to read yaml files; install PyYAML, or write the file as .json", extra="train")
            values = yaml.safe_load(text)
        else:
            raise InvalidArgumentError(f"{file.name} is neither .yaml nor .json", advice="name it by its format")
        if not isinstance(values, dict):
            raise InvalidArgumentError(f"{file.name} holds no table of fields", advice="write `epoch: 1`, one a line")
        return cls(**values)


@saved
class TrainConfig(_Config):
    """How to train. A field left None is decided by the platform.

    `epochs` is taken for `epoch`. extras: further hyper-parameters, sent in camelCase."""

    kind = "train-config"
    other_names = {"epochs": "epoch"}  # noqa: RUF012

    epoch: int | None = Field(None, ge=1)  # passes over the data
    batch_size: int | None = Field(None, ge=1)  # samples a step
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    max_seq_len: int | None = Field(None, ge=1)  # tokens
    peft_type: str | None = None  # ALL, LoRA, P-tuning, or the words of PeftType
    trainset_rate: int = Field(20, ge=0, le=50)  # percent of the records held out for evaluation
    extras: Any = None
    logging_steps: int | None = Field(None, ge=1)
    warmup_ratio: float | None = Field(None, ge=0, le=1)
    weight_decay: float | None = Field(None, ge=0, allow_inf_nan=False)
    lora_rank: int | None = Field(None, ge=1)
    lora_alpha: int | None = Field(None, ge=1)
    lora_dropout: float | None = Field(None, ge=0, lt=1)
    lora_all_linear: str | None = None  # "True" or "False"
    scheduler_name: str | None = None  # linear, cosine, polynomial, constant, constant_with_warmup
    lora_target_modules: list[str] | None = None

    @field_validator("peft_type", mode="before")
    @classmethod
    def _peft(cls, value: Any) -> Any:
        word = getattr(value, "value", value)
        if word is not None and word not in _V1_PEFT:
            raise ValueError(f"a tuning method is one of {', '.join(_V1_PEFT)}")
        return word

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


@saved
class DeployConfig(_Config):
    """How to deploy. endpoint_prefix: the endpoint's name, by default one made of the model's ids."""

    kind = "deploy-config"

    name: str = ""
    endpoint_prefix: str = ""
    description: str = ""
    replicas: int = Field(1, ge=1)
    pool_type: DeployPoolType = DeployPoolType.PrivateResource
    service_type: ServiceType = ServiceType.Chat
    extras: Any = None


def camel(name: str) -> str:
    """`max_seq_len` → `maxSeqLen`; a name without underscores stays."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def v1_peft(word: str) -> str:
    """A tuning method in the words of V1: ALL, LoRA, P-tuning."""
    return _V1_PEFT[word]


def v2_peft(word: str) -> str:
    """A tuning method in the words of V2: FullFineTuning, LoRA, PromptTuning."""
    return _V2_PEFT[_V1_PEFT[word]].value


def default_train_config(train_type: str) -> TrainConfig:
    """The documented defaults of a train type; of the default train type for a name that is not known."""
    from qianfan.config import get_config

    row = (
        train_types.find(train_type)
        or train_types.find(get_config().DEFAULT_FINE_TUNE_TRAIN_TYPE)
        or train_types.table()[train_types.DEFAULT]
    )
    known = {camel(name): name for name in TrainConfig.model_fields}
    return TrainConfig(**{known[key]: value for key, value in row.defaults.items() if key in known})
