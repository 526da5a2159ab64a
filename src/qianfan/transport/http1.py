"""HTTP/1.1 as bytes, from the side that asks: heads are parsed, bodies are cut out. No I/O.

Strict where leniency lets two readers of the same bytes disagree: line ends, names, lengths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

MAX_HEAD: Final = 64 * 1024  # bytes of a status line and its headers
MAX_HEADERS: Final = 200
MAX_LINE: Final = 4 * 1024  # bytes of the line before a chunk, and of all the lines behind the last one

_status = re.compile(r"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: .*)?").fullmatch
_name = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+").fullmatch
_chunk = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?").fullmatch
_length = re.compile(r"[0-9]{1,18}").fullmatch


class BrokenAnswer(Exception):
    """What came is not HTTP, or ends too early."""


class Body(Protocol):
    """Cuts a body out of what comes. ended: it is whole. rest: what came behind its end."""

    ended: bool
    rest: bytes

    def feed(self, data: bytes) -> bytes:
        """The part of the body that is in `data`."""

    def hang_up(self) -> None:
        """Nothing more comes. BrokenAnswer where the body is not whole."""


@dataclass(slots=True)
class Head:
    """Status and headers of an answer, names in lower case. keeps: the connection may be used again after it."""

    status: int
    headers: dict[str, str]
    keeps: bool

    def body(self) -> Body:
        """What cuts out the body of this answer, and unpacks it: the headers of the packing are taken out."""
        body = self._as_sent()
        packing = self.headers.get("content-encoding")
        if packing is None or packing.lower() == "identity" or body.ended:
            return body
        if packing.lower() not in ("gzip", "x-gzip", "deflate"):
            raise BrokenAnswer(f"the body comes in a content encoding that was not asked for: {packing[:40]}")
        del self.headers["content-encoding"]
        self.headers.pop("content-length", None)
        return Packed(body)

    def _as_sent(self) -> Body:
        headers = self.headers
        if self.status in (204, 304) or self.status < 200:
            return Sized(0)
        coding = headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked":
                raise BrokenAnswer(f"the body comes in a transfer encoding that is not known: {coding[:40]}")
            if "content-length" in headers:  # one of the two is a lie, and a next answer could be forged
                self.keeps = False
            return Chunked()
        length = headers.get("content-length")
        if length is not None:
            if not _length(length):
                raise BrokenAnswer(f"the length of the body is {length[:40]!r}")
            return Sized(int(length))
        self.keeps = False
        return Endless()


def parse_head(raw: bytes) -> Head:
    """The head in `raw`, which is all before the empty line."""
    text = raw.decode("latin-1")
    lines = text.split("\r\n")
    ends = len(lines) - 1
    found = _status(lines[0])
    if found is None or text.count("\n") != ends or text.count("\r") != ends or "\0" in text:
        raise not_http(raw)
    if ends > MAX_HEADERS:
        raise BrokenAnswer(f"the answer has more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not is_name(name):
            raise BrokenAnswer(f"the answer has a header that cannot be read: {name[:40]!r}")
        name, value = name.lower(), value.strip(" \t")
        if name in _FRAMING and headers.get(name, value) != value:
            raise BrokenAnswer(f"the answer has two different headers {name}")
        headers[name] = value
    connection = headers.get("connection")
    if connection is None:
        keeps = found[1] == "1"
    else:
        options = {option.strip() for option in connection.lower().split(",")}
        keeps = "close" not in options and (found[1] == "1" or "keep-alive" in options)
    return Head(int(found[2]), headers, keeps)


_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


def not_http(raw: bytes) -> BrokenAnswer:
    """The error for a first line that is none."""
    line = raw[:60].partition(b"\n")[0].decode("ascii", "replace")
    return BrokenAnswer(f"the answer is not HTTP/1.1, it begins with {line!r}")


@lru_cache(maxsize=512)
def is_name(name: str) -> bool:
    """True for what may be the name of a header."""
    return _name(name) is not None


class Sized:
    """A body of so many bytes."""

    def __init__(self, size: int) -> None:
        self.ended = not size
        self.rest = b""
        self._left = size

    def feed(self, data: bytes) -> bytes:
        if len(data) > self._left:
            data, self.rest = data[: self._left], data[self._left :]
        self._left -= len(data)
        self.ended = not self._left
        return data

    def hang_up(self) -> None:
        if not self.ended:
            raise BrokenAnswer(f"the connection was closed {self._left} bytes before the end of the answer")


class Endless:
    """A body that ends with its connection."""

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        return data

    def hang_up(self) -> None:
        self.ended = True


class Chunked:
    """A body in chunks. What has come of a chunk is handed on; the rest of it is not waited for."""

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self._held = b""  # the beginning of a line
        self._left = 0  # bytes of this chunk that are still to come
        self._is_behind = False  # behind a chunk, before its line end
        self._is_last = False  # behind the last chunk, in the trailer
        self._trailer = 0  # bytes of it so far

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        parts: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                end = at + self._left
                if end > size:
                    self._left = end - size
                    parts.append(data[at:])
                    break
                parts.append(data[at:end])
                at, self._left, self._is_behind = end, 0, True
            if self._is_behind:
                if data[at : at + 2] != b"\r\n":
                    if size - at < 2 and data[at:] in (b"", b"\r"):
                        self._held = data[at:]
                        break
                    raise BrokenAnswer("a chunk of the answer is longer than it says")
                at, self._is_behind = at + 2, False
                continue
            end = data.find(b"\r\n", at, at + MAX_LINE)
            if end < 0:
                if size - at >= MAX_LINE:
                    raise BrokenAnswer("a line of the answer is too long")
                self._held = data[at:]
                break
            if self._is_last:
                self._trailer += end - at
                if self._trailer > MAX_LINE:
                    raise BrokenAnswer("the lines behind the answer are too long")
                self.ended = end == at
                at = end + 2
                if self.ended:
                    self.rest = data[at:]
                    break
                continue
            self._left = _chunk_size(data[at:end])
            self._is_last = not self._left
            at = end + 2
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def hang_up(self) -> None:
        if not self.ended:
            raise BrokenAnswer("the connection was closed before the end of the answer")


class Packed:
    """A body in gzip or zlib format. What can be unpacked is handed on at once."""

    def __init__(self, body: Body) -> None:
        import zlib

        self.ended = False
        self.rest = b""
        self._body = body
        self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # it says itself which of the two
        self._error = zlib.error

    def feed(self, data: bytes) -> bytes:
        try:
            piece = self._unpacker.decompress(self._body.feed(data))
        except self._error:
            raise BrokenAnswer("the body is not encoded as it says") from None
        self._note_end()
        return piece

    def hang_up(self) -> None:
        self._body.hang_up()
        self._note_end()

    def _note_end(self) -> None:
        self.ended, self.rest = self._body.ended, self._body.rest
        if self.ended and not self._unpacker.eof:
            raise BrokenAnswer("the body is not encoded as it says: its end is missing")


@lru_cache(maxsize=512)
def _chunk_size(line: bytes) -> int:
    found = _chunk(line)
    if found is None:
        raise BrokenAnswer("the size of a chunk of the answer cannot be read")
    return int(found[1], 16)


def head_of(method: str, target: str, own: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """The head of a request. own: lines of ours, each with its end. ValueError where `headers` has no header's text."""
    lines = [f"{method} {target} HTTP/1.1\r\n{own}"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}\r\n")
    given = "".join(lines[1:])
    if given.count("\n") != len(lines) - 1 or given.count("\r") != len(lines) - 1 or "\0" in given:
        raise ValueError("a header has a line end in its value")
    lines.append("\r\n")
    return "".join(lines).encode()
