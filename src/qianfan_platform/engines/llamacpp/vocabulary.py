"""The fields of a GGUF file, made from a folder in Hugging Face layout: shape of the model, vocabulary,
chat template. Byte-pair vocabularies only, of bytes or of pieces; others need a GGUF of the same model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qianfan_platform.engines.llamacpp import pieces, rope
from qianfan_platform.engines.llamacpp.pieces import CONTROL, NORMAL, UNUSED, USER_DEFINED
from qianfan_platform.engines.llamacpp.tensors import ARCHITECTURES, PackFailed

# How a text is cut before the merges, as llama.cpp names it, by the regular expression in tokenizer.json.
SPLITS: Final = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}

Field = tuple[str, str, Any]  # key, kind (a method of gguf's writer without "add_"), value


def fields(folder: Path) -> Iterator[Field]:
    """Every field but `general.architecture` and `general.file_type`. Raises PackFailed."""
    config = _json(folder / "config.json")
    yield from _shape(config)
    yield from _vocabulary(folder, config)


def architecture(folder: Path) -> str:
    """The GGUF architecture of the model in a folder. Raises PackFailed when we know none."""
    kind = _json(folder / "config.json").get("model_type")
    if kind not in ARCHITECTURES:
        raise PackFailed(
            f"models of type {kind!r} cannot be packed here; known types: {', '.join(sorted(ARCHITECTURES))}. "
            "llama.cpp knows more: convert the model to GGUF with its tools, and import that file"
        )
    return ARCHITECTURES[kind]


def _shape(config: dict[str, Any]) -> Iterator[Field]:
    arch = ARCHITECTURES[config["model_type"]]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    _as_known(config)
    yield f"{arch}.vocab_size", "uint32", config["vocab_size"]
    yield f"{arch}.context_length", "uint32", context_of(config)
    yield f"{arch}.embedding_length", "uint32", config["hidden_size"]
    yield f"{arch}.block_count", "uint32", config["num_hidden_layers"]
    yield f"{arch}.feed_forward_length", "uint32", config["intermediate_size"]
    yield f"{arch}.attention.head_count", "uint32", heads
    yield f"{arch}.attention.head_count_kv", "uint32", config.get("num_key_value_heads") or heads
    yield f"{arch}.attention.layer_norm_rms_epsilon", "float32", config["rms_norm_eps"]
    yield f"{arch}.attention.key_length", "uint32", head
    yield f"{arch}.attention.value_length", "uint32", head
    yield f"{arch}.rope.dimension_count", "uint32", head
    yield from rope.fields(config, arch)


def _as_known(config: dict[str, Any]) -> None:
    """Raise PackFailed where a model of a known type does what llama.cpp does not do for that type."""
    if config.get("hidden_act", "silu") != "silu":
        raise PackFailed(
            f"the model uses {config['hidden_act']} between its layers; llama.cpp uses silu for it"
        )
    if config.get("use_bias"):
        raise PackFailed("the model has biases everywhere (use_bias), which llama.cpp does not know of it")


def context_of(config: dict[str, Any]) -> int:
    """The longest sequence, in tokens. llama.cpp looks back to the start, some models only so far."""
    longest = int(config["max_position_embeddings"])
    slides = config["model_type"] == "mistral" or config.get("use_sliding_window")
    window = int(config.get("sliding_window") or 0)
    return min(longest, window) if slides and window > 0 else longest


def _vocabulary(folder: Path, config: dict[str, Any]) -> Iterator[Field]:
    tokenizer = _json(folder / "tokenizer.json")
    settings = _json(folder / "tokenizer_config.json", missing={})
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise PackFailed(
            f"the tokenizer is {model.get('type')}, not BPE; convert the model to GGUF with llama.cpp's tools"
        )
    of_pieces = pieces.is_of_pieces(tokenizer)
    names = [f"[PAD{number}]" for number in range(config["vocab_size"])]
    kinds = [UNUSED] * len(names)
    added = {row["content"]: row for row in tokenizer.get("added_tokens", ())}
    for name, number in [*model["vocab"].items(), *((name, row["id"]) for name, row in added.items())]:
        if number >= len(names):
            raise PackFailed(
                f"the token {name!r} has the id {number}, but the model has {len(names)} embeddings"
            )
        row = added.get(name)
        names[number] = name
        plain = pieces.kind(name, model.get("unk_token")) if of_pieces else NORMAL
        kinds[number] = plain if row is None else CONTROL if row.get("special") else USER_DEFINED
    yield "tokenizer.ggml.model", "string", "llama" if of_pieces else "gpt2"
    yield "tokenizer.ggml.pre", "string", "default" if of_pieces else _pre(tokenizer)
    yield "tokenizer.ggml.tokens", "array", names
    yield "tokenizer.ggml.token_type", "array", kinds
    if of_pieces:
        yield "tokenizer.ggml.scores", "array", pieces.scores(model, names)
    else:
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        if not merges:
            raise PackFailed("the tokenizer has no merges; llama.cpp needs at least one")
        yield "tokenizer.ggml.merges", "array", merges
    ids = {name: number for number, name in enumerate(names)}
    for role, key in {
        "bos": "bos_token",
        "eos": "eos_token",
        "padding": "pad_token",
        "unknown": "unk_token",
    }.items():
        name = settings.get(key)
        name = name.get("content") if isinstance(name, dict) else name
        if name in ids:
            yield f"tokenizer.ggml.{role}_token_id", "uint32", ids[name]
    ends = _json(folder / "generation_config.json", missing={}).get("eos_token_id")
    others = (
        [end for end in ends or () if end != ids.get(settings.get("eos_token"))]
        if isinstance(ends, list)
        else []
    )
    if others:
        yield "tokenizer.ggml.eot_token_id", "uint32", others[0]
    yield "tokenizer.ggml.add_bos_token", "bool", False  # the chat template writes what it wants
    yield "tokenizer.ggml.add_space_prefix", "bool", of_pieces and pieces.starts_with_space(tokenizer)
    template = chat_template(folder)
    if template:
        yield "tokenizer.chat_template", "string", template


def extended(theirs: Mapping[str, Any], folder: Path, rows: int, arch: str) -> dict[str, Any]:
    """Fields of a GGUF that a model trained from it changes: its chat template, and tokens added at the end.

    theirs: fields as gguf's reader has them. rows: embeddings of the trained model. Raises PackFailed."""
    changed: dict[str, Any] = {}
    template = chat_template(folder)
    if template:
        changed["tokenizer.chat_template"] = template
    names = list(theirs["tokenizer.ggml.tokens"].contents())
    kinds = [int(kind) for kind in theirs["tokenizer.ggml.token_type"].contents()]
    before = (list(names), list(kinds))
    added = {row["id"]: row for row in _json(folder / "tokenizer.json", missing={}).get("added_tokens", ())}
    names += [f"[PAD{number}]" for number in range(len(names), rows)]
    kinds += [UNUSED] * (rows - len(kinds))
    for number, row in added.items():
        if number >= rows:
            raise PackFailed(f"the token {row['content']!r} has no embedding: the model has {rows}")
        if kinds[number] == UNUSED:  # past the end, or one of the rows that fill a vocabulary up
            names[number] = row["content"]
            kinds[number] = CONTROL if row.get("special") else USER_DEFINED
    if (names, kinds) == before:
        return changed
    changed |= {"tokenizer.ggml.tokens": names, "tokenizer.ggml.token_type": kinds}
    if "tokenizer.ggml.scores" in theirs:
        scores = [float(score) for score in theirs["tokenizer.ggml.scores"].contents()]
        changed["tokenizer.ggml.scores"] = [*scores, *([0.0] * (rows - len(scores)))]
    if f"{arch}.vocab_size" in theirs:
        changed[f"{arch}.vocab_size"] = rows
    return changed


