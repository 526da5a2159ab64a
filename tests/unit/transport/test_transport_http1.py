"""HTTP/1.1 as bytes: heads, and bodies cut anywhere."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qianfan.transport.http1 import (
    MAX_HEADERS,
    MAX_LINE,
    Body,
    BrokenAnswer,
    Chunked,
    Endless,
    Packed,
    Sized,
    head_of,
    parse_head,
)


def fed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    """What a body makes of `data` that comes in pieces, cut where `cuts` say."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = []
    for begin, end in itertools.pairwise(edges):
        if body.ended:
            body.rest += data[begin:end]
        else:
            parts.append(body.feed(data[begin:end]))
    return b"".join(parts)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=8),
    extension=st.sampled_from([b"", b";a=b", b" ; x", b"  "]),
    trailer=st.sampled_from([b"", b"X-A: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n"]),
)
def test_a_chunked_body_is_the_same_wherever_it_is_cut(
    chunks: list[bytes], cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    """Chunks, their lines, extensions and trailers may be split at any byte; what follows is kept apart."""
    sent = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in chunks)
    body = Chunked()
    assert fed(body, sent + b"0\r\n" + trailer + b"\r\nNEXT", cuts) == b"".join(chunks)
    assert body.ended
    assert body.rest == b"NEXT"


def test_what_has_come_of_a_chunk_is_not_held_back() -> None:
    """Half a chunk is handed on; its size and line end are not part of it."""
    body = Chunked()
    assert [body.feed(part) for part in (b"a\r\n01234", b"56", b"789", b"\r", b"\n", b"1\r\nx")] == [
        *(b"01234", b"56", b"789", b"", b"", b"x")
    ]
    assert not body.ended


@pytest.mark.parametrize(
    "sent",
    [
        b"5\r\nhelloX\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"five\r\n",
        b"ffffffffffffffff\r\n",
        b"5" * MAX_LINE,
        b"0\r\n" + b"X-A: 123456\r\n" * MAX_LINE,
    ],
)
@given(cuts=st.lists(st.integers(min_value=0, max_value=30), max_size=3))
def test_a_wrong_chunk_is_an_error_wherever_it_is_cut(sent: bytes, cuts: list[int]) -> None:
    """Sizes that are none, data beyond the size, and lines without an end."""
    with pytest.raises(BrokenAnswer):
        fed(Chunked(), sent, cuts)


@given(st.binary(max_size=60))
def test_any_bytes_make_a_body_or_an_error(data: bytes) -> None:
    """Nothing else is raised, and a body never grows."""
    with contextlib.suppress(BrokenAnswer):
        assert len(Chunked().feed(data)) <= len(data)


def test_a_body_that_ends_too_early_says_so() -> None:
    """A cut is an error, except where the end of the connection is the end of the body."""
    for body in (Sized(3), Chunked()):
        body.feed(b"1\r")
        with pytest.raises(BrokenAnswer, match="before the end"):
            body.hang_up()
    endless = Endless()
    assert endless.feed(b"abc") == b"abc"
    endless.hang_up()
    assert endless.ended


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(min_value=0, max_value=300), max_size=5))
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_packed_body_is_the_same_wherever_it_is_cut(
    pack: Callable[[bytes], bytes], data: bytes, cuts: list[int]
) -> None:
    """In both formats; one whose end is missing is an error."""
    packed = pack(data)
    assert fed(Packed(Sized(len(packed))), packed, cuts) == data
    with pytest.raises(BrokenAnswer, match="end is missing"):
        fed(Packed(Sized(len(packed) - 1)), packed[:-1], cuts)


def test_a_head_is_read() -> None:
    """Names in lower case, values without their outer spaces, the last of several; a reason is not needed."""
    head = parse_head(b"HTTP/1.1 404\r\nContent-Length:  3 \r\nX-A: 1\r\nx-a: a:b\r\nEmpty:")
    assert (head.status, head.headers) == (404, {"content-length": "3", "x-a": "a:b", "empty": ""})
    assert head.keeps
    body = head.body()
    assert body.feed(b"abcd") == b"abc"
    assert body.rest == b"d"


@pytest.mark.parametrize(
    ("raw", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive", True),
        (b"HTTP/1.1 200 OK", False),
        (b"HTTP/1.1 204 No Content", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1", False),
    ],
)
def test_it_is_known_whether_a_connection_may_be_used_again(raw: bytes, keeps: bool) -> None:
    """Version, `Connection`, and how the body ends; two statements of its length are one too many."""
    head = parse_head(raw)
    body = head.body()
    assert head.keeps == keeps
    assert body.ended == (b"204" in raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ICY 200 OK",
        b"HTTP/2 200",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 200 OK\nX: y",
        b"HTTP/1.1 200 OK\r\nX: y\n z",
        b"HTTP/1.1 200 OK\r\nX: y\r",
        b"HTTP/1.1 200 OK\r\nX: \0",
        b"HTTP/1.1 200 OK\r\nX : y",
        b"HTTP/1.1 200 OK\r\n: y",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded",
        b"HTTP/1.1 200 OK" + b"\r\nX: y" * (MAX_HEADERS + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xc2\xb2",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_refused(raw: bytes) -> None:
    """Line ends, names, lengths: what is not clear is an error."""
    with pytest.raises(BrokenAnswer):
        parse_head(raw).body()


@given(st.binary(max_size=80))
def test_any_head_is_read_or_refused(raw: bytes) -> None:
    """Nothing else is raised."""
    for data in (raw, b"HTTP/1.1 200 OK\r\n" + raw):
        with contextlib.suppress(BrokenAnswer):
            assert 100 <= parse_head(data).status < 1000


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\n", "\r", "a\0"])
def test_no_header_is_smuggled_into_a_request(value: str) -> None:
    """A value with a line end could be another header."""
    with pytest.raises(ValueError, match="line end"):
        head_of("GET", "/", "Host: a\r\n", {"X": value}, None)
    assert head_of("GET", "/", "Host: a\r\n", {"X": "聊"}, 0) == (
        "GET / HTTP/1.1\r\nHost: a\r\nX: 聊\r\nContent-Length: 0\r\n\r\n".encode()
    )
