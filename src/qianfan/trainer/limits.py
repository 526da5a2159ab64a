"""Defaults and limits of a training: what the documented tables say of a train type, a mode and a method."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from qianfan.contract import train_types
from qianfan.contract.enums import TrainMode
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import configs
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.configs import TrainConfig


def base_model_of(train_type: str, base_model: str | None, strict: bool) -> str:
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


def mode_of(word: Any) -> TrainMode:
    """A training mode of its word; SFT for None. Raises InvalidArgumentError that names what there is."""
    try:
        return TrainMode.SFT if word is None else TrainMode(word)
    except ValueError:
        raise InvalidArgumentError(
            f"there is no train_mode {word!r}", advice=f"it is one of {', '.join(TrainMode)}"
        ) from None


def method_of(train_type: str, mode: TrainMode, word: Any, strict: bool) -> str:
    """The tuning method in the words of V1; the default of the train type when there is none."""
    row = train_types.find(train_type) or train_types.table()[train_types.DEFAULT]
    offered = tuple(row.modes.get(mode.value, {})) if _second(row, mode) else row.peft
    if word is None:
        usual = str(row.defaults.get("peftType", "LoRA"))
        return usual if usual in offered or not offered else offered[0]
    try:
        method = configs.v1_peft(configs.peft_word(word))
    except ValueError as error:
        raise InvalidArgumentError(f"peft_type cannot be {word!r}: {error}") from None
    if offered and method not in offered and strict and row.name == train_type:
        raise InvalidArgumentError(
            f"{train_type} cannot be tuned by {word}", advice=f"peft_type may be {', '.join(offered)}"
        )
    return method


def defaults_of(train_type: str, mode: TrainMode = TrainMode.SFT, method: str | None = None) -> TrainConfig:
    """The documented defaults. Raises InvalidArgumentError where the tables have none."""
    from qianfan.config import get_config

    row = (
        train_types.find(train_type)
        or train_types.find(get_config().DEFAULT_FINE_TUNE_TRAIN_TYPE)
        or train_types.table()[train_types.DEFAULT]
    )
    usual = row.defaults.get("peftType", "LoRA")
    tuning = row.tuning(mode.value, method or usual)
    values: Any = row.defaults
    if tuning is not None and (_second(row, mode) or method not in (None, usual)):
        if tuning.defaults is None:
            raise InvalidArgumentError(
                f"can not find default config for {train_type} by {method}", advice="give a train_config"
            )
        values = tuning.defaults
    known = {configs.camel(name): name for name in configs.TrainConfig.model_fields}
    return configs.TrainConfig(
        **{"peft_type": method, **{known[key]: value for key, value in values.items() if key in known}}
    )


def check(config: TrainConfig, train_type: str, mode: TrainMode, method: str, strict: bool | None) -> None:
    """Compare what the user set with the cloud's limits, as the second generation of its SDK does.

    strict: True raises InvalidArgumentError, False logs a warning; None is True for what goes through the V2
    interface, while V1, which never compared anything, is left to the platform."""
    row = train_types.find(train_type)
    if row is None or (strict is None and not _second(row, mode)):
        return
    tuning = row.tuning(mode.value, method)
    if tuning is None or not tuning.limits:
        return
    wrong = []
    for name in sorted(config.model_fields_set - configs.NOT_HYPER - configs.OURS):
        value, key = getattr(config, name), configs.camel(name)
        if value is None:
            continue
        if key not in tuning.limits:
            wrong.append(f"{name} is not taken for {method}")
        elif not tuning.limits[key].holds(value):
            wrong.append(f"{name}={value!r} is not {tuning.limits[key]}")
    if not wrong:
        return
    text = f"invalid train_config, please check the config: {train_type}: {'; '.join(wrong)}"
    if strict is False:
        logger.warning("%s", text)
        return
    raise InvalidArgumentError(
        text, advice="these are the cloud's limits; validate_strict=False leaves them to the platform"
    )


def _second(row: train_types.TrainType, mode: TrainMode) -> bool:
    return row.generation == "v2" or mode is not TrainMode.SFT


def _near(name: str, known: list[str], what: str) -> str:
    lower = {word.lower(): word for word in known}
    near = [lower[word] for word in difflib.get_close_matches(name.lower(), lower, 3, 0.5)]
    return (
        f"{what} may be {', '.join(near or known)}; validate_strict=False passes a name of your own platform"
    )
