"""Checkpoints as llama.cpp eats them: a PEFT adapter as a GGUF LoRA, a whole model as GGUF.

The work is CPU-bound, so the server calls `adapter` and `model`, which run it in a child process:

    python -m qianfan_platform.engines.llamacpp.pack adapter PEFT_FOLDER BASE.gguf OUT.gguf
    python -m qianfan_platform.engines.llamacpp.pack model HF_FOLDER OUT.gguf [--template T.gguf] [--dtype f16]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from qianfan_platform.engines.llamacpp import header, lora, rope
from qianfan_platform.engines.llamacpp.child import in_child, told
from qianfan_platform.engines.llamacpp.merge import merged
from qianfan_platform.engines.llamacpp.tensors import (
    PackFailed,
    Stored,
    gguf_name,
    permuted,
    rotary_heads,
    stored,
    tied,
)
from qianfan_platform.engines.llamacpp.vocabulary import architecture, extended, fields
from qianfan_platform.engines.orphans import die_with_parent

if TYPE_CHECKING:
    import gguf
    import numpy as np

Dtype = Literal["f32", "f16", "bf16", "q8_0"]
DTYPES: Final = ("f32", "f16", "bf16", "q8_0")
FILE_TYPES: Final = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # general.file_type
MODULE: Final = "qianfan_platform.engines.llamacpp.pack"
VOCABULARY: Final = ("token_embd.weight", "output.weight")  # a row for each token


async def adapter(peft_folder: Path, base_gguf: Path, out: Path) -> None:
    """`adapter_to_gguf` in a child process. Raises PackFailed."""
    await in_child(MODULE, "adapter", str(peft_folder), str(base_gguf), str(out))


async def model(
    hf_folder: Path,
    out: Path,
    *,
    template_gguf: Path | None = None,
    dtype: Dtype = "f16",
    adapter: Path | None = None,
) -> None:
    """`model_to_gguf` in a child process. Raises PackFailed."""
    more = [] if template_gguf is None else ["--template", str(template_gguf)]
    more += [] if adapter is None else ["--adapter", str(adapter)]
    await in_child(MODULE, "model", str(hf_folder), str(out), "--dtype", dtype, *more)


def adapter_to_gguf(peft_folder: Path, base_gguf: Path, out: Path) -> None:
    """Write a LoRA adapter of PEFT as GGUF for the base model in `base_gguf`. `out` appears whole or not at all.

    Raises PackFailed when the adapter does not fit the base, or is of a kind that llama.cpp cannot apply."""
    import gguf

    config = lora.config_of(peft_folder)
    base = header.read(base_gguf)
    alpha = float(config["lora_alpha"])
    pairs = lora.pairs(peft_folder)
    with whole(out) as path:
        writer = gguf.GGUFWriter(path, base.architecture)
        try:
            writer.add_type("adapter")
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", alpha)
            for module, (down, up) in sorted(pairs.items()):
                name, a, b = _lora_tensors(module, down, up, base)
                rank = a.shape[0]
                b *= lora.scale(config, module, rank) * rank / alpha  # llama.cpp multiplies by alpha / rank
                writer.add_tensor(f"{name}.weight.lora_a", a)
                writer.add_tensor(f"{name}.weight.lora_b", b)
            _finish(writer)
        finally:
            writer.close()


def _lora_tensors(
    module: str, down: Stored, up: Stored, base: header.Header
) -> tuple[str, np.ndarray, np.ndarray]:
    """GGUF name, A (rank, in), B (out, rank) of one module, checked against the base."""
    name = gguf_name(module)
    shape = base.tensors.get(f"{name}.weight")
    if name is None or shape is None or name == "token_embd":
        raise PackFailed(f"the adapter changes {module}, which the base model has no matrix for")
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1]:
        raise PackFailed(f"the ranks of {module} do not agree: A is {down.shape}, B is {up.shape}")
    if (up.shape[0], down.shape[1]) != shape:
        raise PackFailed(
            f"the adapter does not fit the base: {module} is {up.shape[0]} × {down.shape[1]} in the adapter "
            f"and {' × '.join(map(str, shape))} in the base"
        )
    a, b = down.load(), up.load()
    heads = int(base.hparam("attention.head_count"))
    turned = rotary_heads(base.architecture, name, heads, int(base.hparam("attention.head_count_kv", heads)))
    return name, a, b if turned is None else permuted(b, turned)


def model_to_gguf(
    hf_folder: Path,
    out: Path,
    *,
    template_gguf: Path | None = None,
    dtype: Dtype = "f16",
    adapter: Path | None = None,
) -> None:
    """Write a whole model as GGUF. `out` appears whole or not at all.

    template_gguf: a GGUF of the model that this one was trained from: its fields are copied, its tensors are
    all replaced. What the folder says otherwise holds: its chat template, and tokens that it adds at the end.
    Without one the fields are made from config.json and tokenizer.json.
    dtype: of the matrices; norms stay f32. adapter: a PEFT folder that is merged in. Raises PackFailed."""
    import gguf

    arch = architecture(hf_folder)
    config = json.loads((hf_folder / "config.json").read_text(encoding="utf-8"))
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    held = stored(hf_folder) if adapter is None else merged(hf_folder, adapter)
    tensors = _named(held, one=tied(config))
    copied: dict[str, np.ndarray] = {}
    with whole(out) as path:
        writer = gguf.GGUFWriter(path, arch)
        try:
            if template_gguf is None:
                _make_fields(writer, hf_folder)
                if (stretched := rope.factors(config)) is not None:
                    copied[rope.FACTORS] = stretched
            else:
                copied = _from_template(writer, template_gguf, arch, tensors, hf_folder)
            writer.add_file_type(FILE_TYPES[dtype])
            kinds = {name: kind_of(name, tensor.shape, dtype) for name, tensor in tensors.items()}
            for name, tensor in tensors.items():
                announce(writer, name, tensor.shape, kinds[name])
            for name, values in copied.items():
                writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name, tensor in tensors.items():  # one in memory at a time
                values = tensor.load()
                turned = rotary_heads(arch, name.rpartition(".")[0], heads, kv_heads)
                values = values if turned is None else permuted(values, turned)
                writer.write_tensor_data(gguf.quants.quantize(values, kinds[name]))
            for values in copied.values():
                writer.write_tensor_data(values)
        finally:
            writer.close()


def dtype_of(folder: Path) -> Dtype:
    """16 bits as the weights in a Hugging Face folder have them; small models that are kept exact stay so."""
    config = json.loads((folder / "config.json").read_bytes())
    known: dict[str, Dtype] = {"float32": "f32", "bfloat16": "bf16"}
    return known.get(str(config.get("dtype") or config.get("torch_dtype")), "f16")


def _named(tensors: dict[str, Stored], *, one: bool) -> dict[str, Stored]:
    """The tensors by GGUF name; embeddings first. one: output and embeddings are one matrix."""
    found: dict[str, Stored] = {}
    for key, tensor in tensors.items():
        module, _, part = key.rpartition(".")
        name = gguf_name(module)
        if name is None or part not in ("weight", "bias"):
            raise PackFailed(f"the model holds the tensor {key}, which has no name in GGUF")
        if not (one and name == "output"):
            found[f"{name}.{part}"] = tensor
    if "token_embd.weight" not in found:
        raise PackFailed("the model holds no embeddings (model.embed_tokens.weight)")
    if not one and "output.weight" not in found:
        raise PackFailed(
            "the model holds no output matrix (lm_head.weight), and its configuration does not say that it is "
            "tied to the embeddings (tie_word_embeddings)"
        )
    return dict(sorted(found.items(), key=lambda item: (item[0] != "token_embd.weight", item[0])))


def _make_fields(writer: gguf.GGUFWriter, folder: Path) -> None:
    writer.add_type("model")
    for key, kind, value in fields(folder):
        getattr(writer, f"add_{kind}")(key, value)


def _from_template(
    writer: gguf.GGUFWriter, template: Path, arch: str, tensors: dict[str, Stored], folder: Path
) -> dict[str, np.ndarray]:
    """Copy the fields of a GGUF of the same model; return tensors that only GGUF files have.

    A template with an output matrix of its own for a model with tied embeddings gets the embeddings."""
    import gguf

    reader = gguf.GGUFReader(template)
    name = reader.fields["general.architecture"].contents()
    if name != arch:
        raise PackFailed(f"the template {template.name} is of architecture {name}, the model of {arch}")
    shapes = {tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in reader.tensors}
    copied = {tensor.name: tensor.data.copy() for tensor in reader.tensors if tensor.name == rope.FACTORS}
    if "output.weight" in shapes and "output.weight" not in tensors:
        tensors["output.weight"] = tensors["token_embd.weight"]
    for name, shape in shapes.items():
        mine = tensors.get(name)
        if mine is None and name not in copied:
            raise PackFailed(f"the model has no tensor for {name} of the template {template.name}")
        if mine is None or mine.shape == shape:
            continue
        if name in VOCABULARY and mine.shape[1:] == shape[1:] and mine.shape[0] > shape[0]:
            continue  # tokens were added
        raise PackFailed(f"{name} is {mine.shape} in the model and {shape} in the template {template.name}")
    instead = extended(reader.fields, folder, tensors["token_embd.weight"].shape[0], arch)
    copy_fields(writer, reader, instead)
    return copied


def copy_fields(
    writer: gguf.GGUFWriter, reader: gguf.GGUFReader, instead: Mapping[str, Any] | None = None
) -> None:
    """Copy what a GGUF says of its model: everything but what the writer says itself.

    instead: values that go in place of the file's own, and those that it lacks as texts."""
    import gguf

    changed = dict(instead or {})
    skipped = ("general.architecture", "general.file_type", "general.alignment")
    for key, entry in reader.fields.items():
        if key.startswith(("GGUF.", "split.")) or key in skipped:
            continue
        inner = entry.types[1] if len(entry.types) > 1 else None
        value = changed.pop(key) if key in changed else entry.contents()
        writer.add_key_value(key, value, entry.types[0], inner)
    for key, text in changed.items():
        writer.add_key_value(key, text, gguf.GGUFValueType.STRING)


