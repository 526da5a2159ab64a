"""Blobs in memory: the same behaviour without a folder, for tests and short lives."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan_platform.files.directory import DirectoryFiles
from qianfan_platform.files.reference import (
    CHUNK,
    FileRef,
    checked_id,
    display_name,
    missing,
    new_file_id,
    too_large,
)


class MemoryFiles:
    """Files are bytes in memory; folders, and files that were asked for by path, lie in a temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qianfan-files-")
        self._folders = DirectoryFiles(Path(self._folder.name, "folders"))
        self._kept: dict[str, tuple[FileRef, bytes]] = {}

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    async def put(
        self,
        chunks: AsyncIterator[bytes] | bytes,
        *,
        name: str = "",
        limit: int | None = None,
        owner: int = 0,
        once: bool = False,
    ) -> FileRef:
        """Keep bytes as they come. limit: bytes."""
        content = bytearray()
        if isinstance(chunks, bytes):
            content += chunks
        else:
            async for chunk in chunks:
                content += chunk
                if limit is not None and len(content) > limit:
                    raise too_large(limit)
        if limit is not None and len(content) > limit:
            raise too_large(limit)
        whole = bytes(content)
        digest = hashlib.sha256(whole).hexdigest()
        ref = FileRef(new_file_id(), digest, len(whole), display_name(name), owner, once=once)
        self._kept[ref.id] = (ref, whole)
        return ref

    async def put_path(
        self, path: Path, *, name: str = "", move: bool = False, owner: int = 0, ident: str | None = None
    ) -> FileRef:
        """Keep a file in memory, or a folder in the temporary folder."""
        ref = await self._folders.put_path(path, name=name, move=move, owner=owner, ident=ident)
        if ref.folder:
            return ref
        content = b"".join([block async for block in self._folders.read(ref.id)])
        await self._folders.delete(ref.id)
        self._kept[ref.id] = (replace(ref), content)
        return ref

    async def local(self, ident: str, *, owner: int | None = None) -> Path:
        """Where the blob lies; a file is written out when it is first asked for."""
        found = self._found(ident, owner)
        if found is None:
            return await self._folders.local(ident, owner=owner)
        path = Path(self._folder.name, ident)
        if not path.exists():
            path.write_bytes(found[1])
        return path

    async def read(self, ident: str, *, owner: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a file, 1 MiB at a time."""
        found = self._found(ident, owner)
        if found is None:
            await self._folders.info(ident, owner=owner)
            raise Fault(CONSOLE_PARAMETER, f"{ident} is a folder, not a file")
        for start in range(0, len(found[1]), CHUNK):
            yield found[1][start : start + CHUNK]

    async def info(self, ident: str, *, owner: int | None = None) -> FileRef:
        """What is known of the blob. Raises Fault(NOT_FOUND)."""
        found = self._found(ident, owner)
        return await self._folders.info(ident, owner=owner) if found is None else found[0]

    async def delete(self, ident: str) -> None:
        """Forget the blob; a missing one is no error."""
        if self._kept.pop(checked_id(ident), None) is None:
            await self._folders.delete(ident)
        Path(self._folder.name, ident).unlink(missing_ok=True)

    def _found(self, ident: str, owner: int | None) -> tuple[FileRef, bytes] | None:
        found = self._kept.get(checked_id(ident))
        if found is not None and owner is not None and found[0].owner != owner:
            raise missing(ident)
        return found
