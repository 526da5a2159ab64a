"""The head of a GGUF file: its plain fields and the shapes of its tensors, in milliseconds.

gguf's own reader maps every string of the vocabulary first, which takes seconds; a look at the shapes
should not. Layout: the GGUF specification, version 2 and 3."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

MAGIC: Final = b"GGUF"
STRING, ARRAY = 8, 9
MOST_PAIRS: Final = 10_000
MOST_TENSORS: Final = 100_000
MOST_ITEMS: Final = 8_000_000  # of an array: vocabularies have hundreds of thousands
LONGEST: Final = 16 * 1024 * 1024  # bytes of a text that is read: a chat template, a name
PLAIN: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class NotGguf(ValueError):
    """The file is not a whole GGUF file that we can read."""


@dataclass(frozen=True)
class Header:
    """`fields`: scalars and strings by key; of arrays the length, or the list where it was asked for.

    `tensors`: shape by name, rows first. `places`: (type, offset from `data`) of each tensor; `data`: where in the file the tensors begin."""

    fields: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    data: int = 0

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture", ""))

    def hparam(self, name: str, default: Any = None) -> Any:
        """A field of the architecture, such as `attention.head_count`."""
        return self.fields.get(f"{self.architecture}.{name}", default)

    @property
    def context(self) -> int:
        """The longest sequence the model was made for, in tokens; 0 when the file does not say."""
        return int(self.hparam("context_length", 0))


def read(path: Path, *, lists: Collection[str] = ()) -> Header:
    """The head of the file. lists: keys of arrays that are read whole. Raises NotGguf."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise NotGguf(f"{path.name} is not a GGUF file")
        try:
            version, tensors, pairs = struct.unpack("<IQQ", file.read(20))
            if version not in (2, 3):
                raise NotGguf(f"{path.name} is of GGUF version {version}; versions 2 and 3 can be read")
            if pairs > MOST_PAIRS or tensors > MOST_TENSORS:
                raise NotGguf(
                    f"{path.name} claims {pairs} fields and {tensors} tensors: no model has so many"
                )
            fields = dict(_pair(file, size, lists) for _ in range(pairs))
            rows = [_tensor(file, size) for _ in range(tensors)]
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError) as problem:
            raise NotGguf(f"{path.name} is damaged or cut short: its head cannot be read") from problem
        if len({name for name, *_ in rows}) != len(rows):
            raise NotGguf(f"{path.name} names a tensor twice")
        step = fields.get("general.alignment", 32)
        if not isinstance(step, int) or not 0 < step <= 2**20:
            raise NotGguf(f"{path.name} places its tensors at multiples of {step!r}")
        data = -(-file.tell() // step) * step
    shapes = {name: shape for name, shape, _, _ in rows}
    return Header(fields, shapes, {name: (kind, at) for name, _, kind, at in rows}, data)


def _pair(file: BinaryIO, size: int, lists: Collection[str]) -> tuple[str, Any]:
    key = _string(file, size)
    return key, _value(file, size, _one(file, "I"), whole=key in lists)


def _value(file: BinaryIO, size: int, kind: int, *, whole: bool) -> Any:
    if kind == STRING:
        return _string(file, size)
    if kind != ARRAY:
        return _one(file, PLAIN[kind])
    inner, count = struct.unpack("<IQ", file.read(12))
    if count > min(size, MOST_ITEMS):
        raise OverflowError
    if whole:
        return _list(file, size, inner, count)
    if inner in PLAIN:
        file.seek(struct.calcsize("<" + PLAIN[inner]) * count, os.SEEK_CUR)
    elif inner == STRING:
        for _ in range(count):
            length = _one(file, "Q")
            if length > size:
                raise OverflowError
            file.seek(length, os.SEEK_CUR)
    else:
        raise KeyError(inner)
    return count


def _list(file: BinaryIO, size: int, kind: int, count: int) -> list[Any]:
    if kind != STRING:
        form = f"<{count}{PLAIN[kind]}"
        return list(struct.unpack(form, file.read(struct.calcsize(form))))
    found, length_of = [], struct.Struct("<Q").unpack
    for _ in range(count):
        (length,) = length_of(file.read(8))
        if length > size:
            raise OverflowError
        found.append(file.read(length).decode(errors="replace"))  # a token may be half of a letter
    return found


def _tensor(file: BinaryIO, size: int) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape (rows first), type, offset."""
    name = _string(file, size)
    dims = _one(file, "I")
    if dims > 4:
        raise OverflowError
    shape = struct.unpack(f"<{dims}Q", file.read(8 * dims))
    kind, at = struct.unpack("<IQ", file.read(12))
    return name, tuple(reversed(shape)), kind, at


def _string(file: BinaryIO, size: int) -> str:
    length = _one(file, "Q")
    if length > min(size, LONGEST):
        raise OverflowError
    return file.read(length).decode()


def _one(file: BinaryIO, code: str) -> Any:
    return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]
