"""Hostile inputs 8 to 12: what `test_files_archives` does not say already.

row 8, bombs: nested, many layers, many small members · row 9, paths: in both kinds, NUL, ends that lie ·
row 10, members in masses, names that differ by form · row 11, packed twice, packed by others ·
row 12, directories that lie, damage anywhere. tests/contract/test_hostile_data.py has the whole table."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qianfan.contract.errors import Fault
from qianfan_platform.files.archives import Limits, extract, packing

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def zipped(members: dict[str, bytes], *, zip64: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=zip64) as member:
                member.write(content)
    return out.getvalue()


def tarred(members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


async def refused(folder: Path, raw: bytes, why: str, limits: Limits | None = None) -> None:
    """Refused for this reason with advice, and nothing is left of it."""
    archive = folder / "archive"
    archive.write_bytes(raw)
    with pytest.raises(Fault, match=why) as fault:
        await extract(archive, folder / "out", limits)
    assert fault.value.advice
    assert os.listdir(folder) == ["archive"]


# ── row 8 ────────────────────────────────────────────────────────────────────────────────────────


async def test_row_8_a_nested_archive_is_a_file_and_is_not_unpacked(tmp_path: Path) -> None:
    """42.zip has six layers: only the first is opened, the others are bytes."""
    inner = zipped({"bomb": bytes(MIB)})
    for _ in range(5):
        inner = zipped({f"{number}.zip": inner for number in range(4)})
    archive = tmp_path / "42.zip"
    archive.write_bytes(inner)
    found = await extract(archive, tmp_path / "out")
    assert [path.name for path in found] == ["0.zip", "1.zip", "2.zip", "3.zip"]
    assert sum(path.stat().st_size for path in found) < MIB


@pytest.mark.parametrize("layers", [2, 3, 5])
async def test_row_8_layers_of_deflate_end_at_the_ratio(tmp_path: Path, layers: int) -> None:
    """A member of zeros, deflated again and again: what comes out of the first layer is counted."""
    raw = bytes(32 * MIB)
    for _ in range(layers - 1):
        raw = zlib.compress(raw)
    tight = Limits(ratio=3, total_bytes=64 * MIB)
    packed = zipped({"zeros": bytes(32 * MIB), "more": raw})
    await refused(tmp_path, packed, "3 times its size", tight)


async def test_row_8_many_small_members_are_counted_together(tmp_path: Path) -> None:
    """None of them is a bomb, all of them are."""
    members = {f"{number}": bytes(200_000) for number in range(100)}
    await refused(tmp_path, zipped(members), "200 times its size")
    await refused(tmp_path, gzip.compress(tarred(members)), "200 times its size")


async def test_row_8_a_quine_of_overlapping_entries_is_refused(tmp_path: Path) -> None:
    """Every entry of the directory claims the same body."""
    raw = bytearray(zipped({f"{number}": b"x" * 1000 for number in range(20)}))
    at = raw.index(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<I", raw, at + 42, 0)
        at = raw.find(b"PK\x01\x02", at + 1)
    await refused(tmp_path, bytes(raw), "overlap")


# ── row 9 ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "..", "../../../../etc/cron.d/x", "a/./../b", "/", "//x", "\\\\host\\share", "C:", "C:\\x", "d/..", " ../x\\..",
        "x\x7f", "\u0085", "x" * 600,
    ],
)  # fmt: skip
@pytest.mark.parametrize("pack", ["zip", "tar"])
async def test_row_9_a_path_that_leads_out_is_refused_whole(tmp_path: Path, name: str, pack: str) -> None:
    """The good member before it does not stay either."""
    zip_, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zip_, "w") as archive, tarfile.open(fileobj=tar, mode="w:gz") as packed:
        for one in ("good", name):
            archive.writestr(zipfile.ZipInfo(one), b"")
            packed.addfile(tarfile.TarInfo(one))
    await refused(tmp_path, (zip_ if pack == "zip" else tar).getvalue(), "unsafe path")
    assert not (tmp_path.parent / "x").exists()


async def test_row_9_a_name_with_nul_is_judged_whole(tmp_path: Path) -> None:
    """`zipfile` cuts names at NUL, so that `good` would come out."""
    await refused(tmp_path, zipped({"goodX../evil": b"x"}).replace(b"goodX", b"good\0"), "unsafe path")
    await refused(tmp_path, zipped({"Xx": b"x"}).replace(b"Xx", b"\0x"), "unsafe path")


async def test_row_9_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, in a zip that says they are, and in a tar."""
    await refused(tmp_path, zipped({"é": b"x"}).replace("é".encode(), b"\xff\xfe"), "damaged")
    raw = bytearray(tarred({"good": b""}, tarfile.USTAR_FORMAT))
    raw[:2] = b"\xff\xfe"
    await refused(tmp_path, _sealed(raw), "unsafe path")


