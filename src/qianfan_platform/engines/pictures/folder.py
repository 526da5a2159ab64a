"""What a folder of weights must hold, and must not, before anything in it is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from qianfan_platform.engines.protocol import EngineFailed

RUNS_CODE: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py")
HEADS: Final = {"text2image": "model_index.json", "image2text": "config.json"}
MAKERS: Final = {"text2image": "a pipeline of diffusers", "image2text": "a model of Transformers"}


def use_of(kinds: Sequence[str]) -> str:
    """text2image or image2text. Raises EngineFailed for anything else."""
    found = [kind for kind in kinds if kind in HEADS]
    if len(found) != 1 or len(kinds) != 1:
        raise EngineFailed(
            f'the engine pictures serves kinds = ["text2image"] or ["image2text"], not {list(kinds)}'
        )
    return found[0]


def check(folder: Path | None, use: str) -> Path:
    """The folder, when only safetensors and settings are in it. Raises EngineFailed, which names the file.

    A pickle or a module would run code of whoever made it; even one that nothing should load is refused."""
    if folder is None or not folder.is_dir():
        raise EngineFailed(f"the source of a model for {use} must be a folder with {MAKERS[use]}")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.suffix.lower() in RUNS_CODE:
            raise EngineFailed(
                f"{path.relative_to(folder)} could run code when it is loaded; only safetensors are read. "
                "Remove it, or save the model with safe_serialization=True"
            )
    if not (folder / HEADS[use]).is_file():
        raise EngineFailed(f"the folder {folder.name} holds no {HEADS[use]}: it is not {MAKERS[use]}")
    if use == "text2image":
        _check_parts(folder)
    if not any(path.suffix == ".safetensors" for path in files):
        raise EngineFailed(f"the folder {folder.name} holds no weights: no file ends in .safetensors")
    return folder


def _check_parts(folder: Path) -> None:
    """Only classes of diffusers and Transformers make the parts of a pipeline: it names modules to import."""
    try:
        index = dict(json.loads((folder / "model_index.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError) as problem:
        raise EngineFailed(f"the model_index.json of {folder.name} cannot be read: {problem}") from problem
    spec = find_spec("diffusers")
    places = spec.submodule_search_locations or [] if spec is not None else []
    for name, value in index.items():
        if name == "_class_name" and not isinstance(value, str):
            raise EngineFailed(
                f"model_index.json names {value} as its pipeline, which is no class of diffusers"
            )
        library = value[0] if isinstance(value, list) and value and not name.startswith("_") else None
        if library in (None, "diffusers", "transformers"):
            continue
        if not (
            str(library).isidentifier()
            and any((Path(one) / "pipelines" / library).is_dir() for one in places)
        ):
            raise EngineFailed(
                f"model_index.json takes its {name} from {library!r}; parts of diffusers and Transformers only "
                "are loaded"
            )
