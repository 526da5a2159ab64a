"""Weights on disk: fetched once, verified, shared by every process and data folder of this user.

Under `home/models/<name>-<key>/`, where the key is made of the source and its hash: `model.gguf` for the
engine and `hf/` for the trainer, each with a marker beside it that is written after its check. What has no
marker that fits does not exist. A lock file next to the folder lets one process fetch while others wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from qianfan_platform.catalogue import fetch
from qianfan_platform.catalogue.fetch import OnProgress, Progress, Step, WeightsFailed
from qianfan_platform.catalogue.rows import Entry

State = Literal["absent", "fetching", "ready"]
PART: Final = ".part-"

__all__ = ["OnProgress", "Progress", "State", "Step", "Weights", "WeightsFailed", "default_home"]


def default_home(env: Mapping[str, str] | None = None) -> Path:
    """$QIANFAN_HOME, else `qianfan` in the user's cache folder."""
    env = os.environ if env is None else env
    if env.get("QIANFAN_HOME"):
        return Path(env["QIANFAN_HOME"]).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "qianfan"
    if env.get("LOCALAPPDATA"):
        return Path(env["LOCALAPPDATA"]) / "qianfan"
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qianfan"


@dataclass(frozen=True)
class Weights:
    """The weights under one home. Every method may be called by several processes at once."""

    home: Path

    async def served(self, entry: Entry, on_progress: OnProgress | None = None) -> Path:
        """The file for the engine, or for the engine pictures its folder.

        Raises WeightsFailed, which says how to use a local file instead."""
        tell = on_progress or _silent
        source = _source(entry)
        if entry.engine == "pictures":
            return await self._pictures(entry, tell)
        if source.kind == "path" and Path(source.place).is_file():
            return await self._local(entry, Path(source.place), tell)

        async def make(part: Path) -> Path:
            if source.kind in ("built-in", "path") or not source.member:
                folder = await self.hf(entry, tell)
                tell(Progress("packing", f"packing {entry.name}"))
                return await fetch.packed(folder, part / "model.gguf", entry)
            found = await fetch.file(entry, part, tell)
            if not entry.serve_as:
                return found
            tell(Progress("packing", f"widening {entry.name} to {entry.serve_as}"))
            return await fetch.widened(found, part / "widened.gguf", entry)

        return await self._kept(entry, "model.gguf", make, tell)

    async def hf(self, entry: Entry, on_progress: OnProgress | None = None) -> Path:
        """The folder for the trainer, in Hugging Face layout. GGUF weights are converted once. As `gguf` otherwise."""
        tell = on_progress or _silent
        source = _source(entry)
        if source.kind == "path" and Path(source.place).is_dir():
            if not (Path(source.place) / "config.json").is_file():
                raise WeightsFailed(f"{entry.name}: the folder {source.place} holds no config.json")
            return Path(source.place)

        async def make(part: Path) -> Path:
            if source.kind == "built-in":
                tell(Progress("building", f"building {entry.name}"))
                return await fetch.built_in(part / "hf")
            if source.kind == "hf" and not source.member:
                return await fetch.folder(entry, part / "hf", tell)
            return await fetch.converted(await self.served(entry, tell), part / "hf", entry, tell)

        return await self._kept(entry, "hf", make, tell)

    async def derived(self, entry: Entry, name: str, make: Callable[[Path], Awaitable[Path]]) -> Path:
        """A file that is made of the entry's weights, kept beside them. make(part): writes it into that folder."""
        return await self._kept(entry, name, make, _silent)

    async def _pictures(self, entry: Entry, tell: OnProgress) -> Path:
        """A folder for the engine pictures, which looks for itself at what is in it."""
        source = _source(entry)
        if source.kind == "path":
            return Path(source.place)

        async def make(part: Path) -> Path:
            return await fetch.folder(entry, part / "folder", tell)

        return await self._kept(entry, "pictures", make, tell)

    def state(self, entry: Entry) -> State:
        """Whether the engine's file is here. Reads no weights."""
        if not entry.has_weights or entry.source is None:
            return "ready"
        if entry.engine == "pictures":
            return self._state_of_pictures(entry)
        if entry.source.kind == "path":
            path = Path(entry.source.place)
            if path.is_file() or (path.is_dir() and _fits(self._folder(entry) / "model.gguf")):
                return "ready"
            return "fetching" if self._locked(entry, "model.gguf") else "absent"
        if _fits(self._folder(entry) / "model.gguf"):
            return "ready"
        busy = self._locked(entry, "model.gguf") or self._locked(entry, "hf")
        return "fetching" if busy else "absent"

    def _state_of_pictures(self, entry: Entry) -> State:
        assert entry.source is not None
        there = Path(entry.source.place).is_dir() if entry.source.kind == "path" else False
        if there or _fits(self._folder(entry) / "pictures"):
            return "ready"
        return "fetching" if self._locked(entry, "pictures") else "absent"

    async def _kept(
        self, entry: Entry, name: str, make: Callable[[Path], Awaitable[Path]], tell: OnProgress
    ) -> Path:
        """`name` in the entry's folder; made by `make` in a folder of its own when it is not there."""
        target = self._folder(entry) / name
        if _fits(target):
            return target
        async with _lock(self._lock_path(entry, name), entry, tell):
            if _fits(target):
                return target
            left = list(
                target.parent.glob(f"{PART}{name}-*")
            )  # of a process that was killed: we hold the lock
            await asyncio.to_thread(_clear, *left, _marker(target), target)
            part = target.parent / f"{PART}{name}-{secrets.token_hex(4)}"
            try:
                part.mkdir(parents=True)
                made = await make(part)
                made.replace(target)
                _mark(target)
            except OSError as problem:
                raise WeightsFailed(
                    f"{entry.name} cannot be kept in {self.home}: {problem.strerror or problem}; "
                    "free some space there, or set QIANFAN_HOME to another folder"
                ) from problem
            finally:
                await asyncio.to_thread(_clear, part)
            tell(Progress("ready", f"{entry.name} is ready", 1.0))
            return target

    async def _local(self, entry: Entry, path: Path, tell: OnProgress) -> Path:
        """A file of the operator's own, checked once when its hash is given."""
        if not entry.sha256:
            return path
        seen = self._folder(entry) / "local"
        if _read_marker(seen) != _look(path):
            tell(Progress("checking", f"checking {entry.name}"))
            await fetch.check(entry, path)
            seen.parent.mkdir(parents=True, exist_ok=True)
            _write(_marker(seen), _look(path))
        return path

    def _folder(self, entry: Entry) -> Path:
        source = entry.source
        assert source is not None
        made_of = [str(source), entry.sha256, entry.dtype, entry.serve_as]
        if source.kind == "built-in":
            made_of.append(fetch.built_in_version())
        elif source.kind == "path":
            made_of.append(json.dumps(_look(Path(source.place))))
        key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
        return self.home / "models" / f"{re.sub(r'[^A-Za-z0-9._-]', '-', entry.name)}-{key}"

    def _lock_path(self, entry: Entry, name: str) -> Path:
        folder = self._folder(entry)
        return folder.with_name(f"{folder.name}.{name}.lock")

    def _locked(self, entry: Entry, name: str) -> bool:
        path = self._lock_path(entry, name)
        if not path.exists():
            return False
        with path.open("a") as file:
            return not _take(file.fileno())


