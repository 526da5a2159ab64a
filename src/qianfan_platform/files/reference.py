"""What a blob is called, and what every keeper of blobs can do."""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import string
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from qianfan.contract.errors import CONSOLE_INTERNAL, CONSOLE_PARAMETER, NOT_FOUND, Fault
from qianfan.contract.ids import LENGTHS, new_id

log = logging.getLogger(__name__)

CHUNK: Final = 1024 * 1024  # bytes
_LETTERS: Final = string.digits + string.ascii_lowercase
_ID: Final = re.compile(rf"file-[a-z0-9]{{{LENGTHS['file']}}}")


@dataclass(frozen=True)
class FileRef:
    """One blob. size: bytes, of all files when it is a folder. sha256: hex; of the manifest for a folder.

    name: as the uploader called it, for display only. owner: the account's number, 0 for the platform's own.
    once: an upload for one import, which removes it when it has ended."""

    id: str
    sha256: str
    size: int
    name: str = ""
    owner: int = 0
    folder: bool = False
    once: bool = False


class Files(Protocol):
    """A keeper of blobs. All methods raise Fault; a foreign id (`owner` given) answers like a missing one."""

    async def put(
        self,
        chunks: AsyncIterator[bytes] | bytes,
        *,
        name: str = "",
        limit: int | None = None,
        owner: int = 0,
        once: bool = False,
    ) -> FileRef: ...

    async def put_path(
        self, path: Path, *, name: str = "", move: bool = False, owner: int = 0, ident: str | None = None
    ) -> FileRef: ...

    async def local(self, ident: str, *, owner: int | None = None) -> Path: ...

    def read(self, ident: str, *, owner: int | None = None) -> AsyncIterator[bytes]: ...

    async def info(self, ident: str, *, owner: int | None = None) -> FileRef: ...

    async def delete(self, ident: str) -> None: ...


def new_file_id() -> str:
    """A fresh id: `file-` and 20 of a–z0–9."""
    return new_id("file")


def derived_id(seed: str) -> str:
    """The id that always belongs to this seed. The seed holds something random."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    letters = []
    for _ in range(LENGTHS["file"]):
        number, at = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[at])
    return f"file-{''.join(letters)}"


def checked_id(ident: str) -> str:
    """`ident` when it has the form of a file's id, so that it can be part of a path. Raises Fault."""
    if not isinstance(ident, str) or not _ID.fullmatch(ident):
        raise Fault(NOT_FOUND, "the file does not exist: its id is not of the form file-…")
    return ident


def missing(ident: str) -> Fault:
    """No such file."""
    return Fault(NOT_FOUND, f"the file {ident} does not exist")


def damaged(ident: str, why: str) -> Fault:
    """The file is not what was written."""
    return Fault(
        CONSOLE_INTERNAL,
        f"the file {ident} is damaged: {why}",
        "restore it from a backup, or upload it again",
    )


def too_large(limit: int) -> Fault:
    """The upload is larger than it may be."""
    return Fault(CONSOLE_PARAMETER, f"the file is larger than {limit} bytes", "split it, or raise the limit")


def cannot_write(error: OSError, root: Path) -> Fault:
    """The disk did not take it; says why in words. The folder is told to the log alone."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("there is no space left under %s", root)
        full = "the disk of the platform is full; nothing was kept"
        return Fault(CONSOLE_INTERNAL, full, "ask its operator to free space")
    why = error.strerror or type(error).__name__
    log.error("no file can be written under %s: %s", root, why)
    advice = "ask its operator to look into the server's log"
    return Fault(CONSOLE_INTERNAL, f"the platform cannot write files: {why}", advice)


def display_name(name: str) -> str:
    """A name fit to show: the last part, without control characters, at most 200 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(mark for mark in last if mark.isprintable())[:200]
