"""An adapter put into the weights of its base, one tensor at a time, with numpy alone.

python -m qianfan_platform.engines.llamacpp.merge BASE_FOLDER PEFT_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qianfan_platform.engines.llamacpp import lora
from qianfan_platform.engines.llamacpp.child import in_child, told
from qianfan_platform.engines.llamacpp.tensors import PackFailed, Stored, stored
from qianfan_platform.engines.orphans import die_with_parent

if TYPE_CHECKING:
    import numpy as np

MODULE: Final = "qianfan_platform.engines.llamacpp.merge"
BESIDE: Final = (".json", ".jinja", ".txt", ".model")  # files of a folder that go with its weights
NOT: Final = (".index.json", "manifest.json")  # of the base's own files
ITEM: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes


@dataclass(frozen=True)
class Merged(Stored):
    """A matrix of the base with an adapter's product added."""

    down: Stored
    up: Stored
    scale: float

    def load(self) -> np.ndarray:
        """The sum as float32."""
        whole: np.ndarray = super().load() + self.scale * (self.up.load() @ self.down.load())
        return whole


def merged(base: Path, adapter: Path) -> dict[str, Stored]:
    """The tensors of the base by name; those that the adapter changes are `Merged`. Raises PackFailed."""
    tensors = stored(base)
    config = lora.config_of(adapter)
    for module, (down, up) in lora.pairs(adapter).items():
        name = f"{module}.weight"
        whole = tensors.get(name)
        if whole is None:
            raise PackFailed(f"the adapter changes {module}, which the base model has no matrix for")
        if (up.shape[0], down.shape[1]) != whole.shape or down.shape[0] != up.shape[1]:
            raise PackFailed(
                f"the adapter does not fit the base: {module} is {up.shape[0]} × {down.shape[1]} in the adapter "
                f"and {' × '.join(map(str, whole.shape))} in the base"
            )
        scale = lora.scale(config, module, down.shape[0])
        tensors[name] = Merged(
            whole.path, whole.dtype, whole.shape, whole.start, whole.end, down, up, scale
        )  # fmt: skip
    return tensors


async def merge(base: Path, adapter: Path, out: Path) -> None:
    """`write` in a child process. Raises PackFailed."""
    await in_child(MODULE, str(base), str(adapter), str(out))


def write(base: Path, adapter: Path, out: Path) -> None:
    """Write the whole model in Hugging Face layout into the folder `out`, in the base's own dtype."""
    tensors = merged(base, adapter)
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(base.iterdir()):
        if file.is_file() and file.suffix in BESIDE and not file.name.endswith(NOT):
            shutil.copyfile(file, out / file.name)
    write_safetensors(out / "model.safetensors", tensors)


def write_safetensors(path: Path, tensors: dict[str, Stored]) -> None:
    """One file of the format, a tensor at a time, each in its own dtype."""
    import numpy as np

    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in ITEM:
            raise PackFailed(f"{name} is of type {tensor.dtype}; floats can be merged")
        size = int(np.prod(tensor.shape)) * ITEM[tensor.dtype]
        head[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(narrowed(tensor.load(), tensor.dtype))
        file.flush()
        os.fsync(file.fileno())


def narrowed(values: np.ndarray, dtype: str) -> bytes:
    """float32 as the bytes of `dtype`; bfloat16 is rounded to the nearest, ties to even."""
    import numpy as np

    if dtype != "BF16":
        kind = {"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype]
        return np.ascontiguousarray(values, dtype=kind).tobytes()
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype(np.uint16).tobytes()


def main() -> int:
    """The command line of the child: BASE_FOLDER PEFT_FOLDER OUT_FOLDER."""
    base, adapter, out = (Path(text) for text in sys.argv[1:4])
    try:
        write(base, adapter, out)
    except (PackFailed, OSError, KeyError, ValueError) as problem:
        print(told(problem, "merging"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
