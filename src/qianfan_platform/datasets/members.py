"""The files of an import: archives unpacked, and what each file is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from qianfan.contract.enums import DataImportError, DataTemplateType
from qianfan.contract.errors import Fault
from qianfan.dataset import formats
from qianfan.dataset.lines import BOM
from qianfan.dataset.schemas import Problem
from qianfan_platform.files import archives

Note = Callable[[str], None]
_HEAD: Final = 1 << 16  # bytes by which a file is known
_PARQUET: Final = b"PAR1"
_PACKED: Final = ("zip", "gzip")
_TEXT_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Unreadable(Exception):
    """A file is no data at all, so that nobody knows how much is lost: the import is refused whatever its share."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass
class Member:
    """One file. packed: it came out of an archive."""

    name: str
    path: Path
    packed: bool = False


def unpacked(inputs: Sequence[Sequence[str]], scratch: Path, note: Note) -> Iterator[Member]:
    """The inputs, (name, path) each, every archive replaced by what is in it. Raises Unreadable."""
    for number, (name, where) in enumerate(inputs):
        path = Path(where)
        with path.open("rb") as file:
            packing = archives.packing(file.read(8))
        if packing not in _PACKED or suffix_format(name) == "parquet":
            yield Member(name, path)
            continue
        folder = scratch / f"archive-{number}"
        try:
            found = asyncio.run(archives.extract(path, folder))
        except Fault as broken:
            code = DataImportError.Archive.value
            raise Unreadable(
                Problem(1, broken.message, broken.advice or "", source=name, code=code)
            ) from None
        for member in found:
            inner = str(member.relative_to(folder))
            if _is_rubbish(inner):
                note("files of a file manager are passed over")
            else:
                yield Member(f"{name}/{inner}", member, packed=True)


def are_small(inputs: Sequence[tuple[str, Path]], limit: int) -> bool:
    """Whether all are so many bytes at most, and none is an archive or a table of which much may come out."""
    if sum(path.stat().st_size for _, path in inputs) > limit:
        return False
    for _, path in inputs:
        with path.open("rb") as file:
            head = file.read(8)
        if archives.packing(head) or head.startswith(_PARQUET):
            return False
    return True


def suffix_format(name: str) -> str | None:
    """The format that the name of a file tells; None when it tells none that is read."""
    suffix = Path(name).suffix.lstrip(".").lower()
    suffix = formats.SUFFIXES.get(suffix, suffix)
    return suffix if suffix in formats.FORMATS else None


def format_of(member: Member, template: DataTemplateType, note: Note) -> str:
    """What the file is, by its suffix, else by its first bytes. Raises Unreadable for what is no data."""
    with member.path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_PARQUET):
        return "parquet"
    if kind := archives.packing(head[:8]):
        if member.packed:
            raise _foreign(
                member, f"an archive inside an archive is not opened ({kind})", "pack the files themselves"
            )
        raise _foreign(member, f"the file is packed with {kind}", "pack it as zip or tar.gz")
    found = suffix_format(member.name)
    if found == "json" and _is_lines(head):
        note(f"{member.name} is named .json and holds a record on each line")
        return "jsonl"
    if found is not None:
        return found
    if b"\0" in head and not head.startswith(_TEXT_MARKS):
        suffix = Path(member.name).suffix or "no suffix"
        fix = f"give {', '.join(formats.FORMATS)}, or a zip or tar.gz of these"
        raise _foreign(member, f"the file is no text, and not of a format that is read ({suffix})", fix)
    return "txt" if template is DataTemplateType.GenericText else "jsonl"


def _foreign(member: Member, what: str, fix: str) -> Unreadable:
    return Unreadable(Problem(1, what, fix, source=member.name, code=DataImportError.BadFormat.value))


def _is_lines(head: bytes) -> bool:
    """Whether the first line is a record by itself, and another follows."""
    first, _, rest = head.removeprefix(BOM).lstrip().partition(b"\n")
    if not rest.strip():
        return False
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return True


def _is_rubbish(name: str) -> bool:
    """What file managers put into archives."""
    parts = Path(name).parts
    return "__MACOSX" in parts or parts[-1] in ("Thumbs.db", "desktop.ini") or parts[-1].startswith(".")
