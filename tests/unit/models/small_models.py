"""Small models of two architectures, made on the spot, and runs of the real trainer on them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from qianfan_platform.catalogue import tiny
from qianfan_platform.trainers.protocol import Hyper, Method, TrainSpec
from qianfan_platform.trainers.run import run

ROWS = [("where is the fox", "under the oak"), ("where is the owl", "in the barn")]


def build(folder: Path, architecture: str) -> Path:
    """A Llama with tied embeddings, or a Qwen with an output matrix of its own: 2 with biases, 3 with norms."""
    tiny.build(folder)
    if architecture == "llama":
        return folder
    config = json.loads((folder / "config.json").read_text())
    named = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[architecture]
    config |= {"model_type": architecture, "architectures": [named], "tie_word_embeddings": False}
    tiny.write(folder / "config.json", config)
    random = np.random.default_rng(5)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(tiny.LAYERS):
        at = f"model.layers.{layer}.self_attn"
        for name in ("q_proj", "k_proj", "v_proj") if architecture == "qwen2" else ():
            rows = tensors[f"{at}.{name}.weight"].shape[0]
            tensors[f"{at}.{name}.bias"] = (random.standard_normal(rows) * 0.5).astype(np.float32)
        for name in ("q_norm", "k_norm") if architecture == "qwen3" else ():
            tensors[f"{at}.{name}.weight"] = random.uniform(0.5, 1.5, tiny.HEAD).astype(np.float32)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 1.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def train(base: Path, work: Path, method: Method, steps: int = 12) -> Path:
    """The result folder of a short run."""
    work.mkdir(parents=True)
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps([{"prompt": q, "response": [[a]]}]) + "\n" for q, a in ROWS))
    hyper = Hyper(
        epochs=steps, batch_size=2, learning_rate=5e-3, max_seq_len=128, lora_rank=8, virtual_tokens=4
    )
    spec = TrainSpec(base, rows, work, method=method, hyper=hyper, held_out=0.0, dtype="float32")

    async def hear(event: dict[str, Any]) -> None:
        pass

    outcome = asyncio.run(run(spec, hear, asyncio.Event()))
    assert outcome.status == "finished", outcome.reason
    assert outcome.result is not None
    return outcome.result


def with_unpermuted_heads(
    source: Path, out: Path, heads: int = tiny.HEADS, kv_heads: int = tiny.KV_HEADS
) -> Path:
    """The model as one packs it who forgets that llama.cpp wants the rows of q and k in another order."""
    out.mkdir()
    for file in source.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    for name, rows in tensors.items():
        count = heads if "q_proj" in name else kv_heads if "k_proj" in name else 0
        if count:  # what the packer's own turn brings back to where it was
            half = rows.shape[0] // count // 2
            turned = rows.reshape(count, half, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
            tensors[name] = np.ascontiguousarray(turned)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out
