"""Objects of buckets as sources of rows, against an S3 server that checks signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.bucket_server import ABSENT, LOCKED, MINE, REGION, BucketServer, bucket_server

from qianfan.config import get_config
from qianfan.dataset import bos, bucket
from qianfan.dataset.bos import BosDataSource, Place
from qianfan.dataset.bucket import Bucket
from qianfan.errors import InvalidArgumentError, RequestError

__all__ = ["bucket_server"]


@pytest.fixture(autouse=True)
def configured_store(bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's settings lead to the server."""
    config = get_config()
    for name, value in (
        ("BOS_ENDPOINT", bucket_server.url),
        ("BOS_HOST_REGION", REGION),
        ("ACCESS_KEY", bucket_server.access_key),
        ("SECRET_KEY", bucket_server.secret_key),
        ("CACHE_DIR", str(tmp_path / "cache")),
        ("DISABLE_CACHE", False),
    ):
        monkeypatch.setitem(config.__dict__, name, value)


def source(path: str, name: str = MINE, **more: Any) -> BosDataSource:
    return bos.target({"region": REGION, "bucket": name, "bos_file_path": path, **more})


def test_rows_go_there_and_back(bucket_server: BucketServer) -> None:
    """Written by one source, read by another, under a name that must be encoded."""
    rows = [{"prompt": f"问 {number}", "response": "answer"} for number in range(3)]
    assert source("sdk/一 b.jsonl").write(rows) == 3
    assert bucket_server.read("sdk/一 b.jsonl").decode().count("\n") == 3
    assert [row for _, row in source("/sdk/一 b.jsonl").read()] == rows


@pytest.mark.parametrize("size", [0, 5, bucket.PIECE, bucket.PIECE + 1, 2 * bucket.PIECE + 7])
def test_an_object_comes_whole(size: int, bucket_server: BucketServer, tmp_path: Path) -> None:
    """At the borders of the pieces it is asked for in."""
    content = b"0123456" * (size // 7 + 1)
    bucket_server.write("sdk/pieces", content[:size])
    etag = Bucket.of(MINE).get("sdk/pieces", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content[:size]
    if size:  # of an empty one nobody is told the ETag
        assert Bucket.of(MINE).get("sdk/pieces", tmp_path / "again", etag) is None
        assert not (tmp_path / "again").exists()


def test_a_newer_object_is_seen_by_a_new_source(bucket_server: BucketServer) -> None:
    """One source keeps to what it has fetched; the next asks the store, which tells what is new."""
    bucket_server.write("sdk/new.jsonl", '{"a": 1}\n')
    first = source("sdk/new.jsonl")
    assert [row for _, row in first.read()] == [{"a": 1}]
    bucket_server.write("sdk/new.jsonl", '{"a": 2}\n')
    assert [row for _, row in first.read()] == [{"a": 1}]
    assert [row for _, row in source("sdk/new.jsonl").read()] == [{"a": 2}]


def test_without_a_cache_nothing_stays(monkeypatch: pytest.MonkeyPatch, bucket_server: BucketServer) -> None:
    """DISABLE_CACHE keeps the fetched object only as long as the source."""
    monkeypatch.setitem(get_config().__dict__, "DISABLE_CACHE", True)
    bucket_server.write("sdk/c.jsonl", '{"a": 1}\n')
    one = source("sdk/c.jsonl")
    path = one.fetch()
    assert path.is_file()
    del one
    assert not path.exists()


def test_an_object_of_others_is_not_overwritten_unasked(bucket_server: BucketServer) -> None:
    """What was read may be replaced, what was not only when that is asked for."""
    bucket_server.write("sdk/kept.jsonl", '{"a": 1}\n')
    with pytest.raises(InvalidArgumentError, match="exists"):
        source("sdk/kept.jsonl").write([{"a": 2}])
    read = source("sdk/kept.jsonl")
    assert list(read.read())
    read.write([{"a": 3}])
    assert bucket_server.read("sdk/kept.jsonl") == b'{"a":3}\n'
    source("sdk/kept.jsonl", should_overwrite_existed_file=True).write([{"a": 4}])
    assert bucket_server.read("sdk/kept.jsonl") == b'{"a":4}\n'


def test_what_goes_wrong_is_named_without_keys(bucket_server: BucketServer) -> None:
    """A missing object, a missing bucket, a locked one, a wrong secret, an unknown key."""
    cases = [
        (source("none.jsonl"), 404, "there is no object"),
        (source("a.jsonl", ABSENT), 404, "has no bucket"),
        (source("a.jsonl", LOCKED), 403, "AccessDenied"),
        (source("a.jsonl", ak=bucket_server.access_key, sk="wrongsecret"), 403, "SignatureDoesNotMatch"),
        (source("a.jsonl", ak="nobodyskey", sk="wrongsecret"), 403, "InvalidAccessKeyId"),
    ]
    for one, status, words in cases:
        with pytest.raises(RequestError, match=words) as told:
            one.fetch()
        assert told.value.status_code == status
        for shown in (str(told.value), repr(told.value), repr(one), repr(one.bucket), repr(vars(told.value))):
            for secret in (bucket_server.secret_key, "wrongsecret", "nobodyskey"):
                assert secret not in shown


def test_a_store_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is refused is tried several times, then told with the address."""
    monkeypatch.setitem(get_config().__dict__, "BOS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket, "PAUSE_S", 0.001)
    with pytest.raises(ConnectionError):
        source("a.jsonl").fetch()


@pytest.mark.parametrize("path", ["", "/", "folder/", "../a", "a/../b", "a//b", "a\x00b", "a\\b"])
def test_a_path_that_is_none_is_refused_before_anything_is_sent(path: str) -> None:
    """A folder, a way out, a control character."""
    with pytest.raises(InvalidArgumentError, match="no path of an object"):
        source(path)


def test_arguments_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown members, no bucket, no keys, and an endpoint with more than a host."""
    with pytest.raises(InvalidArgumentError, match="bos_source_args"):
        bos.target({"buckett": MINE})
    with pytest.raises(InvalidArgumentError, match="no name of a bucket"):
        source("a.jsonl", "bos:/x")
    config = get_config().__dict__
    monkeypatch.setitem(config, "BOS_ENDPOINT", "http://host/path")
    with pytest.raises(InvalidArgumentError, match="BOS_ENDPOINT"):
        source("a.jsonl")
    monkeypatch.setitem(config, "BOS_ENDPOINT", None)
    assert source("a.jsonl").bucket.endpoint == f"https://s3.{REGION}.bcebos.com"
    monkeypatch.setitem(config, "ACCESS_KEY", None)
    with pytest.raises(InvalidArgumentError, match="no keys"):
        source("a.jsonl")


def test_a_file_is_brought_to_its_place(tmp_path: Path, bucket_server: BucketServer) -> None:
    """Under a fresh name in the folder; the path is what an import takes."""
    (tmp_path / "rows.jsonl").write_text("[]\n")
    path = Place(MINE, "sdk/brought/").bring(tmp_path / "rows.jsonl", "rows.jsonl")
    assert path.startswith(f"bos:/{MINE}/sdk/brought/data_")
    assert bucket_server.read(path.removeprefix(f"bos:/{MINE}/")) == b"[]\n"