async def test_row_9_links_out_of_the_folder_are_refused_with_what_follows_through_them(
    tmp_path: Path,
) -> None:
    """A link to `/tmp`, then a file beneath it: the classic."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path.parent)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("door/stolen"))
    await refused(tmp_path, out.getvalue(), "a link, a device")
    assert not (tmp_path.parent / "stolen").exists()


async def test_row_9_a_folder_that_holds_bytes_is_not_passed_over(tmp_path: Path) -> None:
    """Its content would be lost in silence."""
    await refused(tmp_path, zipped({"good": b"x", "rows/": b"y" * 100}), "folder that holds bytes")


# ── row 10 ───────────────────────────────────────────────────────────────────────────────────────


def directory(entries: int, claimed: int | None = None) -> bytes:
    """A zip of nothing but a directory of empty members, its end record claiming what it likes."""
    name = b"%07d"
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 11, 7, *[0] * 6)
    body = b"".join(entry + name % number for number in range(entries))
    said = min(entries if claimed is None else claimed, 65_535)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, said, said, len(body), 4, 0)
    return b"PK\x03\x04" + body + end


@pytest.mark.parametrize("claimed", [None, 1, 0, 65_535])
async def test_row_10_members_in_masses_are_counted_before_they_are_read(
    tmp_path: Path, claimed: int | None
) -> None:
    """Whatever number the end record claims; little memory, whatever there is beyond the limit."""
    raw = directory(150_000, claimed)
    tracemalloc.start()
    try:
        started = time.process_time()
        await refused(tmp_path, raw, "more than 1000 members", Limits(members=1000))
        assert time.process_time() - started < 1
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


async def test_row_10_the_usual_limit_holds_too(tmp_path: Path) -> None:
    """A directory of 7 MB that `zipfile` would make 150,000 objects of."""
    await refused(tmp_path, directory(150_000), "more than 100000 members")


async def test_row_10_a_tar_of_endless_members_is_left_at_the_limit(tmp_path: Path) -> None:
    """Its members come one by one: what is beyond the limit is never unpacked."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for number in range(5_000):
            tar.addfile(tarfile.TarInfo(f"{number}"))
    await refused(tmp_path, out.getvalue(), "more than 1000 members", Limits(members=1000))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("数据.txt", "数据.txt"), ("Straße", "STRASSE"), ("ﬁle", "FILE"), ("K", "k"), ("a/B/c", "A/b/C"),
        (unicodedata.normalize("NFC", "한글"), unicodedata.normalize("NFD", "한글")), ("Å", "A\u030a"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.filterwarnings("ignore:Duplicate name")
async def test_row_10_names_that_some_disk_takes_for_one_are_refused(
    tmp_path: Path, first: str, second: str, swap: bool
) -> None:
    """In either order and either kind, with the same words."""
    pair = [second, first] if swap else [first, second]
    zip_, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zip_, "w") as archive, tarfile.open(fileobj=tar, mode="w:gz") as packed:
        for name in pair:
            archive.writestr(name, b"x")
            packed.addfile(tarfile.TarInfo(name))
    for raw in (zip_.getvalue(), tar.getvalue()):
        await refused(tmp_path, raw, "two members that may be one file|file of the same name")


