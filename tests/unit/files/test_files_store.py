"""Keeping blobs: in a folder and in memory alike, and what only a folder can suffer."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.files import DirectoryFiles, Files, MemoryFiles
from qianfan_platform.files import directory as directory_module

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["directory", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    if request.param == "directory":
        yield DirectoryFiles(tmp_path / "blobs")
        return
    memory = MemoryFiles()
    yield memory
    memory.close()


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(files: Files, ident: str) -> bytes:
    return b"".join([block async for block in files.read(ident)])


def a_folder(root: Path) -> Path:
    folder = root / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights.bin").write_bytes(b"\0" * 3_000_000)
    return folder


async def test_bytes_come_back_as_they_were_put(files: Files) -> None:
    """From one text or a stream, empty or larger than a block; the reference tells size and hash."""
    for content in (b"", b"x", os.urandom(3 * 1024 * 1024 + 7)):
        ref = await files.put(content, name="../../etc/pa\nsswd", owner=7)
        assert (ref.size, ref.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert (ref.name, ref.owner) == ("passwd", 7)
        assert await whole(files, ref.id) == content
        assert (await files.local(ref.id)).read_bytes() == content
        assert await files.info(ref.id) == ref
    streamed = await files.put(pieces(b"a" * 700_000, b"", b"b" * 700_000))
    assert await whole(files, streamed.id) == b"a" * 700_000 + b"b" * 700_000


async def test_a_folder_is_kept_with_all_its_files(files: Files, tmp_path: Path) -> None:
    """Its hash covers names and contents; moved folders are gone from where they were."""
    folder = a_folder(tmp_path)
    ref = await files.put_path(folder)
    assert (ref.folder, ref.size, ref.name) == (True, 3_000_002, "model")
    place = await files.local(ref.id)
    assert (place / "deep" / "weights.bin").stat().st_size == 3_000_000
    moved = await files.put_path(folder, move=True)
    assert moved.sha256 == ref.sha256
    assert moved.id != ref.id
    assert not folder.exists()
    with pytest.raises(Fault, match="is a folder"):
        await whole(files, ref.id)
    await files.delete(ref.id)
    with pytest.raises(Fault, match="does not exist"):
        await files.local(ref.id)


async def test_a_single_file_is_kept_by_path(files: Files, tmp_path: Path) -> None:
    """Copied by default, taken away when moved."""
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"[]\n")
    kept = await files.put_path(source, name="other.jsonl")
    assert (kept.name, kept.folder, source.exists()) == ("other.jsonl", False, True)
    moved = await files.put_path(source, move=True)
    assert not source.exists()
    assert await whole(files, moved.id) == await whole(files, kept.id) == b"[]\n"
    with pytest.raises(Fault, match="there is no file"):
        await files.put_path(source)


@pytest.mark.parametrize(
    "ident",
    ["", "file-", "../../etc/passwd", "file-../../../etc/passwd", "file-AAAAAAAAAAAAAAAAAAAA", "file-" + "a" * 21,
     "file-aaaaaaaaaaaaaaaaaaa\n", "file-aaaaaaaaaa/aaaaaaaaa", "file-" + "a" * 20, "ds-4h2kz81mvq0pt6ce"],
)  # fmt: skip
async def test_only_ids_of_ours_are_ever_looked_up(files: Files, ident: str) -> None:
    """Anything else does not exist, whatever path it spells."""
    for work in (files.info(ident), files.local(ident), whole(files, ident)):
        with pytest.raises(Fault, match="does not exist"):
            await work


async def test_a_foreign_file_answers_like_a_missing_one(files: Files) -> None:
    """The texts are the same but for the id."""
    ref = await files.put(b"x", owner=7)
    assert await files.info(ref.id, owner=7) == ref
    await files.local(ref.id, owner=7)
    with pytest.raises(Fault) as foreign:
        await files.local(ref.id, owner=8)
    await files.delete(ref.id)
    await files.delete(ref.id)
    with pytest.raises(Fault) as missing:
        await files.local(ref.id, owner=8)
    assert foreign.value.text == missing.value.text


async def test_an_upload_past_its_limit_leaves_nothing(tmp_path: Path) -> None:
    """The limit counts bytes; an upload whose sender fails is dropped too."""
    files, memory = DirectoryFiles(tmp_path), MemoryFiles()
    await files.put(b"x" * 10, limit=10)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Fault, match="larger than 10 bytes"):
        await files.put(pieces(b"x" * 9, b"xx"), limit=10)
    with pytest.raises(Fault, match="larger than 10 bytes"):
        await memory.put(b"x" * 11, limit=10)
    memory.close()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError("the sender left")

    with pytest.raises(Fault, match="cannot write"):
        await files.put(broken())
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_full_disk_is_told_in_words_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No space left while writing: a Fault, and the folder is as before."""
    files = DirectoryFiles(tmp_path)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    def create(path: Path) -> Any:
        path.touch()
        return full.open("wb", buffering=0)

    monkeypatch.setattr(directory_module, "_create", create)
    with pytest.raises(Fault, match="disk of the platform is full") as fault:
        await files.put(b"x" * 100)
    assert "free space" in fault.value.advice
    assert str(tmp_path) not in fault.value.text
    assert fault.value.__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
    source = tmp_path.parent / f"{tmp_path.name}-source"
    source.write_bytes(b"x")
    with pytest.raises(Fault, match="full"):
        await files.put_path(source)
    assert [path.name for path in tmp_path.rglob("*")] == ["incoming"]


