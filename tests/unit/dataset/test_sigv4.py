"""Signature Version 4, against the examples that its makers publish for S3."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from qianfan.dataset.sigv4 import EMPTY, encoded_path, signed

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
HOST = {"host": "examplebucket.s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "digest", "signature"),
    [
        ("GET", "/test.txt", [], {"range": "bytes=0-9"}, EMPTY,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("PUT", "/test%24file.text", [],
         {"date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
         hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        ("GET", "/", [("lifecycle", "")], {}, EMPTY,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("GET", "/", [("max-keys", "2"), ("prefix", "J")], {}, EMPTY,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)  # fmt: skip
def test_the_published_examples_come_out(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], digest: str, signature: str
) -> None:
    """Reading a part, writing under a name that is encoded, a flag in the query, and a listing."""
    made = signed(
        KEY,
        SECRET,
        "us-east-1",
        method=method,
        path=path,
        query=query,
        headers={**HOST, **headers},
        payload_sha256=digest,
        unix=NOW,
    )
    assert made["Authorization"].endswith(f"Signature={signature}")
    assert f"Credential={KEY}/20130524/us-east-1/s3/aws4_request" in made["Authorization"]
    assert made["x-amz-date"] == "20130524T000000Z"
    assert SECRET not in str(made)


def test_a_path_is_encoded_once() -> None:
    """Slashes of a key stay, all else that is not plain is percent-encoded as UTF-8."""
    assert encoded_path("bucket", "a/一 b+%.txt") == "/bucket/a/%E4%B8%80%20b%2B%25.txt"