def kind_of(name: str, shape: tuple[int, ...], dtype: str) -> gguf.GGMLQuantizationType:
    import gguf

    if len(shape) < 2 or "norm" in name:
        return gguf.GGMLQuantizationType.F32
    if dtype == "q8_0" and shape[-1] % 32:
        return gguf.GGMLQuantizationType.F16  # a row must be whole blocks of 32
    return gguf.GGMLQuantizationType[dtype.upper()]


def announce(
    writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType
) -> None:
    import gguf
    import numpy as np

    plain = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}
    if kind in plain:
        dtype = np.dtype(plain[kind])
        writer.add_tensor_info(name, shape, dtype, int(np.prod(shape)) * dtype.itemsize)
        return
    size = gguf.quant_shape_to_byte_shape(shape, kind)
    writer.add_tensor_info(name, size, np.dtype(np.uint8), int(np.prod(size)), raw_dtype=kind)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to; it becomes `out` when the block ends well, and goes otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line of the child."""
    parser = argparse.ArgumentParser(prog="pack", description="Pack a checkpoint as GGUF.")
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("adapter")
    one.add_argument("peft_folder", type=Path)
    one.add_argument("base_gguf", type=Path)
    one.add_argument("out", type=Path)
    one.set_defaults(run=lambda a: adapter_to_gguf(a.peft_folder, a.base_gguf, a.out))
    two = verbs.add_parser("model")
    two.add_argument("hf_folder", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--template", type=Path)
    two.add_argument("--dtype", choices=DTYPES, default="f16")
    two.add_argument("--adapter", type=Path)
    two.set_defaults(
        run=lambda a: model_to_gguf(
            a.hf_folder, a.out, template_gguf=a.template, dtype=a.dtype, adapter=a.adapter
        )
    )
    chosen = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = chosen.run
    try:
        run(chosen)
    except (PackFailed, header.NotGguf, OSError, KeyError, ValueError) as problem:
        print(told(problem, "packing"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
