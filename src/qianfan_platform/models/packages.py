"""What a package is: a folder of the file store that holds what engines eat, and nothing else.

`adapter.gguf` for a version that is an adapter on its base, `model.gguf` for a whole model; `package.json` says
which and on what; `parity.json` in the package of an import, whose proof no trainer left."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import orjson

Kind = Literal["adapter", "model"]
ADAPTER, WHOLE, PAGE = "adapter.gguf", "model.gguf", "package.json"


def weights_in(package: Path) -> tuple[Path | None, Path | None]:
    """(adapter, whole model) in a package folder; one of them is None."""
    adapter, whole = package / ADAPTER, package / WHOLE
    return (adapter if adapter.exists() else None, whole if whole.exists() else None)


def kind_of_result(folder: Path) -> Kind:
    """What a run left, by its own record; results from before records had it are told by their files."""
    record = folder / "training.json"
    said = orjson.loads(record.read_bytes()).get("kind") if record.is_file() else None
    if said in ("adapter", "model"):
        return "adapter" if said == "adapter" else "model"
    return "adapter" if (folder / "adapter_config.json").is_file() else "model"


def write_page(package: Path, **said: str) -> None:
    """Note in the package what it is."""
    (package / PAGE).write_bytes(orjson.dumps(said))
