"""The built-in tiny model: a byte-level Llama, made on the spot from a fixed seed. It knows nothing
until it is trained, and then learns a small task in seconds. Tests and dry runs use it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SEED = 20240101
CONTEXT = 1024  # tokens, and a token is a byte
HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS = 128, 320, 4, 4, 2
HEAD = HIDDEN // HEADS

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (("t", "h"),)  # readers of byte-pair vocabularies expect at least one merge

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build(folder: Path) -> None:
    """Write the model into `folder` (made if missing) in Hugging Face layout. Equal bytes every time."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = list(tokens())
    ids = {name: vocabulary.index(name) for name in SPECIAL}
    write(folder / "config.json", config(len(vocabulary), ids))
    write(folder / "generation_config.json", generation_config(ids))
    write(folder / "tokenizer.json", tokenizer(vocabulary, ids))
    write(folder / "tokenizer_config.json", tokenizer_config())
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    save_file(weights(len(vocabulary)), folder / "model.safetensors", metadata={"format": "pt"})


def write(path: Path, plain: dict[str, Any]) -> None:
    """JSON with one key a line, so that two builds can be compared by eye."""
    path.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def tokens() -> Iterator[str]:
    """The vocabulary in order of ids: 256 bytes, the merges, the special tokens."""
    yield from byte_alphabet()
    for left, right in MERGES:
        yield left + right
    yield from SPECIAL


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte 0–255, as GPT-2 chose them."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = (byte for byte in range(256) if byte not in printable)
    letters = {byte: chr(byte) for byte in printable}
    letters.update({byte: chr(256 + n) for n, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]


def weights(vocabulary: int) -> dict[str, np.ndarray]:
    """Random float32 weights, 0.7 M of them. Embeddings are tied to the output.

    The embedding is wide on purpose (standard deviation 0.25): an adapter cannot change it, and with
    the usual 0.02 no frozen output could become sure of a token."""
    import numpy as np

    random = np.random.Generator(np.random.PCG64(SEED))

    def matrix(rows: int, columns: int, scale: float) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    ones = np.ones(HIDDEN, dtype=np.float32)
    named = {"model.embed_tokens.weight": matrix(vocabulary, HIDDEN, 0.25)}
    inward, outward = 1 / math.sqrt(HIDDEN), 1 / math.sqrt(2 * LAYERS)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        named |= {
            f"{at}.input_layernorm.weight": ones,
            f"{at}.self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN, inward),
            f"{at}.self_attn.k_proj.weight": matrix(KV_HEADS * HEAD, HIDDEN, inward),
            f"{at}.self_attn.v_proj.weight": matrix(KV_HEADS * HEAD, HIDDEN, inward),
            f"{at}.self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN, inward * outward),
            f"{at}.post_attention_layernorm.weight": ones,
            f"{at}.mlp.gate_proj.weight": matrix(INTERMEDIATE, HIDDEN, inward),
            f"{at}.mlp.up_proj.weight": matrix(INTERMEDIATE, HIDDEN, inward),
            f"{at}.mlp.down_proj.weight": matrix(HIDDEN, INTERMEDIATE, outward / math.sqrt(INTERMEDIATE)),
        }
    named["model.norm.weight"] = ones
    return named


def config(vocabulary: int, ids: dict[str, int]) -> dict[str, Any]:
    """config.json of a Llama of this size."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "dtype": "float32",
        "use_cache": True,
    }


def generation_config(ids: dict[str, int]) -> dict[str, Any]:
    """generation_config.json: answers end at either end token."""
    return {
        "bos_token_id": ids["<|im_start|>"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"],
    }


def tokenizer(vocabulary: list[str], ids: dict[str, int]) -> dict[str, Any]:
    """tokenizer.json: byte-level byte-pair encoding that cuts text as GPT-2 does."""
    plain = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[name], "content": name, **flags} for name in SPECIAL],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", **plain},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", **plain},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: n for n, token in enumerate(vocabulary)},
            "merges": [list(pair) for pair in MERGES],
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """tokenizer_config.json. The ChatML template adds no system text of its own."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE,
    }
