"""Where each record of a content begins, and which are annotated: so that any page of a million is read at once.

An index is made from the content alone and kept beside the other things that can be made anew; losing it costs
a second or two. Of a large content it is made by a process of its own:
`python -m qianfan_platform.datasets.index CONTENT TARGET`.

The file is one array of 64-bit numbers: form, records n, labels m; n + 1 times where a record begins (the last
is the size of the content) doubled, plus 1 where it is annotated; m times a label's number and its record.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import orjson

from qianfan.dataset import schemas

from . import pictures

if TYPE_CHECKING:
    from qianfan_platform.platform import Platform
    from qianfan_platform.store import Store

FORM: Final = 1
HEAD: Final = 3  # numbers before the places
IN_A_CHILD: Final = 8 * 1024**2  # bytes of content from which a process of its own makes the index
KEPT: Final = 8  # in memory: 8 MB for each million records


class IndexFailed(Exception):
    """The process that makes an index ended without one; the text says why."""


@dataclass(frozen=True)
class DatasetIndex:
    """begins: (n + 1,) bytes. annotated: (n,) booleans. labels, labelled: (m,) a label and the record with it."""

    content: Path
    begins: Any
    annotated: Any
    labels: Any
    labelled: Any

    def __len__(self) -> int:
        return len(self.annotated)

    def lines(self, positions: Sequence[int]) -> list[bytes]:
        """The records at these positions, without the line break."""
        with self.content.open("rb") as file:
            found = []
            for at in positions:
                begin, end = int(self.begins[at]), int(self.begins[at + 1])
                file.seek(begin)
                found.append(file.read(end - begin).rstrip(b"\n"))
        return found


class Indexes:
    """The indexes of a server, by the file of the content. `folder` is made when missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, DatasetIndex] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def of(self, file_id: str, content: Path) -> DatasetIndex:
        """The index of a content; made when it is not there. Who asks meanwhile waits for the same one."""
        async with self._turns.setdefault(file_id, asyncio.Lock()):
            found = self._kept.pop(file_id, None)
            if found is None:
                target = self.place(file_id)
                found = await asyncio.to_thread(_read, target, content)
                if found is None:
                    await _made(content, target)
                    found = await asyncio.to_thread(_read, target, content)
                if found is None:
                    raise IndexFailed(f"the index of {file_id} is not what was written")
            self._kept[file_id] = found  # the newest is the last
            while len(self._kept) > KEPT:
                self._kept.pop(next(iter(self._kept)))
            return found

    def place(self, file_id: str) -> Path:
        """Where the index of a content lies."""
        return self._folder / f"{file_id}.index"

    def forget(self, file_id: str) -> None:
        """Remove what is kept of a content."""
        self._kept.pop(file_id, None)
        self._turns.pop(file_id, None)
        self.place(file_id).unlink(missing_ok=True)


_of_stores: WeakKeyDictionary[Store, Indexes] = WeakKeyDictionary()


def indexes_of(platform: Platform) -> Indexes:
    """The indexes of this server."""
    return _of_stores.setdefault(platform.store, Indexes(platform.settings.cache / "entities"))


def is_annotated(row: Any) -> bool:
    """Whether a record of any template has what a person or a file adds to it."""
    return pictures.is_annotated(row) if isinstance(row, dict) else schemas.is_annotated(row)


def label_number(label_id: str) -> int:
    """A label as an index keeps it: 63 bits of its hash."""
    return int.from_bytes(hashlib.sha256(label_id.encode()).digest()[:8], "big") >> 1


def build(content: Path, target: Path) -> None:
    """Write the index of a JSONL file."""
    places, labels = array("q"), array("q")
    at = 0
    with content.open("rb") as lines:
        for position, line in enumerate(lines):
            row = orjson.loads(line)
            places.append(at << 1 | is_annotated(row))
            at += len(line)
            if isinstance(row, dict):
                for label in pictures.labels_of(row):
                    labels.extend((label_number(label["label_id"]), position))
    places.append(at << 1)
    _write(target, len(places) - 1, places, labels)


def derive(old: DatasetIndex, over: Mapping[int, Any], target: Path) -> None:
    """Write the index of a content in which the records at some positions are others: `over`, None for one that is
    gone. The same file as `build` writes, without reading the content."""
    import numpy

    sizes, annotated = numpy.diff(old.begins), old.annotated.copy()
    there = numpy.ones(len(old), bool)
    labels = array("q")
    for position, row in over.items():
        if row is None:
            there[position] = False
            continue
        sizes[position] = len(orjson.dumps(row)) + 1
        annotated[position] = is_annotated(row)
    moved = numpy.cumsum(there) - 1
    kept = there[old.labelled] & ~numpy.isin(old.labelled, numpy.fromiter(over, numpy.int64, len(over)))
    pairs = [
        (int(label), int(moved[at])) for label, at in zip(old.labels[kept], old.labelled[kept], strict=True)
    ]
    for position, row in over.items():
        if isinstance(row, dict):
            pairs += [
                (label_number(one["label_id"]), int(moved[position])) for one in pictures.labels_of(row)
            ]
    for pair in sorted(pairs, key=lambda pair: pair[1]):
        labels.extend(pair)
    ends = numpy.cumsum(sizes[there])
    places = numpy.zeros(len(ends) + 1, numpy.int64)
    places[1:] = ends << 1
    places[:-1] |= annotated[there]
    _write(target, len(ends), places, labels)


def _write(target: Path, records: int, places: Any, labels: array[int]) -> None:
    """Put the file in place; it is whole or not there."""
    head = array("q", (FORM, records, len(labels) // 2))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("wb") as file:
        for part in (head, places, labels):
            part.tofile(file)
    os.replace(draft, target)


def _read(path: Path, content: Path) -> DatasetIndex | None:
    """The index, or None when there is none, or one that is torn or of another content."""
    import numpy

    try:
        numbers = numpy.fromfile(path, dtype=numpy.int64)
    except FileNotFoundError:
        return None
    if len(numbers) < HEAD or numbers[0] != FORM:
        return None
    records, labels = int(numbers[1]), int(numbers[2])
    if len(numbers) != HEAD + records + 1 + 2 * labels:
        return None
    places = numbers[HEAD : HEAD + records + 1]
    if int(places[-1]) >> 1 != content.stat().st_size:
        return None
    pairs = numbers[HEAD + records + 1 :].reshape(-1, 2)
    return DatasetIndex(
        content, places >> 1, (places[:-1] & 1).astype(bool), pairs[:, 0].copy(), pairs[:, 1].copy()
    )


async def _made(content: Path, target: Path) -> None:
    if content.stat().st_size < IN_A_CHILD:
        await asyncio.to_thread(build, content, target)
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", __name__, str(content), str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = said.decode(errors="replace").strip().splitlines()
        raise IndexFailed(words[-1] if words else f"code {process.returncode}")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
