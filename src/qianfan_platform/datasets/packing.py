"""Packing an export, which for a large dataset is done in a process of its own.

python -m qianfan_platform.datasets.packing SPEC   (SPEC: JSON of the members of `Spec`)

Tells {"done", "of"} (bytes of the content) now and then.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.enums import DataTemplateType

from . import pictures, telling

PIECE: Final = 1 << 20  # bytes copied at once
TOLD_EVERY_S: Final = 0.25
TEXT_MEMBER: Final = "generic_text_file_"  # as published clients name them
FAST: Final = 1  # of zlib: an eighth of the time of its usual 6, for an eighth more bytes
Told = Callable[[dict[str, Any]], None]


@dataclass
class Spec:
    """packs: where the pictures lie, by the id of their file. kind: exportType; 2 leaves out the texts of pictures."""

    content: str
    target: str
    template: int
    packs: dict[str, str]
    kind: int = 1


def run(spec: Spec, told: Told) -> None:
    """Write the zip: `data.jsonl`, texts, or pictures. Raises OSError."""
    content = Path(spec.content)
    with zipfile.ZipFile(spec.target, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST) as archive:
        if spec.template == DataTemplateType.GenericText:
            _texts(archive, content, told)
        elif spec.template == DataTemplateType.Text2Image:
            packs = {name: Path(place) for name, place in spec.packs.items()}
            pictures.write(archive, content, packs, texts=spec.kind == 1)
        else:
            with content.open("rb") as rows, archive.open("data.jsonl", "w", force_zip64=True) as member:
                counted = _Counted(content, told)
                while piece := rows.read(PIECE):
                    member.write(piece)
                    counted.add(len(piece))


def _texts(archive: zipfile.ZipFile, content: Path, told: Told) -> None:
    """One file with a text in each line, as clients read it; one for each text where one has several lines."""
    with content.open("rb") as lines:
        together = not any("\n" in orjson.loads(line).strip() for line in lines)
    with content.open("rb") as lines:
        texts = (str(orjson.loads(line)).strip() for line in _Counted(content, told).lines(lines))
        if together:
            with archive.open(f"{TEXT_MEMBER}0.txt", "w", force_zip64=True) as member:
                for text in texts:
                    member.write(text.encode() + b"\n")
            return
        for number, text in enumerate(texts):
            archive.writestr(f"{TEXT_MEMBER}{number}.txt", text)


class _Counted:
    """Tells how much of a file is done."""

    def __init__(self, path: Path, told: Told) -> None:
        self._of = path.stat().st_size or 1
        self._told = told
        self._done = 0
        self._next = 0.0

    def add(self, size: int) -> None:
        self._done += size
        if (now := time.monotonic()) >= self._next:
            self._next = now + TOLD_EVERY_S
            self._told({"done": self._done, "of": self._of})

    def lines(self, lines: Iterator[bytes] | Any) -> Iterator[bytes]:
        for line in lines:
            yield line
            self.add(len(line))


def main(given: str) -> int:
    """0 when the zip is there; 1 with {"failed": reason}."""
    telling.end_with_the_starter()
    os.nice(5)  # the server's answers come first
    try:
        run(Spec(**orjson.loads(given)), telling.tell)
    except OSError as error:
        telling.tell({"failed": str(error.strerror or error)})
        return 1
    telling.tell({"finished": {}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