async def test_damage_is_found_when_a_file_is_read(tmp_path: Path) -> None:
    """Flipped, cut, swapped or lost bytes are never handed out, not even after a good read."""
    files = DirectoryFiles(tmp_path / "blobs")
    ref = await files.put(b"good bytes")
    path = await files.local(ref.id)
    for wrong in (b"evil bytes", b"good byte", b""):
        path.write_bytes(wrong)
        for fresh in (files, DirectoryFiles(tmp_path / "blobs")):
            with pytest.raises(Fault, match="is damaged"):
                await fresh.local(ref.id)
    path.unlink()
    with pytest.raises(Fault, match="bytes are gone"):
        await files.local(ref.id)

    folder = await files.put_path(a_folder(tmp_path))
    place = await files.local(folder.id)
    (place / "extra.txt").write_text("x")
    with pytest.raises(Fault, match=r"extra.txt is not what was written"):
        await files.local(folder.id)
    (place / "extra.txt").unlink()
    await files.local(folder.id)
    (place / "config.json").write_text("[]")
    with pytest.raises(Fault, match=r"config.json is not what was written"):
        await files.local(folder.id)


async def test_a_torn_page_is_damage_and_bytes_without_a_page_do_not_exist(tmp_path: Path) -> None:
    """A crash between the two renames leaves only bytes, which nobody sees."""
    files = DirectoryFiles(tmp_path)
    ref = await files.put(b"x")
    page = (await files.local(ref.id)).with_name(f"{ref.id}.json")
    for torn in (b"", b"{", b"[]", b"{}", b'{"files": null, "id": "x"}'):
        page.write_bytes(torn)
        with pytest.raises(Fault, match="page is torn"):
            await files.info(ref.id)
    page.unlink()
    with pytest.raises(Fault, match="does not exist"):
        await files.local(ref.id)


async def test_an_unchanged_file_is_hashed_once(tmp_path: Path) -> None:
    """A second `local` trusts size, time and inode; another process checks for itself."""
    files = DirectoryFiles(tmp_path)
    ref = await files.put(b"good")
    path = await files.local(ref.id)
    stat = path.stat()
    path.write_bytes(b"evil")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert await files.local(ref.id) == path  # the same stamp: this is the price of not hashing each time
    with pytest.raises(Fault, match="is damaged"):
        await DirectoryFiles(tmp_path).local(ref.id)


async def test_links_and_devices_are_not_kept(tmp_path: Path) -> None:
    """A link in a folder could show any file of the machine."""
    files = DirectoryFiles(tmp_path / "blobs")
    folder = a_folder(tmp_path)
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for bad in (folder, folder / "link", tmp_path / "pipe"):
        for move in (False, True):
            with pytest.raises(Fault):
                await files.put_path(bad, move=move)
    assert (folder / "config.json").exists()


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    """The draft goes with the request."""
    files = DirectoryFiles(tmp_path)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)

    task = asyncio.create_task(files.put(endless()))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in tmp_path.rglob("*")] == ["incoming"]


def test_old_drafts_of_dead_processes_are_swept(tmp_path: Path) -> None:
    """A day later; younger ones may belong to a process that lives."""
    DirectoryFiles(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    old.mkdir()
    (old / "part").write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    DirectoryFiles(tmp_path)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["young"]
