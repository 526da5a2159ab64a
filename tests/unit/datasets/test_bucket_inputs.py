"""What an import takes out of a bucket: one object, or those of a folder, within limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bucket_server import MINE, BucketServer, bucket_server

from qianfan.contract.errors import Fault
from qianfan_platform.datasets import buckets
from qianfan_platform.files.objects import ObjectMissing, Objects

__all__ = ["bucket_server"]

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024


@pytest.fixture
def objects(bucket_server: BucketServer, tmp_path: Path) -> Objects:
    for name in ("a", "b", "c"):
        bucket_server.write(f"inputs/{name}.jsonl", name)
    bucket_server.write("inputs/empty.jsonl", "")
    bucket_server.write("inputs-of-others/d.jsonl", "d")
    return Objects.load(bucket_server.stores(tmp_path), bucket_server.environment)


@pytest.mark.parametrize("path", ["inputs", "inputs/"])
async def test_a_folder_is_its_objects_by_name(path: str, objects: Objects, tmp_path: Path) -> None:
    """Not those of a folder whose name begins alike, and none that are empty."""
    found = await buckets.fetched(objects, 1, f"bos:/{MINE}/{path}", tmp_path / "in", MIB)
    assert [name for name, _ in found] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert [file.read_text() for _, file in found] == ["a", "b", "c"]


async def test_the_limits_hold_for_all_objects_together(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes, and how many there are; both are told before anything is fetched or at once."""
    path = f"bos:/{MINE}/inputs/"
    with pytest.raises(Fault, match="too large together"):
        await buckets.fetched(objects, 1, path, tmp_path / "in", 2)
    monkeypatch.setattr(buckets, "MOST_FILES", 2)
    with pytest.raises(Fault, match="3 objects, more than 2"):
        await buckets.fetched(objects, 1, path, tmp_path / "in", MIB)
    with pytest.raises(Fault, match="1 bytes, more than 0"):
        await buckets.fetched(objects, 1, f"{path}a.jsonl", tmp_path / "in", 0)


async def test_nothing_under_a_path_is_an_object_that_is_missing(objects: Objects, tmp_path: Path) -> None:
    """A folder without objects, and a name that is neither object nor folder."""
    for path in ("nowhere/", "nowhere", "inputs/a"):
        with pytest.raises(ObjectMissing, match="there is no object"):
            await buckets.fetched(objects, 1, f"bos:/{MINE}/{path}", tmp_path / "in", MIB)
