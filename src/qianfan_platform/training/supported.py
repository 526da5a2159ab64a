"""What can be trained here, in the shape that published clients make their checks from."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import train_types
from qianfan.contract.enums import TrainMode
from qianfan.contract.train_types import TrainType
from qianfan_platform.catalogue.catalogue import Catalogue

from . import hyper, keys
from .keys import Key
from .views import V2_WORDS

# Beside what the table of a train type names; what is trained here does both in every mode.
EVERYWHERE: Final = ("ALL", "LoRA")


def models(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Every train type that trains here. checkValue is what this platform takes, default what holds for a
    caller who says nothing; cloudValue is what the cloud takes for this name, as a choice or a range
    (cloudCheckType): values beyond it are warnings."""
    names = [*train_types.table()]
    names += [name for name, entry in catalogue.entries.items() if entry.trainable and name not in names]
    rows = []
    for name in names:
        trained = catalogue.trains(name)
        if trained is None:
            continue
        row = train_types.find(name) or TrainType(
            name, trained.entry.name, keys.ALL_METHODS, {"peftType": "LoRA"}
        )
        modes = [_mode(row, mode, trained.entry.context) for mode in TrainMode]
        rows.append(
            {"model": name, "baseModel": row.base, "modelType": "text2text", "supportTrainMode": modes}
        )
    return rows


def _mode(row: TrainType, mode: TrainMode, context: int) -> dict[str, Any]:
    offered = [*row.modes.get(mode.value, {}), *(row.peft if mode is TrainMode.SFT else EVERYWHERE)]
    return {
        "trainMode": mode.value,
        "supportParameterScale": [
            {
                "parameterScale": V2_WORDS[method],
                "supportHyperParameterConfig": [
                    entry(row, mode, method, key, context)
                    for key in keys.KEYS
                    if key.shown and method in key.methods and mode.value in key.modes
                ],
            }
            for method in dict.fromkeys(offered)
        ],
    }


def entry(row: TrainType, mode: TrainMode, method: str, key: Key, context: int) -> dict[str, Any]:
    """One hyper-parameter of one method. Published clients need every member of it."""
    tuning = row.tuning(mode.value, method)
    limit = tuning.limits.get(key.name) if tuning else None
    known = hyper.defaults(row, mode, method, v2=True)
    default = known.get(key.name, key.default)
    if key.name == "loraAlpha" and key.name not in known:
        default = 2 * known.get("loraRank", keys.BY_NAME["loraRank"].default)
    elif key.name == "learningRate":
        default = default or keys.rate(mode.value, method)
    elif key.name == "maxSeqLen":
        default = default or min(4096, context)
    listed = key.choices or key.offered
    values = list(listed) if listed else [key.low, key.high]
    if listed and default not in values:
        values.append(default)
    cloud: dict[str, Any] = {}
    if limit is not None:
        cloud = {
            "cloudCheckType": "choice" if limit.choices else "range",
            "cloudValue": list(limit.choices) or [limit.low, limit.high],
        }
    return {
        "key": key.name,
        "name": key.name,
        "type": key.kind,
        "description": key.about,
        "checkType": "choice" if listed else "range",
        "checkValue": values,
        "default": default,
        **cloud,
    }
