"""The one place that opens archives. They come from strangers: everything is counted, nothing is believed."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import secrets
import shutil
import stat
import struct
import tarfile
import threading
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from qianfan.contract.errors import BAD_DATASET, Fault

_BLOCK: Final = 256 * 1024
_RATIO_FREE: Final = 16 * 1024 * 1024  # bytes that may come out whatever the ratio
_MAX_TAR_HEADER: Final = 64 * 1024  # bytes of a long name or a pax header
_DIRECTORY_BYTES: Final = 1024  # of a zip's directory for each member allowed
_ENTRY: Final = struct.Struct("<28x3H12x")  # of a zip's directory: how long its name, extra and comment are
_ZIP64_END: Final = 76  # bytes of what a zip64 has between its directory and its end
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = {  # first bytes of packings that are known and not taken
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
    b"\x04\x22\x4d\x18": "lz4",
}


@dataclass(frozen=True)
class Limits:
    """Caps of one archive. total_bytes: of all files unpacked. ratio: unpacked to packed."""

    members: int = 100_000
    total_bytes: int = 8 * 1024**3
    ratio: float = 200.0
    path_chars: int = 512


def packing(head: bytes) -> str:
    """How a file is packed, told by its first 8 bytes: `zip`, `gzip`, another name such as `zstd`, "" for not at all."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):  # with members, without any, in parts
        return "zip"
    if head.startswith(_GZIP):
        return "gzip"
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")


async def extract(archive: Path, into: Path, limits: Limits | None = None) -> list[Path]:
    """Unpack a zip or tar.gz into the folder `into`, which must not exist yet; returns the files, sorted.

    Refused whole, with nothing left behind: absolute paths, `..`, links, devices, encrypted or doubled
    members, and whatever outgrows the limits. Raises Fault(BAD_DATASET)."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(_extract, archive, into, limits or Limits(), stop)
    finally:
        stop.set()


def _extract(archive: Path, into: Path, limits: Limits, stop: threading.Event) -> list[Path]:
    with archive.open("rb") as file:
        kind = packing(file.read(8))
    draft = into.with_name(f".{into.name}.{secrets.token_hex(6)}")
    target = _Target(draft, limits, archive.stat().st_size, stop)
    draft.mkdir(parents=True)
    try:
        if into.exists():
            raise _bad(f"the folder {into.name} exists already")
        if kind == "zip":
            _unzip(archive, target)
        elif kind == "gzip":
            _untar(archive, target)
        else:
            said = f", it is packed with {kind}" if kind else ""
            raise _bad(f"the archive is neither a zip nor a tar.gz{said}")
        draft.rename(into)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        EOFError,
        gzip.BadGzipFile,
        NotImplementedError,
        ValueError,  # a place beyond what a file can have, a name that is not UTF-8 though it says so
    ) as error:
        raise _bad(f"the archive is damaged: {error}") from None
    except OSError as error:
        raise _bad(f"the archive cannot be unpacked: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(into / name for name in target.files)


def _bad(message: str) -> Fault:
    return Fault(
        BAD_DATASET, message, "pack plain files with zip, or with tar czf, and send the archive again"
    )


class _Target:
    """Where members go, and what was counted so far."""

    def __init__(self, root: Path, limits: Limits, packed: int, stop: threading.Event) -> None:
        self.root = root
        self.limits = limits
        self.packed = max(packed, 1)
        self.stop = stop
        self.files: list[str] = []
        self._names: dict[str, bool] = {}  # folded path → whether it is a file
        self._members = 0
        self._written = 0

    def member(self, name: str, *, folder: bool) -> Path:
        """The path for a member; its parents are made. Raises Fault when the name is not safe."""
        self._members += 1
        if self._members > self.limits.members:
            raise _bad(f"the archive has more than {self.limits.members} members")
        parts = _safe_parts(name, self.limits.path_chars)
        for depth in range(1, len(parts) + 1):
            folded = _folded("/".join(parts[:depth]))
            known = self._names.get(folded)
            whole = depth == len(parts)
            if whole and not folder and known is not None:
                raise _bad(f"the archive has two members that may be one file: {_shown(name)}")
            if known and not (whole and not folder):
                raise _bad(f"the archive has {_shown(name)} beneath a file of the same name")
            self._names.setdefault(folded, whole and not folder)
        path = self.root.joinpath(*parts)
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
        if not folder:
            self.files.append("/".join(parts))
        return path

    def write(self, path: Path, source: IO[bytes], info: zipfile.ZipInfo) -> None:
        """Copy one member of a zip, which must be as long as `info` says, and within the ratio by itself."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        size = 0
        with os.fdopen(handle, "wb") as file:
            while block := source.read(_BLOCK):
                size += len(block)
                self.count(len(block))
                if size > max(_RATIO_FREE, self.limits.ratio * info.compress_size):
                    raise self._bomb()
                file.write(block)
        if size != info.file_size:
            raise EOFError(f"a member has {size} bytes and claims {info.file_size}")

    def count(self, size: int) -> None:
        """Count bytes that came out. Raises Fault past the caps."""
        if self.stop.is_set():
            raise _bad("unpacking was called off")
        self._written += size
        if self._written > self.limits.total_bytes:
            raise _bad(f"the archive unpacks to more than {self.limits.total_bytes} bytes")
        if self._written > max(_RATIO_FREE, self.limits.ratio * self.packed):
            raise self._bomb()

    def _bomb(self) -> Fault:
        return _bad(f"the archive unpacks to more than {self.limits.ratio:g} times its size")


