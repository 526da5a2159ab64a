"""Weights in Hugging Face layout, read one tensor at a time with numpy, and their names in GGUF."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

MAX_HEADER: Final = 100 * 1024 * 1024  # bytes, the limit of the format
ARCHITECTURES: Final = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "ernie4_5": "ernie4_5",
}  # model_type → GGUF
TIED: Final = ("ernie4_5",)  # model types whose output is the embeddings where config.json does not say

OUTSIDE: Final = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
INSIDE: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)")


class PackFailed(Exception):
    """These weights cannot be packed. The text says which and why."""


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies in a safetensors file. shape: rows first."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def load(self) -> np.ndarray:
        """The tensor as float32."""
        import numpy as np

        kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64}
        if self.dtype not in kinds:
            raise PackFailed(f"{self.path.name} holds a tensor of type {self.dtype}; floats can be packed")
        kind = np.dtype(kinds[self.dtype]).newbyteorder("<")
        count = (self.end - self.start) // kind.itemsize
        raw = np.fromfile(self.path, dtype=kind, count=count, offset=self.start)
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32).reshape(self.shape)
        return raw.astype(np.float32, copy=False).reshape(self.shape)


def stored(folder: Path, name: str = "model.safetensors") -> dict[str, Stored]:
    """Every tensor of a folder by name; `name` may be split into parts with an index beside it."""
    index = folder / f"{name}.index.json"
    if index.is_file():
        parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(part).name != part for part in parts):
            raise PackFailed(f"{index.name} names files outside its folder")
    else:
        parts = [name]
    found: dict[str, Stored] = {}
    for part in parts:
        found.update(_file(folder / part))
    return found


def _file(path: Path) -> Iterator[tuple[str, Stored]]:
    if not path.is_file():
        raise PackFailed(f"{path.name} is missing in {path.parent.name}; weights must be safetensors")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise PackFailed(f"{path.name} is not a safetensors file")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
        except ValueError as problem:
            raise PackFailed(f"{path.name} is not a safetensors file: its header is no JSON") from problem
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= size - 8 - length:
            raise PackFailed(f"{path.name} is cut short: the tensor {name} ends past the file")
        yield name, Stored(path, entry["dtype"], tuple(entry["shape"]), 8 + length + start, 8 + length + end)


def gguf_name(module: str) -> str | None:
    """The GGUF name of a module, without `.weight`; None when there is none."""
    if module in OUTSIDE:
        return OUTSIDE[module]
    layer = LAYER.fullmatch(module)
    if layer is None or layer[2] not in INSIDE:
        return None
    return f"blk.{layer[1]}.{INSIDE[layer[2]]}"


def tied(config: dict[str, Any]) -> bool:
    """Whether input and output embeddings are one matrix."""
    return bool(config.get("tie_word_embeddings", config.get("model_type") in TIED))


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a llama q or k projection in llama.cpp's order: each head's two rotary halves interleaved."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def rotary_heads(architecture: str, name: str, heads: int, kv_heads: int) -> int | None:
    """How many heads the rows of this GGUF tensor are permuted by; None when they stay as they are."""
    if architecture != "llama":
        return None
    return {"attn_q": heads, "attn_k": kv_heads}.get(name.rpartition(".")[2])
