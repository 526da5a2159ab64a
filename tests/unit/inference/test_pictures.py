"""Images are known by their heads; no pixel is decoded."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.inference import pictures


def png(width: int, height: int, *, behind: bytes = b"") -> bytes:
    """A PNG file; its pixels are right only where it is small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" * (width + 1) for _ in range(min(height, 64))))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"") + behind


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">HBHHB", 8 + 3, 8, height, width, 1) + b"\x01\x11\x00"
    return (
        b"\xff\xd8\xff\xe0"
        + struct.pack(">H", 16)
        + b"JFIF\0"
        + b"\0" * 9
        + b"\xff\xc0"
        + frame
        + b"\xff\xd9"
    )


def bmp(width: int, height: int) -> bytes:
    size = 54 + 3
    head = (
        b"BM"
        + struct.pack("<IHHI", size, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 3, 0, 0, 0, 0)
    )
    return head + b"\0\0\0"


def asked(raw: bytes) -> str:
    return pictures.data_url(base64.b64encode(raw).decode(), "image")


@pytest.mark.parametrize(
    ("raw", "kind"), [(png(20, 30), "png"), (jpeg(640, 480), "jpeg"), (bmp(32, -32), "bmp")]
)
def test_the_documented_kinds_are_taken(raw: bytes, kind: str) -> None:
    """With or without the head of a data URL, which is written anew in any case."""
    assert asked(raw).startswith(f"data:image/{kind};base64,")
    told = "data:text/html;base64," + base64.b64encode(raw).decode()
    assert pictures.data_url(told, "image") == asked(raw)


def test_sizes_are_read() -> None:
    """Width before height, whatever the order in the file."""
    assert pictures.measured(png(20, 30), "x")[1:] == (20, 30)
    assert pictures.measured(jpeg(640, 480), "x")[1:] == (640, 480)
    assert pictures.measured(bmp(32, -31), "x")[1:] == (32, 31)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (png(65_535, 65_535), "65535 by 65535"),
        (jpeg(65_535, 65_535), "65535 by 65535"),
        (png(4, 4), "4 by 4"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "of a kind"),
        (b"GIF89a" + b"\0" * 20, "of a kind"),
        (png(20, 20, behind=b"PK\x03\x04 an archive"), "one whole image"),
        (jpeg(20, 20) + b"<script>", "one whole image"),
        (png(20, 20)[:20], "one whole image"),
        (b"\xff\xd8\xff" + b"\xe0\0\0" * 5 + b"\xff\xd9", "one whole image"),
        (b"", "base64"),
    ],
)
def test_bombs_polyglots_and_strangers_are_refused(raw: bytes, says: str) -> None:
    """What claims to be huge, hides something behind its end, or is no image at all."""
    with pytest.raises(Fault, match=says):
        asked(raw)


@pytest.mark.parametrize("value", [None, 7, "not base64!", "https://example.com/cat.png", "A" * 8_000_000])
def test_what_is_no_image_in_base64_is_refused(value: object) -> None:
    """Addresses too: the platform fetches nothing for a caller here."""
    with pytest.raises(Fault, match="image"):
        pictures.data_url(value, "image")
