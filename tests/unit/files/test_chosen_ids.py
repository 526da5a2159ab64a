"""Files under ids that were chosen before: whoever comes after a crash knows what to remove."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.files import DirectoryFiles, MemoryFiles
from qianfan_platform.files.reference import checked_id, derived_id

pytestmark = pytest.mark.anyio


def test_a_seed_has_one_id_and_another_seed_another() -> None:
    """And each has the form of an id."""
    ids = [derived_id(f"seed {number}") for number in range(100)]
    assert len(set(ids)) == 100
    assert ids[0] == derived_id("seed 0")
    assert all(checked_id(ident) for ident in ids)


@pytest.mark.parametrize("kind", ["directory", "memory"])
async def test_a_file_is_kept_under_its_id_and_forgotten_by_it(tmp_path: Path, kind: str) -> None:
    """Moved or copied; deleting what is not there is no error."""
    with closing(MemoryFiles()) as memory:
        files = DirectoryFiles(tmp_path / "files") if kind == "directory" else memory
        ident = derived_id("one")
        await files.delete(ident)
        path = tmp_path / "source"
        path.write_bytes(b"content")
        kept = await files.put_path(path, move=True, ident=ident)
        assert kept.id == ident
        assert (await files.local(ident)).read_bytes() == b"content"
        await files.delete(ident)
        with pytest.raises(Fault):
            await files.info(ident)


async def test_what_a_crash_left_of_it_goes_too(tmp_path: Path) -> None:
    """A draft without a page, bytes without a page, and a page that was only begun."""
    files = DirectoryFiles(tmp_path / "files")
    ident = derived_id("two")
    place = files.root / ident[5:7] / ident
    place.parent.mkdir()
    left = [place, files.root / "incoming" / ident, files.root / "incoming" / f"{ident}.json"]
    for path in left:
        path.write_bytes(b"half")
    with pytest.raises(Fault):
        await files.info(ident)
    await files.delete(ident)
    assert not any(path.exists() for path in left)
