"""A LoRA adapter as PEFT writes it: its matrices, and what their product is multiplied by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from qianfan_platform.engines.llamacpp.tensors import LAYER, PackFailed, Stored, stored

PEFT_PREFIX: Final = "base_model.model."


def config_of(folder: Path) -> dict[str, Any]:
    """adapter_config.json, when llama.cpp can apply what it describes. Raises PackFailed."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise PackFailed(f"{folder.name} holds no adapter_config.json, so it is no PEFT adapter")
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("peft_type") != "LORA":
        raise PackFailed(
            f"adapters of type {config.get('peft_type')} cannot be applied by llama.cpp; LoRA can"
        )
    for key in ("use_dora", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "lora_bias"):
        if config.get(key):
            raise PackFailed(
                f"the adapter was trained with {key}, which llama.cpp cannot apply; merge it instead"
            )
    if not config.get("lora_alpha"):
        raise PackFailed("the adapter has a lora_alpha of 0, so it would change nothing")
    return dict(config)


def pairs(folder: Path) -> dict[str, tuple[Stored, Stored]]:
    """(lora_A, lora_B) by module. Raises PackFailed."""
    tensors = stored(folder, "adapter_model.safetensors")
    found: dict[str, dict[str, Stored]] = {}
    for key, tensor in tensors.items():
        module, _, side = key.removeprefix(PEFT_PREFIX).removesuffix(".weight").rpartition(".")
        if side not in ("lora_A", "lora_B"):
            raise PackFailed(f"the adapter holds {key}, which is no LoRA matrix that llama.cpp can apply")
        found.setdefault(module, {})[side] = tensor
    lone = [module for module, sides in found.items() if len(sides) != 2]
    if lone:
        raise PackFailed(f"the adapter holds only one of the two matrices of {lone[0]}")
    if not found:
        raise PackFailed("the adapter holds no matrices")
    _all_there(found, config_of(folder))
    return {module: (sides["lora_A"], sides["lora_B"]) for module, sides in found.items()}


def _all_there(modules: Iterable[str], config: dict[str, Any]) -> None:
    """What one layer has all have, and what the configuration names is there. Raises PackFailed.

    Nothing is known where modules are named or left out one by one."""
    named = config.get("target_modules")
    targets = named if isinstance(named, list) else []
    if config.get("exclude_modules") or any("." in target for target in targets):
        return
    layers: dict[str, set[int]] = {}
    for module in modules:
        if (found := LAYER.fullmatch(module)) is not None:
            layers.setdefault(found[2], set()).add(int(found[1]))
    every = set().union(*layers.values())
    for part, numbers in layers.items():
        if lost := sorted(every - numbers):
            raise PackFailed(
                f"the adapter changes {part} in other layers, but not in layer {lost[0]}: it is incomplete"
            )
    for target in targets:
        if not any(module.rpartition(".")[2] == target for module in modules):
            raise PackFailed(
                f"the adapter's configuration names {target}, and holds nothing for it: it is incomplete"
            )


def scale(config: dict[str, Any], module: str, rank: int) -> float:
    """What the product of a module's two matrices is multiplied by."""
    alpha = float(config["lora_alpha"])
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = float(value)
            break
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)
