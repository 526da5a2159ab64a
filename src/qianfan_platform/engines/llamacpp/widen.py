"""Write a quantised GGUF with 16-bit matrices.

A small model loses much to four bits, and llama.cpp rounds activations to eight beside them: the same
weights held in 16 bits answer better, and as the trainer's do. The file grows, the speed hardly falls.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qianfan_platform.engines.llamacpp.child import in_child
from qianfan_platform.engines.llamacpp.pack import (
    FILE_TYPES,
    Dtype,
    announce,
    copy_fields,
    kind_of,
    whole,
)
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.orphans import die_with_parent

MODULE = "qianfan_platform.engines.llamacpp.widen"


async def widened(source: Path, out: Path, dtype: Dtype) -> None:
    """`widen` in a child process. Raises PackFailed."""
    await in_child(MODULE, str(source), str(out), dtype)


def widen(source: Path, out: Path, dtype: Dtype = "f16") -> None:
    """Write the model in `source` with matrices of `dtype`. `out` appears whole or not at all."""
    import gguf

    reader = gguf.GGUFReader(source)
    with whole(out) as path:
        writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
        try:
            copy_fields(writer, reader)
            writer.add_file_type(FILE_TYPES[dtype])
            kinds = {}
            for tensor in reader.tensors:
                shape = tuple(int(n) for n in reversed(tensor.shape))
                kinds[tensor.name] = kind_of(tensor.name, shape, dtype)
                announce(writer, tensor.name, shape, kinds[tensor.name])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in reader.tensors:  # one in memory at a time
                values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
                writer.write_tensor_data(gguf.quants.quantize(values, kinds[tensor.name]))
        finally:
            writer.close()


def main() -> int:
    """The command line of the child: SOURCE OUT DTYPE."""
    source, out, dtype = sys.argv[1:4]
    try:
        widen(Path(source), Path(out), dtype)  # type: ignore[arg-type]
    except (PackFailed, OSError, KeyError, ValueError) as problem:
        print(f"{Path(source).name} cannot be widened: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