# ── row 11 ───────────────────────────────────────────────────────────────────────────────────────


async def test_row_11_what_is_packed_twice_or_by_others_is_named(tmp_path: Path) -> None:
    """gzip in gzip, zip in gzip, and the packings that are not taken: none is opened."""
    rows = b'{"prompt": "x"}\n' * 1000
    await refused(tmp_path, gzip.compress(gzip.compress(rows)), "packed twice: inside the gzip lies a gzip")
    await refused(tmp_path, gzip.compress(zipped({"a": rows})), "packed twice: inside the gzip lies a zip")
    window = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\0" * 20  # the descriptor asks for a window of 2 GiB
    await refused(tmp_path, window, "packed with zstd")
    await refused(tmp_path, gzip.compress(window), "inside the gzip lies a zstd")
    for head, name in (
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh9", "bzip2"),
        (b"Rar!\x1a\x07", "RAR"),
        (b"7z\xbc\xaf", "7-Zip"),
    ):
        await refused(tmp_path, head + bytes(50), f"packed with {name}")  # fmt: skip
        assert packing(head) == name
    await refused(tmp_path, gzip.compress(rows), "damaged")  # a gzip, but no tar


async def test_row_11_many_streams_of_gzip_are_one_and_counted_together(tmp_path: Path) -> None:
    """Concatenated members of gzip: their sum is the size."""
    raw = gzip.compress(tarred({"zeros": bytes(MIB)})) + gzip.compress(bytes(4 * MIB)) * 40
    await refused(tmp_path, raw, "200 times its size|goes on after its end")


# ── row 12 ───────────────────────────────────────────────────────────────────────────────────────


def lying(change: Callable[[bytearray, int], None], *, zip64: bool = False) -> bytes:
    """A zip whose second entry of the directory was changed."""
    raw = bytearray(zipped({"a": b"1" * 5000, "b": b"2" * 5000}, zip64=zip64))
    change(raw, raw.rindex(b"PK\x01\x02"))
    return bytes(raw)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (16, 0xDEADBEEF), (20, 0xFFFFFFF0), (20, 0), (20, 3), (24, 0xFFFFFFF0), (24, 7), (24, 5001), (42, 0xFFFFFFF0), (42, 5),
        (28, 0xFFFF), (30, 0xFFFF), (32, 0xFFFF),
    ],
    ids=lambda value: f"{value:x}",
)  # fmt: skip
@pytest.mark.parametrize("zip64", [False, True])
async def test_row_12_a_directory_that_lies_is_damage(
    tmp_path: Path, field: int, value: int, zip64: bool
) -> None:
    """CRC, packed and unpacked size, place, lengths: told, and nothing of the good member stays."""

    def change(raw: bytearray, at: int) -> None:
        struct.pack_into("<I" if field not in (28, 30, 32) else "<H", raw, at + field, value)

    await refused(
        tmp_path, lying(change, zip64=zip64), "damaged|overlap|members|times its size|unsafe|cannot be"
    )


@pytest.mark.parametrize("claim", [2**40, 2**63 - 1, 2**64 - 1])
async def test_row_12_zip64_claims_beyond_all_bounds_are_not_believed(tmp_path: Path, claim: int) -> None:
    """Sizes, places and the end record in 64 bits: no memory is taken for them."""
    plain = zipped({"a": b"1" * 5000})
    at = plain.index(b"PK\x01\x02")
    extra = struct.pack("<HHQQQ", 1, 24, claim, claim, claim)
    entry = bytearray(plain[at : at + 47])
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    body = bytes(entry) + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(body), at, 0)
    await refused(tmp_path, plain[:at] + body + end, "damaged|overlap|cannot be unpacked")
    size = len(body)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, claim, claim, size, claim)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + size, 1)
    await refused(tmp_path, plain[:at] + body + end64 + locator + end, "damaged|members|overlap|cannot be")


