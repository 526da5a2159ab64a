"""Archives from strangers: good ones come out whole, bad ones not at all."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.files.archives import Limits, extract

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
Members = dict[str, bytes]


def a_zip(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def a_tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def a_zip_of(path: Path, change: Callable[[zipfile.ZipInfo], None], content: bytes = b"x") -> Path:
    info = zipfile.ZipInfo("member")
    change(info)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, content)
    return path


def a_tar_of(path: Path, change: Callable[[tarfile.TarInfo], None]) -> Path:
    info = tarfile.TarInfo("member")
    change(info)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info)
    return path


async def refused(archive: Path, why: str, limits: Limits | None = None) -> None:
    """The archive is refused for this reason, and nothing is left of it."""
    into = archive.parent / "out"
    before = sorted(archive.parent.iterdir())
    with pytest.raises(Fault, match=why):
        await extract(archive, into, limits)
    assert sorted(archive.parent.iterdir()) == before


@pytest.mark.parametrize("make", [a_zip, a_tar])
async def test_a_good_archive_comes_out_whole(tmp_path: Path, make: Callable[[Path, Members], Path]) -> None:
    """Files with their folders, private modes, sorted; `./` in front is no harm."""
    members = {"b.jsonl": b"[]\n" * 1000, "./deep/er/数据.jsonl": b"{}", "a": b""}
    found = await extract(make(tmp_path / "x", members), tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in found] == [
        "a",
        "b.jsonl",
        "deep/er/数据.jsonl",
    ]
    assert (tmp_path / "out" / "b.jsonl").read_bytes() == members["b.jsonl"]
    assert stat.S_IMODE(found[0].stat().st_mode) == 0o600
    await refused(tmp_path / "x", "exists already")


UNSAFE = [
    "../x", "a/../../x", "/etc/passwd", "C:/x", "c:x", "a\\b", "..\\x", "a//b", "a/\n", "a\x1b[2J", "x" * 256, "d/" * 300 + "x",
]  # fmt: skip


@pytest.mark.parametrize("make", [a_zip, a_tar])
@pytest.mark.parametrize("name", UNSAFE)
async def test_an_unsafe_path_is_refused(
    tmp_path: Path, make: Callable[[Path, Members], Path], name: str
) -> None:
    """Also when a good member comes first."""
    await refused(make(tmp_path / "x", {"good": b"x", name: b"y"}), "unsafe path|two members")


@pytest.mark.parametrize("make", [a_zip, a_tar])
@pytest.mark.parametrize("second", ["a.txt", "A.TXT", "./a.txt", "é.txt", "a.txt/b"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_doubled_names_are_refused(
    tmp_path: Path, make: Callable[[Path, Members], Path], second: str
) -> None:
    """The same name, or one that some file system takes for the same."""
    first = "e\u0301.txt" if second == "é.txt" else "a.txt"
    if second == "a.txt":
        path = tmp_path / "x"
        if make is a_zip:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.txt", b"1")
                archive.writestr("a.txt", b"2")
        else:
            with tarfile.open(path, "w:gz") as tar:
                for _ in range(2):
                    tar.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    else:
        path = make(tmp_path / "x", {first: b"1", second: b"2"})
    await refused(path, "two members|beneath a file")


async def test_links_devices_and_sparse_files_are_refused(tmp_path: Path) -> None:
    """In a tar by their type, in a zip by the mode of their attributes."""
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):

        def change(info: tarfile.TarInfo, kind: bytes = kind) -> None:
            info.type, info.linkname = kind, "/etc/passwd"

        await refused(a_tar_of(tmp_path / "x", change), "link, a device")
    sparse = tarfile.TarInfo("x")
    sparse.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "x").write_bytes(gzip.compress(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    await refused(tmp_path / "x", "sparse")
    for mode in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        link = a_zip_of(tmp_path / "x", lambda info, mode=mode: setattr(info, "external_attr", mode << 16))  # type: ignore[misc]
        await refused(link, "a link or a device")


async def test_bombs_are_refused_early(tmp_path: Path) -> None:
    """By ratio, by total, by number of members, in both kinds; also inside the padding of a tar."""
    zeros = bytes(64 * MIB)
    await refused(a_zip(tmp_path / "x", {"zeros": zeros}), "200 times its size")
    await refused(a_tar(tmp_path / "x", {"zeros": zeros}), "200 times its size")
    (tmp_path / "x").write_bytes(gzip.compress(zeros))
    await refused(tmp_path / "x", "200 times its size")
    small = Limits(total_bytes=1000)
    for make in (a_zip, a_tar):
        await refused(
            make(tmp_path / "x", {"a": bytes(600), "b": bytes(20_000)}), "more than 1000 bytes", small
        )
        many = {f"{number}": b"" for number in range(50)}
        await refused(make(tmp_path / "x", many), "more than 9 members", Limits(members=9))


async def test_a_zip_directory_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Its size is known before its entries are."""
    many = a_zip(tmp_path / "x", {f"{number:060}": b"" for number in range(100)})
    await refused(many, "more than 5 members", Limits(members=5))


async def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """Two directory entries over one body: how a small zip unfolds into petabytes."""
    raw = a_zip(tmp_path / "x", {"a": b"1" * 100, "b": b"2" * 100}).read_bytes()
    second = raw.rindex(b"PK\x01\x02")
    patched = bytearray(raw)
    struct.pack_into("<I", patched, second + 42, 0)  # b claims the place of a
    (tmp_path / "x").write_bytes(patched)
    await refused(tmp_path / "x", "overlap")


async def test_encrypted_and_oddly_packed_zips_are_refused(tmp_path: Path) -> None:
    """We have no password, and no wish for other methods."""
    raw = bytearray(a_zip(tmp_path / "x", {"a": b"1"}).read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x").write_bytes(raw)
    await refused(tmp_path / "x", "encrypted")
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"1")
    await refused(tmp_path / "x", "method other than deflate")


@pytest.mark.parametrize("make", [a_zip, a_tar])
async def test_torn_archives_show_no_partial_rows(
    tmp_path: Path, make: Callable[[Path, Members], Path]
) -> None:
    """Cut anywhere, or with a flipped bit: damaged, and nothing comes out."""
    content = bytes(range(256)) * 400
    raw = make(tmp_path / "x", {"a": content, "b": content[::-1]}).read_bytes()
    for share in (0.2, 0.5, 0.9, 0.995):
        (tmp_path / "x").write_bytes(raw[: int(len(raw) * share)])
        await refused(tmp_path / "x", "damaged")
    flipped = bytearray(raw)
    flipped[len(raw) // 3] ^= 0x10
    (tmp_path / "x").write_bytes(flipped)
    await refused(tmp_path / "x", "damaged|unsafe|link")


async def test_other_files_are_no_archives(tmp_path: Path) -> None:
    """Told apart by their first bytes, not by their name."""
    for raw in (b"", b"{}\n", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\xfd7zXZ\x00"):
        (tmp_path / "x").write_bytes(raw)
        await refused(tmp_path / "x", "neither a zip nor a tar.gz")


async def test_a_huge_tar_header_is_not_read_into_memory(tmp_path: Path) -> None:
    """A pax header or long name of more than 64 KiB."""
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 10 * MIB
        (tmp_path / "x").write_bytes(gzip.compress(info.tobuf() + bytes(10 * MIB)))
        await refused(tmp_path / "x", "header of more than")
