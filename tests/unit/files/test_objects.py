"""Objects of connected stores, against an S3 server that checks signatures."""

from __future__ import annotations

import logging
import os
import socketserver
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.bucket_server import ABSENT, LOCKED, MINE, REGION, BucketServer, bucket_server

from qianfan.contract.errors import Fault
from qianfan_platform.files import objects as module
from qianfan_platform.files.objects import ObjectFault, ObjectMissing, ObjectPath, Objects, parse
from qianfan_platform.files.stores import ConnectedStore, StoresInvalid, read

__all__ = ["bucket_server"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def objects(bucket_server: BucketServer, tmp_path: Path) -> Objects:
    return Objects.load(bucket_server.stores(tmp_path), bucket_server.environment)


@pytest.mark.parametrize(
    "text",
    ["bos:/bucket-1/a/b.jsonl", "bos://bucket-1/a/b.jsonl", "s3://bucket-1/a/b.jsonl", "bucket-1/a/b.jsonl",
     "bos:/bucket-1//a/b.jsonl", "/bos:/bucket-1/a/b.jsonl", "/bucket-1/a/b.jsonl"],
)  # fmt: skip
def test_all_spellings_mean_one_path(text: str) -> None:
    """With and without a scheme, one slash or two, and the leading slash of published clients."""
    assert parse(text) == ObjectPath("bucket-1", "a/b.jsonl")


@pytest.mark.parametrize(
    "text",
    ["", "/", "bos:/", "bos:/../", "bos:/../etc/passwd", "bos:/bucket/../other/key", "bos:/bucket/a/./b", "s3:///key",
     "file:///etc/passwd", "/etc/../passwd", "https://host/bucket/key", "bos:/bucket/a//b", "bos:/bucket/a\x00b",
     "bos:/bucket/a\nb", "bos:/bucket/a\\..\\b", "bos:/buck et/a", "bos:/b..t/a", "bos:/-bucket/a", "bos:/local/file-x",
     "local/file-x", "bos:/bucket/" + "k" * 1025, "bos:/bucket/\ud800", "bos:/" + "b" * 64 + "/a", "bos:/bucket/..",
     "bos:/bucket/a/..", "bos:/user:pass@bucket/a", "bos:/bucket:80/a"],
)  # fmt: skip
def test_what_is_no_path_is_none(text: str) -> None:
    """No way out of a bucket, no other scheme, no control characters, none of the platform's own uploads."""
    assert parse(text) is None


async def test_an_object_goes_there_and_back(objects: Objects, tmp_path: Path) -> None:
    """Small and in parts, under names with spaces, Chinese and percent signs."""
    for key, size in (
        ("o/a.jsonl", 5),
        ("o/一 b+%41.jsonl", 1000),
        ("o/big", 2 * module.PIECE + 3),
        ("o/empty", 0),
    ):
        content = os.urandom(size)
        (tmp_path / "source").write_bytes(content)
        path = ObjectPath(MINE, key)
        assert await objects.put(path, tmp_path / "source") == size
        assert await objects.fetch(path, tmp_path / "target") == size
        assert (tmp_path / "target").read_bytes() == content
    listed = await objects.list(ObjectPath(MINE, "o/"))
    assert [one.path.key for one in listed] == ["o/a.jsonl", "o/big", "o/empty", "o/一 b+%41.jsonl"]
    assert [one.size for one in listed] == [5, 2 * module.PIECE + 3, 0, 1000]
    await objects.delete(ObjectPath(MINE, "o/a.jsonl"))
    assert len(await objects.list(ObjectPath(MINE, "o"))) == 3


async def test_what_is_too_large_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    """The limit holds before a byte is written."""
    path = ObjectPath(MINE, "limit/a")
    await objects.put(path, b"12345")
    with pytest.raises(Fault, match="5 bytes, more than 4"):
        await objects.fetch(path, tmp_path / "target", 4)
    assert list(tmp_path.glob("*target*")) == []


async def test_what_is_not_there_is_named(objects: Objects, tmp_path: Path) -> None:
    """A missing object and a missing bucket are two things, and both are import error 300."""
    for path, words in (
        (ObjectPath(MINE, "none"), "no object bos:/"),
        (ObjectPath(ABSENT, "none"), "has no bucket"),
    ):
        with pytest.raises(ObjectMissing, match=words) as told:
            await objects.fetch(path, tmp_path / "target")
        assert told.value.import_code == 300
    assert list(tmp_path.glob("*target*")) == []


async def test_a_refusal_of_the_store_is_told_without_keys(
    bucket_server: BucketServer, objects: Objects, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bucket that is not ours, a wrong secret and an unknown key; nothing shown holds a key."""
    caplog.set_level(logging.DEBUG)
    for access, secret, bucket, code in (
        (bucket_server.access_key, bucket_server.secret_key, LOCKED, "AccessDenied"),
        (bucket_server.access_key, "wrongsecret", MINE, "SignatureDoesNotMatch"),
        ("nobodyskey", "wrongsecret", MINE, "InvalidAccessKeyId"),
    ):
        store = ConnectedStore(
            "s", bucket_server.url, REGION, (bucket,), access_key=access, secret_key=secret
        )
        with pytest.raises(Fault, match=code) as told:
            await Objects([store]).put(ObjectPath(bucket, "x"), b"x")
        for shown in (told.value.text, caplog.text, repr(store)):
            assert access not in shown
            assert secret not in shown


async def test_the_environment_of_other_tools_changes_nothing(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_… variables of the server's environment reach no store that an operator connected."""
    for name in ("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert await objects.put(ObjectPath(MINE, "env/a"), b"x") == 1


async def test_a_store_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and then named."""
    store = ConnectedStore("far", "http://127.0.0.1:9", REGION, (MINE,), access_key="a", secret_key="b")
    with pytest.raises(Fault, match="the store far did not answer") as told:
        await Objects([store]).list(ObjectPath(MINE))
    assert told.value.import_code == 100  # type: ignore[attr-defined]


@pytest.fixture
def poor_store() -> Iterator[tuple[Objects, dict[str, bytes]]]:
    """A store that sends the bytes `answer` to every request and hangs up; b"": it says nothing."""
    answer = {"is": b""}

    class Poor(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            if answer["is"]:
                self.request.sendall(answer["is"])
            else:
                quiet.wait(10)

    quiet = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Poor) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Objects([ConnectedStore("poor", url, REGION, (MINE,), access_key="a", secret_key="b")]), answer
        quiet.set()
        server.shutdown()
        thread.join()


async def test_a_silent_store_is_given_up(
    poor_store: tuple[Objects, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the request and says nothing."""
    monkeypatch.setattr(module, "_SILENCE", timedelta(seconds=0.2))
    monkeypatch.setattr(module, "_RETRIES", 0)
    objects, _ = poor_store
    with pytest.raises(ObjectFault, match="did not answer"):
        await objects.fetch(ObjectPath(MINE, "a"), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "e"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\n01234',
        b"HTTP/1.1 200 OK\r\n\r\n01234",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/other\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
        b"not http at all\r\n\r\n",
    ],
    ids=["cut", "without a length", "to nowhere", "500", "no http"],
)
async def test_what_is_no_whole_object_leaves_no_file(
    answer: bytes,
    poor_store: tuple[Objects, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that ends early, leads nowhere or makes no sense is a Fault that names the store."""
    monkeypatch.setattr(module, "_RETRIES", 1)
    objects, said = poor_store
    said["is"] = answer
    with pytest.raises(ObjectFault, match="the store poor did not answer"):
        await objects.fetch(ObjectPath(MINE, "a"), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_an_account_names_only_what_is_connected_for_it(bucket_server: BucketServer, tmp_path: Path) -> None:
    """A bucket of other accounts answers like one that is not connected at all."""
    objects = Objects.load(bucket_server.stores(tmp_path, accounts=[2]), bucket_server.environment)
    assert objects.at(f"bos:/{MINE}/a", 2) == ObjectPath(MINE, "a")
    texts = []
    for bucket in (MINE, "other-data"):
        with pytest.raises(Fault) as told:
            objects.at(f"bos:/{bucket}/a", 1)
        texts.append(told.value.text.replace(bucket, "…"))
    assert texts[0] == texts[1]
    with pytest.raises(Fault, match="none connected"):
        Objects().at("bos:/bucket/a", 1)
    with pytest.raises(Fault, match="no path in a bucket"):
        objects.at("bos:/../", 2)


GOOD = 'endpoint = "http://h:1"\naccess_key_env = "K"\nsecret_key_env = "S"\nbuckets = ["b-1"]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no store"),
        ("stores = 1", "holds no store"),
        ("[stores.a]", "lacks endpoint"),
        ("[stores.a]\n" + GOOD.replace('"K"', '"UNSET"'), "UNSET is not set"),
        ("[stores.a]\n" + GOOD + "color = 1", "color is not known"),
        ("[stores.a]\n" + GOOD.replace("http://h:1", "http://me:secret@h:1"), "endpoint must be"),
        ("[stores.a]\n" + GOOD.replace("http://h:1", "http://h:1/path"), "endpoint must be"),
        ("[stores.a]\n" + GOOD.replace("b-1", "../b"), "no name of a bucket"),
        ("[stores.a]\n" + GOOD.replace("b-1", "local"), "own storage"),
        ("[stores.a]\n" + GOOD + "accounts = []", "nobody could use it"),
        ("[stores.a]\n" + GOOD + 'accounts = ["x"]', "numbers of accounts"),
        ("[stores.a]\n" + GOOD + 'host_style = "x"', "host_style"),
        ("[stores.a]\n" + GOOD + "[stores.b]\n" + GOOD, "is in a and b"),
        ("[stores.a", "objects.toml"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, words: str, tmp_path: Path) -> None:
    """The file, the member and what is wrong with it; never the value of a key."""
    (tmp_path / "objects.toml").write_text(text)
    with pytest.raises(StoresInvalid, match=words) as told:
        read(tmp_path / "objects.toml", {"K": "the-key", "S": "the-secret"})
    assert "the-" not in str(told.value)