@asynccontextmanager
async def _lock(path: Path, entry: Entry, tell: OnProgress) -> AsyncIterator[None]:
    """Hold the lock file. It is the kernel's, so it ends with the process that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as problem:
        raise WeightsFailed(
            f"{path.parent} cannot be written ({problem.strerror}); set QIANFAN_HOME to a folder that can"
        ) from problem
    with file:
        waits = 0
        while not _take(file.fileno()):
            if waits % 50 == 0:
                tell(Progress("waiting", f"waiting for another process that fetches {entry.name}"))
            waits += 1
            await asyncio.sleep(0.2)
        yield


def _take(descriptor: int) -> bool:
    """Take the lock of an open file, if nobody has it; closing the file lets it go."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _look(path: Path) -> dict[str, list[int]]:
    """Size and time of change of a file, or of each file of a folder: what a check of a copy is bound to."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found: dict[str, list[int]] = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found[str(file.relative_to(path)) if file != path else ""] = [status.st_size, status.st_mtime_ns]
    return found


def _marker(target: Path) -> Path:
    return target.with_name(f"{target.name}.verified")


def _read_marker(target: Path) -> Any:
    try:
        return json.loads(_marker(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fits(target: Path) -> bool:
    """True when the target is there as it was when it was verified."""
    return target.exists() and _read_marker(target) == _look(target)


def _mark(target: Path) -> None:
    _write(_marker(target), _look(target))


def _write(path: Path, plain: Any) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(plain), encoding="utf-8")
    part.replace(path)


def _clear(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _source(entry: Entry) -> Any:
    if not entry.has_weights or entry.source is None:
        raise WeightsFailed(f"{entry.name} has no weights: it is answered by the engine {entry.engine}")
    if entry.source.kind == "path" and not Path(entry.source.place).exists():
        raise WeightsFailed(f"{entry.name}: nothing is at {entry.source.place}, where its source points")
    return entry.source


def _silent(progress: Progress) -> None:
    pass
