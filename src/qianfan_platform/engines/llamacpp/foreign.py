"""Weights that strangers made. Everything is counted and compared, nothing is believed, no code is run.

What passes here is safetensors or GGUF from end to end: sizes, types and places of all tensors agree with the
file, and the model is one that can be served. Reading takes memory in the size of the heads alone.

    python -m qianfan_platform.engines.llamacpp.foreign PATH

prints one line of JSON: the fields of `Foreign`, or {"failed": reason}."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from qianfan_platform.engines import trial
from qianfan_platform.engines.chat_template import TemplateRefused
from qianfan_platform.engines.chat_template import template as chat_template_of
from qianfan_platform.engines.llamacpp import header
from qianfan_platform.engines.llamacpp.tensors import MAX_HEADER, PackFailed
from qianfan_platform.engines.llamacpp.vocabulary import SPLITS, architecture, chat_template, context_of
from qianfan_platform.engines.orphans import die_with_parent

SMALL: Final = 64 * 1024 * 1024  # bytes of a file that is no weights: tokenizers have some ten MiB
CONFIG: Final = 1024 * 1024
MOST_TENSORS: Final = 100_000
ITEM: Final = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
WEIGHTS: Final = ".safetensors"
TAKEN: Final = (WEIGHTS, ".json", ".jinja", ".txt", ".model")
REFUSED: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz", ".npy", ".py", ".so")  # fmt: skip
SHAPE: Final = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
HEADS: Final = ("num_key_value_heads", "head_dim")  # where they are said
LARGEST: Final = 10**7  # of a number in config.json that is a size
SETTINGS: Final = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")
CODE: Final = ("auto_map", "custom_pipelines")  # members that name Python files to be run


@dataclass(frozen=True)
class Foreign:
    """What was found. `context`: tokens the model was made for, 0 unknown. `parameters`: numbers in it."""

    kind: str  # gguf or safetensors
    architecture: str
    context: int
    parameters: int


def refused(name: str) -> str | None:
    """Why a file of this name is not taken; None when it is. Names are flat: no folder, nothing hidden."""
    if name != Path(name).name or "\\" in name or name.startswith(".") or not name.isprintable():
        return f"{name[:100]!r} is no plain file name"
    low = name.lower()
    if low.endswith(REFUSED):
        return f"{name} may hold code that runs when it is loaded; only safetensors and GGUF are taken"
    if not low.endswith((*TAKEN, ".gguf")):
        return (
            f"{name} is no file of a model; a folder of safetensors with its tokenizer, or one GGUF is taken"
        )
    return None


def wanted(names: Iterable[str]) -> list[str]:
    """The files of a folder that its model needs, sorted; what has nothing to do with it is left out.

    Raises PackFailed when there are no weights that can be taken."""
    kept = sorted(name for name in names if refused(name) is None and not name.lower().endswith(".gguf"))
    if not any(name.endswith(WEIGHTS) for name in kept):
        raise PackFailed(
            "there are no safetensors in the folder; pickles (.bin, .pt) are never loaded: convert them with "
            "save_pretrained(…, safe_serialization=True), or import a GGUF file"
        )
    return [name for name in kept if not name.startswith(("optimizer", "scheduler", "training_args"))]


def checked(path: Path) -> Foreign:
    """Look at a GGUF file or a folder in Hugging Face layout. Raises PackFailed, which says what is wrong."""
    try:
        return _folder(path) if path.is_dir() else _gguf(path)
    except header.NotGguf as problem:
        raise PackFailed(str(problem)) from problem
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise PackFailed(f"{path.name} is not what its name says: {problem!r}"[:300]) from problem


def _gguf(path: Path) -> Foreign:
    import gguf

    head = header.read(path)
    size = path.stat().st_size
    numbers, taken = 0, []
    for name, shape in head.tensors.items():
        kind, at = head.places[name]
        if kind not in {int(one) for one in gguf.GGML_QUANT_SIZES}:
            raise PackFailed(f"{path.name}: the tensor {name[:100]} has the unknown type {kind}")
        block, bytes_ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        count = math.prod(shape)
        if not shape or any(n < 1 for n in shape) or shape[-1] % block or count > size * 16:
            raise PackFailed(f"{path.name}: the tensor {name[:100]} cannot have the shape {shape}")
        taken.append((at, at + count // block * bytes_, name))
        numbers += count
    _apart(path.name, taken, size - head.data, gaps=True)
    arch = head.architecture
    if int(head.fields.get("split.count") or 0) > 1:
        raise PackFailed(
            f"{path.name} is one of {head.fields['split.count']} parts of a model; join them with "
            "llama-gguf-split --merge, and import the one file"
        )
    if not arch or not head.hparam("block_count") or "token_embd.weight" not in head.tensors:
        raise PackFailed(
            f"{path.name} is a GGUF file, but no language model: it may be an adapter or a projector"
        )
    _readable(head.fields.get("tokenizer.chat_template"), path.name)
    return Foreign("gguf", arch, max(0, min(head.context, LARGEST)), numbers)


def _folder(folder: Path) -> Foreign:
    for file in folder.iterdir():
        if file.is_symlink() or not file.is_file():
            raise PackFailed(f"{file.name} is no plain file")
        if (why := refused(file.name)) is not None:
            raise PackFailed(why)
        if not file.name.endswith(WEIGHTS) and file.stat().st_size > SMALL:
            raise PackFailed(f"{file.name} is larger than {SMALL} bytes, which no such file needs")
    config = _json(folder / "config.json", CONFIG)
    _no_code(folder)
    arch = architecture(folder)
    for name in (*SHAPE, *(part for part in HEADS if config.get(part) is not None)):
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST:
            raise PackFailed(f"config.json: {name} is {str(value)[:40]}, which is no size of a model")
    context = config.get("max_position_embeddings", 0)
    if not isinstance(context, int) or not 0 <= context <= LARGEST:
        raise PackFailed(f"config.json: max_position_embeddings is {str(context)[:40]}")
    _known_patterns(_json(folder / "tokenizer.json", SMALL))
    _readable(chat_template(folder), folder.name)
    parts = sorted(folder.glob(f"*{WEIGHTS}"))
    if not parts:
        raise PackFailed("there are no safetensors in the folder")
    named: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for name, shape in _safetensors(part).items():
            if name in named:
                raise PackFailed(f"the tensor {name[:100]} is there twice, also in {part.name}")
            named[name] = shape
    _index(folder, {part.name for part in parts})
    embedded = named.get("model.embed_tokens.weight")
    if embedded != (config["vocab_size"], config["hidden_size"]):
        raise PackFailed(
            f"the embeddings are {embedded}; config.json says {(config['vocab_size'], config['hidden_size'])}"
        )
    return Foreign(
        "safetensors", arch, context and context_of(config), sum(math.prod(shape) for shape in named.values())
    )


def _no_code(folder: Path) -> None:
    """Raise PackFailed where a file asks for Python code that comes with the model."""
    for name in SETTINGS:
        plain = _json(folder / name, SMALL) if (folder / name).is_file() else {}
        for member in CODE:
            if plain.get(member):
                raise PackFailed(
                    f"{name} names code of its own ({member}: {str(plain[member])[:80]}), and no code of strangers is "
                    f"run here; without {member} the model is taken if its architecture is a known one, or import a "
                    "GGUF file of it"
                )


def _no_template(name: str) -> str:
    return (
        f"{name} has no chat template, so nobody knows how to ask it; add chat_template.jinja to the folder, "
        "or import a model that was tuned to chat"
    )


def _index(folder: Path, parts: set[str]) -> None:
    """An index names the parts that are there, and nothing else."""
    index = folder / f"model{WEIGHTS}.index.json"
    if not index.is_file():
        if parts != {f"model{WEIGHTS}"}:
            raise PackFailed(
                f"the weights must be model{WEIGHTS}, or parts with model{WEIGHTS}.index.json beside them; "
                f"there are {', '.join(sorted(parts))[:200]}"
            )
        return
    there = set(_json(index, SMALL)["weight_map"].values())
    outside = sorted(str(name)[:100] for name in there - parts)
    if outside:
        raise PackFailed(f"{index.name} names {outside[0]!r}, which is not among the files")
    if beside := sorted(parts - there):
        raise PackFailed(f"{beside[0]} is none of the parts that {index.name} names; leave it out")


def _safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name, when the head of the file tells the truth about it. Raises PackFailed."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise PackFailed(f"{path.name} is no safetensors file: its head would be {length} bytes long")
        raw = file.read(length)
    head = _parsed(path.name, raw)
    head.pop("__metadata__", None)
    if not 0 < len(head) <= MOST_TENSORS:
        raise PackFailed(f"{path.name} holds {len(head)} tensors")
    taken, shapes = [], {}
    for name, entry in head.items():
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in ITEM:
            raise PackFailed(
                f"{path.name}: the tensor {name[:100]} has the unknown type {str(entry['dtype'])[:20]}"
            )
        if not all(type(n) is int and n >= 0 for n in (*shape, start, end)) or len(shape) > 8:
            raise PackFailed(f"{path.name}: the tensor {name[:100]} cannot have the shape {str(shape)[:60]}")
        if math.prod(shape) * ITEM[entry["dtype"]] != end - start:
            raise PackFailed(f"{path.name}: the tensor {name[:100]} of shape {str(shape)[:60]} does not take {end - start} bytes")  # fmt: skip
        taken.append((start, end, name))
        shapes[name] = tuple(shape)
    _apart(path.name, taken, size - 8 - length)
    return shapes


def _apart(file: str, taken: list[tuple[int, int, str]], room: int, *, gaps: bool = False) -> None:
    """Tensors lie one behind the other within the file; gaps: with fill between them."""
    at = 0
    for start, end, name in sorted(taken):
        if start < at:
            raise PackFailed(f"{file}: the tensor {name[:100]} overlaps another one")
        if start > at and not gaps:
            raise PackFailed(f"{file}: there are bytes before the tensor {name[:100]} that belong to none")
        if end > room:
            raise PackFailed(f"{file} is cut short: the tensor {name[:100]} ends past the file")
        at = end
    if not gaps and at != room:
        raise PackFailed(f"{file} has {room - at} bytes behind its last tensor that belong to none")


def _json(path: Path, limit: int) -> dict[str, Any]:
    if not path.is_file():
        raise PackFailed(f"{path.name} is missing")
    if path.stat().st_size > limit:
        raise PackFailed(f"{path.name} is larger than {limit} bytes")
    return _parsed(path.name, path.read_bytes())


def _parsed(name: str, raw: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise PackFailed(f"{name} has a member twice")
        return found

    try:
        plain = json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError) as problem:
        raise PackFailed(f"{name} is no JSON: {str(problem)[:100]}") from problem
    if not isinstance(plain, dict):
        raise PackFailed(f"{name} is no JSON object")
    return plain


def _readable(template: Any, name: str) -> None:
    """Raise PackFailed when there is no chat template, or one that does what none may."""
    if not template:
        raise PackFailed(_no_template(name))
    try:
        chat_template_of(str(template))
    except TemplateRefused as why:
        raise PackFailed(f"the chat template of {name} is refused: {why}") from why


def _known_patterns(part: Any) -> None:
    """Raise PackFailed for a pattern in tokenizer.json that is none of the known: some need ages for some texts."""
    waiting = [part]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            pattern = one.get("Regex")
            if pattern is not None and pattern not in SPLITS:
                raise PackFailed(
                    f"tokenizer.json has the pattern {str(pattern)[:80]!r}, which is none of the known; with some "
                    "patterns a short text takes hours"
                )
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _tried(path: Path) -> None:
    """Let the chat template and the tokenizer work once, where they can do no harm. Raises PackFailed."""
    folder = path if path.is_dir() else None
    template = chat_template(folder) if folder else header.read(path).fields["tokenizer.chat_template"]
    if (why := trial.refusal(str(template), folder and folder / "tokenizer.json")) is not None:
        raise PackFailed(f"{path.name} is refused: {why}")


def main(path: str) -> int:
    """The command line of the child."""
    try:
        found = checked(Path(path))
        _tried(Path(path))
        print(json.dumps(asdict(found)), flush=True)
    except (PackFailed, OSError) as problem:
        print(json.dumps({"failed": str(problem)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(*sys.argv[1:]))
