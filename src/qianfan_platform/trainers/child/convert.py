"""python -m qianfan_platform.trainers.child.convert GGUF OUT

Makes a Hugging Face folder (bfloat16 safetensors, tokenizer, chat template) of a GGUF file, once, so that
training need not do it each time. Progress and the end are JSON lines on stdout:
{"step": str, "done": 0–1}, then {"finished": OUT} or {"failed": reason}."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import gguf
import torch

from qianfan_platform.engines.orphans import die_with_parent
from qianfan_platform.trainers.child import task
from qianfan_platform.trainers.child.checkpoint import sync, write_folder
from qianfan_platform.trainers.child.wire import Refused

DIGIT_BY_DIGIT = ("smollm", "starcoder", "refact", "command-r", "codeshell")
"""Kinds of tokenizers (`tokenizer.ggml.pre`) that cut numbers into digits before anything else."""
SAME_DIRECTION = 0.98  # cosine above which an input and an output embedding are one, quantised twice


def tell(step: str, done: float) -> None:
    print(json.dumps({"step": step, "done": done}), flush=True)


def convert(source: Path, out: Path) -> None:
    """Write `out` from the GGUF `source`. Raises Refused, OSError; `out` is whole or absent."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Both loaders parse the same metadata several times, three seconds each: read it once.
    setattr(gguf, "GGUFReader", functools.lru_cache(maxsize=1)(gguf.GGUFReader))  # noqa: B010
    if not source.is_file():
        raise Refused(f"there is no file {source.name}")
    tell("reading the weights", 0.05)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, local_files_only=True
    )
    tell("reading the tokenizer", 0.5)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    cut_as_the_engine_does(tokenizer, pre_tokenizer_of(source))
    tie(model)
    forget_quantisation(model)
    model = model.to(torch.bfloat16)
    model.config.name_or_path = tokenizer.name_or_path = source.stem
    bad = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise Refused(f"the weights in {source.name} are damaged: {bad[0]} holds numbers that are not finite")

    def write(into: Path) -> None:
        tell("writing", 0.6)
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)
        for file in into.iterdir():
            sync(file)
        tell("checking", 0.8)
        verify(into, model, tokenizer)

    write_folder(out, write)


def pre_tokenizer_of(source: Path) -> str:
    field = gguf.GGUFReader(str(source)).get_field("tokenizer.ggml.pre")
    return str(field.contents()) if field else ""


def cut_as_the_engine_does(tokenizer: Any, kind: str) -> None:
    """The loader knows one way to cut text for most kinds; llama.cpp cuts some of them digit by digit."""
    from tokenizers import pre_tokenizers

    if kind in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )


def tie(model: Any) -> None:
    """One matrix for input and output, where the file has the same one twice in two quantisations."""
    inner, outer = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if inner is outer or inner.shape != outer.shape:
        return
    rows = torch.linspace(0, len(inner) - 1, 1000).long()
    alike = torch.nn.functional.cosine_similarity(inner[rows].float(), outer[rows].float()).mean()
    if float(alike) >= SAME_DIRECTION:
        model.get_input_embeddings().weight = outer
        model.config.tie_word_embeddings = True


def forget_quantisation(model: Any) -> None:
    """The weights are plain numbers now; the marks of the file's format would forbid saving them."""
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False


def verify(folder: Path, model: Any, tokenizer: Any) -> None:
    """Read the folder back and compare. Raises Refused."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    again: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    written, read = model.state_dict(), again.state_dict()
    other = [name for name in written if name not in read or not torch.equal(written[name], read[name])]
    if other or len(read) != len(written):
        raise Refused(f"the converted model does not read back as it was written: {(other or ['size'])[0]}")
    twin = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = "Order 1042: “naïve” café, 你好！\n\tif x >= 10: return"
    if (
        twin(text)["input_ids"] != tokenizer(text)["input_ids"]
        or twin.chat_template != tokenizer.chat_template
    ):
        raise Refused("the converted tokenizer does not read back as it was written")


if __name__ == "__main__":
    die_with_parent()
    given, into = sys.argv[1:]
    task.run(lambda: convert(Path(given), Path(into)), into)