def chat_template(folder: Path) -> str | None:
    """The chat template of a folder, or None."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    found: Any = _json(folder / "tokenizer_config.json", missing={}).get("chat_template")
    if isinstance(found, list):
        found = next((row["template"] for row in found if row.get("name") == "default"), None)
    return None if found is None else str(found)


def _pre(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for how the text is cut. A wrong one would tokenise silently otherwise: refused."""
    if tokenizer.get("normalizer") and tokenizer["normalizer"].get("type") != "NFC":
        raise PackFailed(f"the tokenizer normalises its text ({tokenizer['normalizer'].get('type')})")
    cut = tokenizer.get("pre_tokenizer") or {}
    steps = cut.get("pretokenizers", [cut]) if cut.get("type") == "Sequence" else [cut]
    kinds = [step.get("type") for step in steps]
    last = steps[-1]
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if kinds == ["ByteLevel"] and last.get("use_regex", True):
            return "gpt-2"
        if (
            kinds == ["Digits", "ByteLevel"]
            and steps[0].get("individual_digits")
            and last.get("use_regex", True)
        ):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
            pattern = steps[0].get("pattern", {}).get("Regex")
            if pattern in SPLITS:
                return SPLITS[pattern]
    raise PackFailed(
        f"the tokenizer cuts its text in a way ({', '.join(map(str, kinds))}) that has no known name in llama.cpp; "
        "pack with a GGUF of the same model to copy from"
    )


def _json(path: Path, missing: Any = None) -> Any:
    if not path.is_file():
        if missing is not None:
            return missing
        raise PackFailed(f"{path.name} is missing in {path.parent.name}")
    return json.loads(path.read_text(encoding="utf-8"))
