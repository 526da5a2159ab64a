"""LoRA adapters: a new one, an earlier run's to go on with, or one merged into its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from qianfan_platform.trainers.child import low_rank
from qianfan_platform.trainers.child.starting import ADAPTER
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import Hyper


def new(base: Any, hyper: Hyper) -> Any:
    """`base` with an adapter in float32 at the layers that `hyper` names. Raises Refused."""
    from peft import LoraConfig, get_peft_model

    wanted(base, hyper)
    config = LoraConfig(
        r=hyper.lora_rank,
        lora_alpha=hyper.lora_alpha,
        lora_dropout=hyper.lora_dropout,
        target_modules=list(hyper.lora_targets) or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    low_rank.fuse(model)
    return model


def earlier(base: Any, folder: Path, hyper: Hyper) -> Any:
    """`base` with the adapter in `folder`, to be trained on. Raises Refused when its shape is another."""
    from peft import PeftModel

    layers = wanted(base, hyper)
    config = json.loads((folder / ADAPTER).read_bytes())
    for name, asked, there in (
        ("lora_rank", hyper.lora_rank, config["r"]),
        ("lora_alpha", hyper.lora_alpha, config["lora_alpha"]),
    ):
        if asked != there:
            raise Refused(
                f"the earlier run's adapter has {name} {there} and this run asks for {asked}: set it to {there}, "
                "or start from the base"
            )
    model = PeftModel.from_pretrained(base, folder, is_trainable=True)
    for module in model.modules():
        dropout: Any = getattr(module, "lora_dropout", None)
        if dropout is not None:
            dropout["default"] = nn.Dropout(hyper.lora_dropout) if hyper.lora_dropout else nn.Identity()
    adapted = {
        name.removeprefix("base_model.model.") for name, m in model.named_modules() if hasattr(m, "lora_A")
    }
    if adapted != layers:
        there = sorted({name.rpartition(".")[2] for name in adapted})
        raise Refused(
            f"the earlier run's adapter changes the layers {', '.join(there)} and this run asks for others: "
            "give it the same lora_targets, or start from the base"
        )
    low_rank.fuse(model)
    return model


def merged(base: Any, folder: Path) -> Any:
    """`base` with the adapter in `folder` added to its weights."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, folder).merge_and_unload()


def wanted(base: Any, hyper: Hyper) -> set[str]:
    """The full names of the layers that an adapter is for. Raises Refused for a name that no layer has."""
    output = base.get_output_embeddings()
    linear = {
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    if not hyper.lora_targets:
        return linear
    unknown = [t for t in hyper.lora_targets if not any(named(layer, t) for layer in linear)]
    if unknown:
        known = sorted({layer.rpartition(".")[2] for layer in linear})
        raise Refused(
            f"this model has no linear layer {', '.join(unknown)}: lora_targets may name {', '.join(known)}"
        )
    return {layer for layer in linear if any(named(layer, t) for t in hyper.lora_targets)}


def named(layer: str, target: str) -> bool:
    return layer == target or layer.endswith("." + target)
