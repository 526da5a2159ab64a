"""Rows of files of this machine: one file, a folder of files, or a zip of them."""

from __future__ import annotations

import codecs
import itertools
import os
import secrets
import shutil
import tempfile
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Final

import orjson

from qianfan.dataset.encodings import as_utf8
from qianfan.dataset.formats import FORMATS, PIECE, READERS, WRITERS, Rows, format_of, open_rows
from qianfan.dataset.lines import FormatError, not_utf8
from qianfan.dataset.schemas import Problem
from qianfan.errors import InvalidArgumentError
from qianfan.utils.logging import logger

Told = Callable[[int], None]
BUFFER: Final = 1 << 20  # bytes written at once
WRITTEN: Final = (*WRITERS, "parquet")


@dataclass
class FileDataSource:
    """A file of this machine, a folder, or a zip; the files in one are read in the order of their names.

    file_format: jsonl, json, csv, txt or parquet; by default what the suffix says, in a folder that of each file.
    save_as_folder: a folder is written with a file `entry_<i>` for each row, and must not be there yet.
    is_a_text_file_an_entry: a text file is one row, and not each of its lines."""

    path: str | Path
    file_format: str | None = None
    save_as_folder: bool = False
    is_a_text_file_an_entry: bool = False
    _starts: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    _names: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()
        if self.file_format is not None or not self.is_container:
            self.file_format = format_of(self.path, self.file_format)

    @property
    def is_container(self) -> bool:
        """Whether it is a folder or a zip of files."""
        path = Path(self.path)
        return path.suffix.lower() == ".zip" or path.is_dir()

    @property
    def is_there(self) -> bool:
        """Whether there is such a file or folder."""
        return Path(self.path).exists()

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        path = Path(self.path)
        if path.is_dir():
            return sum(member.stat().st_size for member in self._files())
        return path.stat().st_size

    @property
    def is_lines(self) -> bool:
        """Whether a row is a line of the file, so that one can be found without reading those before it."""
        if self.file_format != "jsonl" or self.is_container:
            return False
        with Path(self.path).open("rb") as file:
            return not file.read(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\0\0"))

    def stamp(self) -> tuple[int, ...]:
        """What changes when the file does. Raises FileNotFoundError."""
        found = Path(self.path).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, told: Told | None = None) -> Rows:
        """`(line, row)` of the file, streamed; in a folder or a zip lines are counted on, see `place`.

        told: hears how many bytes have been read."""
        path = Path(self.path)
        if self.is_container:
            return self._joined(self._folder() if path.is_dir() else self._zip())
        if self.is_a_text_file_an_entry and self.file_format == "txt":
            return _one_text(path.open("rb"), path.name)
        return open_rows(path, self.file_format, told=told)

    def place(self, line: int) -> tuple[str, int]:
        """The name of the file that a row's number belongs to, and the line in it."""
        name = Path(self.path).name
        if not self._starts:
            return name, line
        at = max(0, bisect_right(self._starts, line - 1) - 1)
        return f"{name}/{self._names[at]}", line - self._starts[at]

    def write(self, rows: Iterable[Any]) -> int:
        """Replace the file by these rows, and return how many; it is whole or unchanged."""
        if self.save_as_folder:
            return self._write_folder(rows)
        path = Path(self.path)
        if self.is_container:
            raise InvalidArgumentError(
                f"{path.name} is a folder or a zip", advice="save to a file, or give save_as_folder=True"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        numbers = itertools.count()
        counted = map(itemgetter(0), zip(rows, numbers, strict=False))
        try:
            with waiting.open("xb", BUFFER) as file:
                if self.file_format == "parquet":
                    from qianfan.dataset.parquet import write_parquet

                    write_parquet(waiting, counted)
                else:
                    file.writelines(WRITERS[self.file_format or "txt"](counted))
            if path.exists():
                shutil.copymode(path, waiting)  # a private file stays one
            os.replace(waiting, path)
        except BaseException:
            waiting.unlink(missing_ok=True)
            raise
        return next(numbers)

    def _write_folder(self, rows: Iterable[Any]) -> int:
        path, format = Path(self.path), self.file_format or "txt"
        if path.exists():
            raise FileExistsError(f"the folder {path.name} exists; save to one that does not")
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        count = 0
        try:
            for count, row in enumerate(rows, 1):
                target = FileDataSource(folder / f"entry_{count - 1}.{format}", format)
                if format == "txt" and isinstance(row, str):
                    Path(target.path).write_text(row, encoding="utf-8")
                elif format == "json":
                    Path(target.path).write_bytes(orjson.dumps(row))
                else:
                    target.write([row])
            os.chmod(folder, 0o755)
            folder.rename(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return count

    def _joined(self, members: Iterable[tuple[str, Rows]]) -> Rows:
        last = 0
        self._starts, self._names = [], []
        for name, rows in members:
            before = last
            self._starts.append(before)
            self._names.append(name)
            for line, row in rows:
                last = before + line
                yield last, row
        if not self._names:
            raise InvalidArgumentError(
                f"there is no file of rows in {Path(self.path).name}",
                advice=f"put files of the formats {', '.join(FORMATS)} there, or give file_format=",
            )

    def _folder(self) -> Iterator[tuple[str, Rows]]:
        root = Path(self.path)
        for path in self._files():
            name = str(path.relative_to(root))
            format = self._format(name)
            if format == "txt" and self.is_a_text_file_an_entry:
                yield name, _one_text(path.open("rb"), path.name)
            elif format is not None:
                yield name, open_rows(path, format)

    def _files(self) -> list[Path]:
        return sorted(path for path in Path(self.path).rglob("*") if path.is_file())

    def _zip(self) -> Iterator[tuple[str, Rows]]:
        try:
            archive = zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            what, name = f"the file is no zip that can be read: {error}", Path(self.path).name
            raise FormatError(Problem(1, what, "pack it again", source=name)) from None
        with archive:
            for name in archive.namelist():
                format = None if name.endswith("/") else self._format(name)
                if format is not None:
                    yield name, self._named(self._member(archive, name, format), name)

    def _named(self, rows: Rows, name: str) -> Rows:
        """What is wrong with a member of the zip, in its name: damage, a password, a packing that is not read."""
        try:
            yield from rows
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            what, fix = f"the zip cannot be read here: {error}", "pack it again, with zip and no password"
            raise FormatError(Problem(1, what, fix, source=f"{Path(self.path).name}/{name}")) from None

    def _member(self, archive: zipfile.ZipFile, name: str, format: str) -> Rows:
        source = f"{Path(self.path).name}/{name}"
        if format == "parquet":
            with tempfile.TemporaryDirectory(prefix="qianfan-") as folder:
                yield from open_rows(archive.extract(name, folder), "parquet")
            return
        file = archive.open(name)
        if format == "txt" and self.is_a_text_file_an_entry:
            yield from _one_text(file, source)
            return
        with file:
            yield from READERS[format](as_utf8(iter(lambda: file.read(PIECE), b"")), source)

    def _format(self, name: str) -> str | None:
        """The format of a file of the folder or zip; None for one that holds no rows."""
        path = Path(name)
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            return None
        found = path.suffix.lstrip(".").lower()
        if found not in FORMATS or (self.file_format is not None and found != self.file_format):
            logger.warning("%s: %s holds no rows that are asked for and is passed over", self.path, name)
            return None
        return found


def _one_text(file: IO[bytes], name: str) -> Rows:
    """The whole file as one text; a blank one is no row."""
    with file:
        raw = b"".join(as_utf8(iter(lambda: file.read(PIECE), b"")))
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as bad:
        raise FormatError(not_utf8(raw, bad, 1, name)) from None
    if text:
        yield 1, text
