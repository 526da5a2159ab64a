"""How a model turns its positions: the fields of a GGUF file, and the tensor that stretches them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from qianfan_platform.engines.llamacpp.tensors import PackFailed

if TYPE_CHECKING:
    import numpy as np

FACTORS: Final = "rope_freqs.weight"  # a number for each pair of a head, by which its frequency is divided
BASES: Final = {"ernie4_5": 500_000.0}  # by model type, where config.json names none
BASE: Final = 10_000.0


def fields(config: dict[str, Any], arch: str) -> Iterator[tuple[str, str, Any]]:
    """Key, kind and value of each field. Raises PackFailed for a scaling that is not packed here."""
    rope, kind = _scaling(config)
    base = rope.get("rope_theta") or config.get("rope_theta") or BASES.get(config["model_type"], BASE)
    yield f"{arch}.rope.freq_base", "float32", float(base)
    if kind == "linear":
        yield f"{arch}.rope.scaling.type", "string", "linear"
        yield f"{arch}.rope.scaling.factor", "float32", float(rope["factor"])


def factors(config: dict[str, Any]) -> np.ndarray | None:
    """The tensor `FACTORS` of a model that was stretched as Llama 3.1 was; None of others. Raises PackFailed."""
    import numpy as np

    rope, kind = _scaling(config)
    if kind != "llama3":
        return None
    base = float(rope.get("rope_theta") or config.get("rope_theta") or BASE)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    factor, before = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    found = []
    for at in range(0, head, 2):
        wave = 2 * math.pi * base ** (at / head)  # tokens of one turn
        if wave < before / high:
            found.append(1.0)
        elif wave > before / low:
            found.append(factor)
        else:
            smooth = (before / wave - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


def _scaling(config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type")) or "default"
    if kind not in ("default", "linear", "llama3"):
        raise PackFailed(
            f"the model scales its rotary positions ({kind}), which is only packed by copying from a GGUF of the same "
            "model; import a GGUF file of it"
        )
    if float(rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1) != 1:
        raise PackFailed(
            "the model turns a part of each head (partial_rotary_factor), which is not packed here"
        )
    return rope, str(kind)
