from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

from qianfan_platform.catalogue import tiny

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def as_gguf(folder: Path, path: Path) -> None:
    """The tiny model as a GGUF file in float32, as llama.cpp's own converter would write it."""
    import gguf
    from safetensors.numpy import load_file

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(tiny.LAYERS)
    writer.add_context_length(tiny.CONTEXT)
    writer.add_embedding_length(tiny.HIDDEN)
    writer.add_feed_forward_length(tiny.INTERMEDIATE)
    writer.add_head_count(tiny.HEADS)
    writer.add_head_count_kv(tiny.KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(tiny.HEAD)
    vocabulary = list(tiny.tokens())
    special = [token in tiny.SPECIAL for token in vocabulary]
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([gguf.TokenType.CONTROL if s else gguf.TokenType.NORMAL for s in special])
    writer.add_token_merges([" ".join(pair) for pair in tiny.MERGES])
    writer.add_bos_token_id(vocabulary.index("<|im_start|>"))
    writer.add_eos_token_id(vocabulary.index("<|im_end|>"))
    writer.add_chat_template(tiny.TEMPLATE)
    for name, weight in load_file(folder / "model.safetensors").items():
        writer.add_tensor(*renamed(name, weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def renamed(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
    """A tensor under its GGUF name; the rows of q and k are in the other order of rotary halves."""
    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outside:
        return outside[name], weight
    _, _, layer, rest = name.split(".", 3)
    rest = rest.removesuffix(".weight")
    heads = {"self_attn.q_proj": tiny.HEADS, "self_attn.k_proj": tiny.KV_HEADS}.get(rest)
    if heads:
        halves = weight.reshape(heads, 2, tiny.HEAD // 2, tiny.HIDDEN)
        weight = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
    return f"blk.{layer}.{NAMES[rest]}.weight", weight


def convert(source: Path, out: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and progress lines of the converter."""
    command = [sys.executable, "-m", "qianfan_platform.trainers.child.convert", str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_gguf_file_becomes_the_model_it_was_made_of(tiny_model: Path, tmp_path: Path) -> None:
    """Every weight, the chat template, the end tokens, and the way text is cut."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    as_gguf(tiny_model, tmp_path / "tiny.gguf")
    code, lines = convert(tmp_path / "tiny.gguf", tmp_path / "out")
    assert (code, lines[-1]) == (0, {"finished": str(tmp_path / "out")})
    assert [line["done"] for line in lines[:-1]] == sorted(line["done"] for line in lines[:-1])
    original = load_file(tiny_model / "model.safetensors")
    converted = load_file(tmp_path / "out" / "model.safetensors")
    assert converted.keys() == original.keys()
    assert all(torch.equal(converted[name], original[name].bfloat16()) for name in original)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    twin = AutoTokenizer.from_pretrained(tiny_model)
    text = "<|im_start|>user\nthe shelf  F84, 12,500?<|im_end|>\n你好"
    assert tokenizer(text)["input_ids"] == twin(text)["input_ids"]
    assert tokenizer.chat_template == tiny.TEMPLATE
    assert "Digits" in str(tokenizer.backend_tokenizer.pre_tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "tiny.gguf"]


def test_a_file_that_is_no_gguf_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """A failed conversion says why and leaves no folder behind."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really" * 10)
    code, lines = convert(tmp_path / "broken.gguf", tmp_path / "out")
    assert code == 1
    assert lines[-1]["failed"]
    assert not (tmp_path / "out").exists()