async def test_row_12_a_tar_that_ends_too_early_or_goes_on_is_refused(tmp_path: Path) -> None:
    """`tarfile` takes a broken header, or none, for the end: members would be missing in silence."""
    whole = tarred({"a": b"1" * 100, "b": b"2" * 100}, tarfile.USTAR_FORMAT)
    second = 1024  # where b's header is
    await refused(tmp_path, gzip.compress(whole[:second]), "no end mark")
    await refused(tmp_path, gzip.compress(whole[: second + 100]), "no end mark")
    broken = whole[:second] + b"\xff" * 512 + whole[second + 512 :]
    await refused(tmp_path, gzip.compress(broken), "damaged")
    await refused(tmp_path, gzip.compress(whole + whole), "goes on after its end")
    await refused(tmp_path, gzip.compress(whole) + gzip.compress(whole), "goes on after its end")
    cut = gzip.compress(whole)[:-8]
    await refused(tmp_path, cut, "damaged")
    await refused(tmp_path, cut + b"\0" * 8, "damaged")  # the checksum of gzip is wrong


SEEDS = [
    zipped({"a.txt": b"hello\n" * 20, "d/é.txt": b"x"}),
    zipped({"a.txt": b"hello\n" * 20, "d/b": b"x"}, zip64=True),
    tarred({"a.txt": b"x" * 30, "d/" + "é" * 60 + "/" + "x" * 80: b"y"}),
    tarred({"a.txt": b"x" * 30, "d/" + "x" * 160: b"y"}, tarfile.GNU_FORMAT),
]
CHANGE = st.tuples(st.integers(0, 20_000), st.sampled_from([0, 1, 127, 128, 254, 255]) | st.integers(0, 255))


def _sealed(raw: bytearray) -> bytes:
    """The tar with right checksums in its headers, so that the change is looked at; packed."""
    for at in range(0, len(raw) - 511, 512):
        if raw[at + 257 : at + 262] == b"ustar":
            blank = raw[at : at + 148] + b" " * 8 + raw[at + 156 : at + 512]
            raw[at + 148 : at + 156] = b"%06o\0 " % sum(blank)
    return gzip.compress(bytes(raw), 1)


def _any_damage(seed: int, changes: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(SEEDS[seed])
    for at, value in changes:
        raw[at % len(raw)] = value
    del raw[len(raw) - cut % 60 :]
    packed = bytes(raw) if seed < 2 else _sealed(raw)
    with TemporaryDirectory() as folder:
        archive, out = Path(folder, "archive"), Path(folder, "out")
        archive.write_bytes(packed)
        try:
            found = anyio.run(extract, archive, out)
        except Fault:
            found = []
        left = sorted(os.listdir(folder))
        assert left == (["archive", "out"] if found else ["archive"]) or not any(out.iterdir())
        assert all(path.is_relative_to(out) and path.is_file() for path in found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.lists(CHANGE, min_size=1, max_size=6), st.sampled_from([0, 0, 0, 1, 22, 50]))
def test_rows_8_to_12_any_damage_is_refused_or_harmless(
    seed: int, changes: list[tuple[int, int]], cut: int
) -> None:
    """Any bytes changed in a good archive: files inside the folder, or a Fault and nothing."""
    _any_damage(seed, changes, cut)


@pytest.mark.soak
@settings(max_examples=3_000, deadline=None)
@given(st.integers(0, 3), st.lists(CHANGE, min_size=1, max_size=9), st.integers(0, 59))
def test_rows_8_to_12_any_damage_at_length(seed: int, changes: list[tuple[int, int]], cut: int) -> None:
    """The same, three thousand times."""
    _any_damage(seed, changes, cut)
