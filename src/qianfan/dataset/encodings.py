"""Bytes of any common encoding as UTF-8, in a stream: UTF-8, UTF-16 and UTF-32 with their marks, GB18030 (GBK).

Nothing is guessed line by line. A file is what most of its first lines with other than ASCII characters are;
a line that does not fit is passed on as it is, so that the reader of the lines names it as not UTF-8.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Final

WINDOW: Final = 64 * 1024  # bytes from the first other character that are looked at
GB18030: Final = "GB18030"
UTF_8: Final = "UTF-8"
_MARKS: Final = (  # UTF-32 first: its mark begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_MARK: Final = 4  # bytes
_NOT_A_CHARACTER: Final = "qianfan.not-a-character"


def as_utf8(chunks: Iterable[bytes], told: Callable[[str], None] | None = None) -> Iterator[bytes]:
    """The same text as UTF-8 without a byte order mark; pieces may be split anywhere, also inside a character.

    told: hears once the name of the encoding when it is another than UTF-8. Holds a piece and 64 KiB.
    What is no text in the encoding found comes out as bytes that are not UTF-8, on the line where it stands."""
    pieces = iter(chunks)
    start = b""
    for piece in pieces:
        start += piece
        if len(start) >= _LONGEST_MARK:
            break
    for mark, name in _MARKS:
        if start.startswith(mark):
            if told is not None:
                told(name[:6].upper())
            yield from _from_units(start[len(mark) :], pieces, name)
            return
    yield from _from_bytes(start.removeprefix(codecs.BOM_UTF8), pieces, told)


def looks_like_gb18030(window: bytes, *, whole: bool) -> bool:
    """Whether more of these lines can be read as GB18030 alone than as UTF-8.

    whole: the window is the end of the file too. Text of Latin letters with accents is not taken for Chinese."""
    utf8 = gb = bad = 0
    *lines, last = window.split(b"\n")
    for line, final in [*((line, True) for line in lines), (last, whole)]:
        if line.isascii():
            continue
        if _decoded(line, UTF_8, final=final) is not None:
            utf8 += 1
        elif _is_chinese(_decoded(line, GB18030, final=final)):
            gb += 1
        else:
            bad += 1
    return gb > utf8 and gb >= 10 * bad


def _is_chinese(text: str | None) -> bool:
    """Most characters of Chinese text are among the 7,445 common ones; chance pairs of bytes seldom are."""
    if text is None:
        return False
    other = [mark for mark in text if not mark.isascii()]
    common = "".join(other).encode("gb2312", "ignore").decode("gb2312")
    return 2 * len(common) >= len(other)


def _decoded(line: bytes, encoding: str, *, final: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(line, final)
    except UnicodeDecodeError:
        return None


def _from_bytes(start: bytes, pieces: Iterator[bytes], told: Callable[[str], None] | None) -> Iterator[bytes]:
    """ASCII goes through until the first other character decides."""
    piece: bytes | None = start
    while piece is not None and piece.isascii():
        yield piece
        piece = next(pieces, None)
    if piece is None:
        return
    at = _first_other(piece)
    window = bytearray(piece)
    ended = False
    while len(window) - at < WINDOW and not ended:
        if (more := next(pieces, None)) is None:
            ended = True
        else:
            window += more
    if not looks_like_gb18030(bytes(window[at : at + WINDOW]), whole=ended and len(window) <= at + WINDOW):
        yield bytes(window)
        yield from pieces
        return
    if told is not None:
        told(GB18030)
    yield from _from_gb18030(bytes(window), pieces)


def _first_other(piece: bytes) -> int:
    try:
        piece.decode("ascii")
    except UnicodeDecodeError as other:
        return other.start
    return len(piece)


def _from_gb18030(start: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """No character has a line feed inside, so that whole lines can be taken by themselves."""
    waiting = start
    for piece in pieces:
        cut = waiting.rfind(b"\n") + 1
        if cut:
            yield _lines(waiting[:cut])
            waiting = waiting[cut:]
        elif len(waiting) > WINDOW:  # a long line: all but a character that may be cut
            decoder = codecs.getincrementaldecoder(GB18030)()
            try:
                yield decoder.decode(waiting).encode()
                waiting = decoder.getstate()[0]
            except UnicodeDecodeError:
                yield waiting
                waiting = b""
        waiting += piece
    yield _lines(waiting)


def _lines(block: bytes) -> bytes:
    try:
        return block.decode(GB18030).encode()
    except UnicodeDecodeError:
        return b"\n".join(_line(line) for line in block.split(b"\n"))


def _line(line: bytes) -> bytes:
    try:
        return line.decode(GB18030).encode()
    except UnicodeDecodeError:
        return line


def _from_units(start: bytes, pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """UTF-16 and UTF-32. What is no character there becomes what UTF-8 does not allow."""
    decoder = codecs.getincrementaldecoder(name)(_NOT_A_CHARACTER)
    block: bytes | None = start
    while block is not None:
        yield decoder.decode(block).encode("utf-8", "surrogatepass")
        block = next(pieces, None)
    yield decoder.decode(b"", True).encode("utf-8", "surrogatepass")


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_NOT_A_CHARACTER, _marked)
