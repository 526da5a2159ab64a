"""Small models of each architecture that is packed, made on the spot, and runs of the real trainer on them."""

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


QWENS = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
STRETCHED = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 64.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip


def build(folder: Path, architecture: str) -> Path:
    """A small model of an architecture that is packed.

    A Llama with tied embeddings, "llama3.1" with stretched positions; a Qwen with an output matrix of its own, 2
    with biases and 3 with norms; a Mistral and an ERNIE 4.5, whose tokenizer knows pieces."""
    tiny.build(folder)
    config = json.loads((folder / "config.json").read_text())
    if architecture == "llama3.1":
        config["rope_parameters"] = STRETCHED
    if architecture in QWENS:
        config |= {"architectures": [QWENS[architecture]], "tie_word_embeddings": False}
        add_what_qwen_has(folder / "model.safetensors", architecture)
    if architecture == "mistral":
        config |= {"architectures": ["MistralForCausalLM"], "sliding_window": 512}
    if architecture == "ernie4_5":
        config |= {"architectures": ["Ernie4_5ForCausalLM"], "rope_theta": 500000.0}
        del config["tie_word_embeddings"]  # they are, by default
    config["model_type"] = "llama" if architecture.startswith("llama") else architecture
    tiny.write(folder / "config.json", config)
    if architecture in ("mistral", "ernie4_5"):
        take_pieces(folder, "first" if architecture == "mistral" else "always")
    return folder


def add_what_qwen_has(file: Path, architecture: str) -> None:
    random = np.random.default_rng(5)
    tensors = load_file(file)
    for layer in range(tiny.LAYERS):
        at = f"model.layers.{layer}.self_attn"
        for name in ("q_proj", "k_proj", "v_proj") if architecture == "qwen2" else ():
            rows = tensors[f"{at}.{name}.weight"].shape[0]
            tensors[f"{at}.{name}.bias"] = (random.standard_normal(rows) * 0.5).astype(np.float32)
        for name in ("q_norm", "k_norm") if architecture == "qwen3" else ():
            tensors[f"{at}.{name}.weight"] = random.uniform(0.5, 1.5, tiny.HEAD).astype(np.float32)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 1.1
    save_file(tensors, file, metadata={"format": "pt"})


WORDS = "the fox ran over the hill where is the owl hello who are you what is a colour 你好 世界 +?!,."
BEFORE = ("first", "always", "never")
"""How a tokenizer of pieces writes a space before a text: as Mistral does, as Llama 2, as Gemma."""


def take_pieces(folder: Path, before: str) -> None:
    """Give the tiny model a tokenizer in the manner of SentencePiece, and the template of Llama 2."""
    pieces = sorted(set(WORDS.replace(" ", "▁")))
    words = [f"{space}{word}" for word in WORDS.split() for space in ("", "▁")]
    made = list(dict.fromkeys(word[:end] for word in words for end in range(2, len(word) + 1)))
    known = {*pieces, *made}
    splits = ((word[:at], word[at:]) for word in made for at in range(1, len(word)))
    merges = [[left, right] for left, right in splits if left in known and right in known]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *made]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizer: Any = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]}
    cut: Any = None
    if before == "first":
        normalizer, cut = (
            None,
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": before, "split": False},
        )
    elif before == "never":
        normalizer = spaces
        cut = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    steps = [
        {**spaces, "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    tokenizer = tiny.tokenizer(names, dict.fromkeys(tiny.SPECIAL, 0))
    tokenizer |= {
        "added_tokens": [{"id": number, "content": names[number], **flags} for number in range(3)],
        "normalizer": normalizer,
        "pre_tokenizer": cut,
        "decoder": {"type": "Sequence", "decoders": steps},
    }
    tokenizer["model"] |= {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": merges}
    tiny.write(folder / "tokenizer.json", tokenizer)
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    settings = {**tiny.tokenizer_config(), **ends, "chat_template": LLAMA_2}
    tiny.write(folder / "tokenizer_config.json", settings)
    (folder / "chat_template.jinja").write_text(LLAMA_2, encoding="utf-8")
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = json.loads((folder / "config.json").read_text())
    tiny.write(folder / "config.json", {**config, **ids, "vocab_size": len(names)})
    tiny.write(folder / "generation_config.json", ids)
    tensors = load_file(folder / "model.safetensors")
    rows = np.random.default_rng(6).standard_normal((len(names), tiny.HIDDEN)) * 0.25
    tensors["model.embed_tokens.weight"] = rows.astype(np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' </s>' }}{% endif %}{% endfor %}"
)


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
