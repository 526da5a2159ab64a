"""Blobs in a folder.

`<root>/<two letters>/<id>` is the file or folder, `<id>.json` beside it says what it must be; without that
page the blob does not exist. Everything is written under `incoming/` first, made durable, then renamed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan_platform.files.reference import (
    CHUNK,
    FileRef,
    cannot_write,
    checked_id,
    damaged,
    display_name,
    missing,
    new_file_id,
    too_large,
)

Manifest = dict[str, dict[str, Any]]  # path inside the folder → size, sha256
_STALE_S: Final = 24 * 3600  # what lies this long under incoming/ belongs to no living process
_MAX_FILES: Final = 100_000  # in one folder


class DirectoryFiles:
    """Blobs under `root`, which is made when missing. Blocking work runs in threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._checked: dict[str, tuple[Any, ...]] = {}  # id → stamp of the bytes whose hash was right
        _sweep(self._incoming)

    async def put(
        self,
        chunks: AsyncIterator[bytes] | bytes,
        *,
        name: str = "",
        limit: int | None = None,
        owner: int = 0,
        once: bool = False,
    ) -> FileRef:
        """Keep bytes as they come. limit: bytes. Raises Fault when too large or the disk is full."""
        draft = self._draft()
        digest, size = hashlib.sha256(), 0
        try:
            with self._writing():
                file = await asyncio.to_thread(_create, draft)
                try:
                    async for block in _blocks(chunks):
                        size += len(block)
                        if limit is not None and size > limit:
                            raise too_large(limit)
                        await asyncio.to_thread(_append, file, digest, block)
                    await asyncio.to_thread(_durable, file)
                finally:
                    file.close()
                ref = FileRef(new_file_id(), digest.hexdigest(), size, display_name(name), owner, once=once)
                await asyncio.to_thread(self._keep, draft, ref, None)
        finally:
            _remove(draft)
        return ref

    async def put_path(
        self, path: Path, *, name: str = "", move: bool = False, owner: int = 0, ident: str | None = None
    ) -> FileRef:
        """Keep a file, or a folder with all its files. move: take it away from `path`.

        ident: the id of a file that is kept, chosen before (`derived_id`), so that whoever comes after a crash can
        `delete` what may have been kept, or only begun. Raises Fault for links, devices and the like."""
        shown = display_name(name or path.name)
        with self._writing():
            return await asyncio.to_thread(self._put_path, path, shown, move, owner, ident)

    async def local(self, ident: str, *, owner: int | None = None) -> Path:
        """Where the blob lies, to be read only. Its hash is checked when this process first asks, and again
        when size or time of the bytes changed."""
        ref, manifest = await asyncio.to_thread(self._page, ident, owner)
        path = self._place(ref.id)
        stamp = await asyncio.to_thread(_stamp, path, ref)
        if self._checked.get(ref.id) != stamp:
            await asyncio.to_thread(_check, path, ref, manifest)
            self._checked[ref.id] = stamp
        return path

    async def read(self, ident: str, *, owner: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a file, 1 MiB at a time, after the check of `local`."""
        path = await self.local(ident, owner=owner)
        if path.is_dir():
            raise Fault(CONSOLE_PARAMETER, f"{ident} is a folder, not a file")
        with await asyncio.to_thread(path.open, "rb") as file:
            while block := await asyncio.to_thread(file.read, CHUNK):
                yield block

    async def info(self, ident: str, *, owner: int | None = None) -> FileRef:
        """What is known of the blob. Raises Fault(NOT_FOUND)."""
        return (await asyncio.to_thread(self._page, ident, owner))[0]

    async def delete(self, ident: str) -> None:
        """Forget the blob, and what was begun of one under an id chosen before; a missing one is no error."""
        path = self._place(checked_id(ident))
        self._checked.pop(ident, None)

        def work() -> None:
            _page_of(path).unlink(missing_ok=True)  # first: from now on it does not exist
            _remove(path)
            draft = self._incoming / ident
            for begun in (draft, _page_of(draft)):
                _remove(begun)

        with self._writing():
            await asyncio.to_thread(work)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────

    def _place(self, ident: str) -> Path:
        return self.root / ident[5:7] / ident

    def _draft(self) -> Path:
        return self._incoming / secrets.token_hex(12)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(error, self.root) from error

    def _put_path(self, path: Path, name: str, move: bool, owner: int, ident: str | None) -> FileRef:
        draft = self._draft() if ident is None else self._incoming / checked_id(ident)
        moved = False
        try:
            if not path.exists() and not path.is_symlink():
                raise Fault(CONSOLE_PARAMETER, f"there is no file {path.name} to keep")
            inside = _files_in(path)
            if move and path.stat().st_dev == self._incoming.stat().st_dev:
                os.rename(path, draft)
                moved = True
                manifest = {one: _hash(draft / one if one else draft) for one in inside}
                _sync_all(draft, inside)
            else:
                manifest = {one: _copy(path / one if one else path, draft / one if one else draft)
                            for one in inside}  # fmt: skip
                if not inside:
                    draft.mkdir()
            ref = _reference(manifest, name, owner, folder=draft.is_dir(), ident=ident)
            self._keep(draft, ref, manifest if ref.folder else None)
        except BaseException:
            if moved and draft.exists():
                os.rename(draft, path)  # it was not kept: give it back
            raise
        finally:
            _remove(draft)
        if move and path.exists():
            _remove(path)
        return ref

    def _keep(self, draft: Path, ref: FileRef, manifest: Manifest | None) -> None:
        place = self._place(ref.id)
        place.parent.mkdir(exist_ok=True)
        page = _page_of(draft)
        try:
            with _create(page) as file:
                file.write(json.dumps({**asdict(ref), "files": manifest}, ensure_ascii=False).encode())
                _durable(file)
            os.rename(draft, place)
            os.rename(page, _page_of(place))
        finally:
            page.unlink(missing_ok=True)
        for folder in (place.parent, self.root):
            _sync_folder(folder)

    def _page(self, ident: str, owner: int | None) -> tuple[FileRef, Manifest]:
        place = self._place(checked_id(ident))
        try:
            page = json.loads(_page_of(place).read_bytes())
            manifest = page.pop("files") or {}
            ref = FileRef(**page)
        except FileNotFoundError:
            raise missing(ident) from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise damaged(ident, "its page is torn") from None
        if owner is not None and ref.owner != owner:
            raise missing(ident)
        return ref, manifest


async def _blocks(chunks: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    """The same bytes in blocks of about 1 MiB, so that a thread is asked seldom."""
    if isinstance(chunks, bytes):
        for start in range(0, len(chunks), CHUNK):
            yield chunks[start : start + CHUNK]
        return
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= CHUNK:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _page_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _create(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _append(file: Any, digest: Any, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]
    digest.update(block)


def _durable(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(draft: Path, inside: list[str]) -> None:
    for name in inside:
        handle = os.open(draft / name if name else draft, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _files_in(path: Path) -> list[str]:
    """Names of the files in a folder, relative and sorted; `[""]` for a file itself."""
    if path.is_symlink():
        raise Fault(CONSOLE_PARAMETER, f"{path.name} is a link; only files and folders are kept")
    if path.is_file():
        return [""]
    if not path.is_dir():
        raise Fault(CONSOLE_PARAMETER, f"{path.name} is a device; only files and folders are kept")
    names: list[str] = []
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise Fault(
                    CONSOLE_PARAMETER, f"{name} is a link or a device; only files and folders are kept"
                )
        names.extend(Path(folder, name).relative_to(path).as_posix() for name in files)
        if len(names) > _MAX_FILES:
            raise Fault(CONSOLE_PARAMETER, f"the folder has more than {_MAX_FILES} files")
    return sorted(names)


def _hash(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def _copy(source: Path, target: Path) -> dict[str, Any]:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, _create(target) as writer:
        while block := reader.read(CHUNK):
            size += len(block)
            _append(writer, digest, block)
        _durable(writer)
    return {"size": size, "sha256": digest.hexdigest()}


def _reference(
    manifest: Manifest, name: str, owner: int, *, folder: bool, ident: str | None = None
) -> FileRef:
    size = sum(file["size"] for file in manifest.values())
    sha256 = _manifest_hash(manifest) if folder else manifest[""]["sha256"]
    return FileRef(ident or new_file_id(), sha256, size, name, owner, folder)


def _manifest_hash(manifest: Manifest) -> str:
    lines = [f"{file['sha256']} {file['size']} {name}\n" for name, file in sorted(manifest.items())]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path, ref: FileRef) -> tuple[Any, ...]:
    """What changes when bytes change, or are put in the place of others."""
    try:
        names = _files_in(path) if ref.folder else [""]
        stats = [(name, (path / name if name else path).stat()) for name in names]
    except FileNotFoundError:
        raise damaged(ref.id, "its bytes are gone") from None
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)


def _check(path: Path, ref: FileRef, manifest: Manifest) -> None:
    if ref.folder:
        found = {name: _hash(path / name) for name in _files_in(path)}
        if found != manifest or _manifest_hash(manifest) != ref.sha256:
            different = sorted(
                name for name in found.keys() | manifest.keys() if found.get(name) != manifest.get(name)
            )
            raise damaged(ref.id, f"{(different or ['its page'])[0]} is not what was written")
    elif _hash(path) != {"size": ref.size, "sha256": ref.sha256}:
        raise damaged(ref.id, "its bytes are not those that were written")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sweep(incoming: Path) -> None:
    """Remove what processes that died left behind."""
    for draft in incoming.iterdir():
        try:
            if time.time() - draft.stat().st_mtime > _STALE_S:
                _remove(draft)
        except FileNotFoundError:
            continue