def _safe_parts(name: str, longest: int) -> list[str]:
    trimmed = name[:-1] if name.endswith("/") else name
    parts = [part for part in trimmed.split("/") if part != "."]
    unsafe = (
        not trimmed
        or name.startswith("/")
        or "\\" in name
        or _DRIVE.match(name)
        or any(unicodedata.category(mark) in ("Cc", "Cs") for mark in name)
        or any(part in ("", "..") for part in parts)
        or len(name) > longest
        or any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    )
    if unsafe:
        raise _bad(f"the archive has a member with an unsafe path: {_shown(name)}")
    return parts


def _folded(path: str) -> str:
    """One spelling for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _shown(name: str) -> str:
    return ascii(name[:80])


def _unzip(archive: Path, target: _Target) -> None:
    limits = target.limits
    with archive.open("rb") as file:
        _check_directory(file, limits)
        with zipfile.ZipFile(file) as packed:
            members = packed.infolist()
            if len(members) > limits.members:
                raise _bad(f"the archive has more than {limits.members} members")
            _check_overlap(members, packed.start_dir)
            for info in members:
                _check_zip_member(info)
                folder = info.orig_filename.endswith("/")
                path = target.member(info.orig_filename, folder=folder)
                if not folder:
                    with packed.open(info) as source:
                        target.write(path, source, info)


def _check_directory(file: IO[bytes], limits: Limits) -> None:
    """Judge the size of the directory, and count its entries, before `zipfile` reads them into memory.

    The numbers of the end record are a claim: `zipfile` takes as many entries as the directory has bytes."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end is None:
        raise _bad("the archive is damaged: it has no end record; was it cut short?")
    if end[5] > limits.members * _DIRECTORY_BYTES:
        raise _bad(f"the archive has more than {limits.members} members")
    beyond = _ZIP64_END if end[0] == zipfile.stringEndArchive64 else 0  # type: ignore[attr-defined]
    stop = end[9] - beyond
    file.seek(max(stop - end[5], 0))
    for _ in range(limits.members + 1):
        entry = file.read(_ENTRY.size)
        if file.tell() > stop or len(entry) < _ENTRY.size:
            break
        if file.seek(sum(_ENTRY.unpack(entry)), os.SEEK_CUR) > stop:
            raise zipfile.BadZipFile("an entry of its directory runs past the end")
    else:
        raise _bad(f"the archive has more than {limits.members} members")
    file.seek(0)


def _check_overlap(members: list[zipfile.ZipInfo], directory: int) -> None:
    """directory: where it begins, which no member may reach."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise _bad("the archive has members that overlap")
        end = info.header_offset + 30 + info.compress_size
    if end > directory:
        raise _bad("the archive has members that overlap its directory")


def _check_zip_member(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1:
        raise _bad(f"the archive is encrypted: {_shown(info.orig_filename)}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad("the archive is packed by a method other than deflate")
    if info.orig_filename.endswith("/") and info.file_size:
        raise _bad(f"the archive has a folder that holds bytes: {_shown(info.orig_filename)}")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad(f"the archive has a link or a device: {_shown(info.orig_filename)}")


class _Counted:
    """The unpacked stream of a tar.gz, counted as it is read: headers and padding too."""

    def __init__(self, source: gzip.GzipFile, target: _Target) -> None:
        self._source = source
        self._target = target

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._target.count(len(block))
        return block


class _TarInfo(tarfile.TarInfo):
    """Members without the kinds that are read whole into memory or unfold from nothing; the end must be one."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """`tarfile` takes a broken header for the end, and what follows would be lost in silence."""
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
            raise _bad("the archive is damaged: it has no end mark; was it cut short?") from None
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise _bad(f"the archive is damaged: {error}") from None

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        long = self.type in (
            tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
        )  # fmt: skip
        if long and self.size > _MAX_TAR_HEADER:
            raise _bad("the archive has a header of more than 64 KiB")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _bad("the archive has a sparse file")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def _untar(archive: Path, target: _Target) -> None:
    with gzip.open(archive, "rb") as unpacked:
        inner = packing(unpacked.peek(8)[:8])
        if inner:
            raise _bad(f"the archive is packed twice: inside the gzip lies a {inner}")
        counted: Any = _Counted(unpacked, target)
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_TarInfo) as tar:
            for member in tar:
                if member.sparse is not None or not (member.isreg() or member.isdir()):
                    raise _bad(f"the archive has a link, a device or a sparse file: {_shown(member.name)}")
                path = target.member(member.name, folder=member.isdir())
                if member.isreg():
                    source = tar.extractfile(member)
                    assert source is not None
                    _write_counted(path, source, member.size)
                tar.members = []  # type: ignore[attr-defined]  # a stream never goes back: do not keep what was read
            stream: Any = tar.fileobj
            while rest := stream.read(_BLOCK):  # to the end, where gzip has its checksum
                if rest.strip(b"\0"):
                    raise _bad("the archive goes on after its end; was it put together from several?")


def _write_counted(path: Path, source: IO[bytes], size: int) -> None:
    """Copy a member whose bytes are counted by the stream below."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(source, file, _BLOCK)
        if file.tell() != size:
            raise EOFError("a file ends too early")
