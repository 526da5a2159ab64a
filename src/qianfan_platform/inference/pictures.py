"""Images that callers send: what they are is read from their header, and no pixel is decoded here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final

from .members import refuse

MAX_BYTES: Final = 4 * 1024 * 1024
SIDES: Final = (15, 4096)  # pixels
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_KINDS: Final = "png, jpg and bmp"


def data_url(value: Any, name: str) -> str:
    """An image as a `data:` URL for an engine. value: base64, with or without the head of a `data:` URL.

    Raises Fault when it is no whole PNG, JPEG or BMP file, is larger than MAX_BYTES, or its sides are not
    within SIDES. name: of the member, for the error."""
    if not isinstance(value, str) or not value:
        refuse(f"{name} must be an image in base64")
    if value.startswith(("http://", "https://")):
        refuse(f"{name} is an address; this platform fetches no images", "send the image itself in base64")
    if value.startswith("data:"):
        value = value.partition(",")[2]
    if len(value) > MAX_BYTES * 4 // 3 + 4:
        refuse(f"{name} is larger than {MAX_BYTES} bytes", "send a smaller image")
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        refuse(f"{name} is not base64", "send the file's bytes in base64, without line breaks")
    kind, width, height = measured(raw, name)
    low, high = SIDES
    if not (low <= width <= high and low <= height <= high):
        refuse(f"{name} is {width} by {height} pixels; its sides must be from {low} to {high}")
    return f"data:image/{kind};base64,{value}"


def measured(raw: bytes, name: str) -> tuple[str, int, int]:
    """Kind, width and height in pixels, as the header says. Raises Fault for anything but one whole image."""
    reader = next((one for one in _READERS if raw.startswith(one[1])), None)
    if reader is None:
        refuse(f"{name} is of a kind that is not taken", f"send {_KINDS} files")
    kind, _, whole, size = reader
    found = size(raw)
    if found is None or not whole(raw):
        refuse(f"{name} begins as {kind}, but is not one whole image", f"send {_KINDS} files")
    return kind, *found


def _png(raw: bytes) -> tuple[int, int] | None:
    if len(raw) < 24 or raw[12:16] != b"IHDR":
        return None
    return int.from_bytes(raw[16:20], "big"), int.from_bytes(raw[20:24], "big")


def _jpeg(raw: bytes) -> tuple[int, int] | None:
    """The size is in the first frame's head, some segments after the beginning."""
    place = 2
    while place + 9 <= len(raw):
        if raw[place] != 0xFF:
            return None
        marker = raw[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _START_OF_FRAME:
            height = int.from_bytes(raw[place + 5 : place + 7], "big")
            return int.from_bytes(raw[place + 7 : place + 9], "big"), height
        length = int.from_bytes(raw[place + 2 : place + 4], "big")
        if length < 2:
            return None
        place += 2 + length
    return None


def _bmp(raw: bytes) -> tuple[int, int] | None:
    if len(raw) < 26:
        return None
    height = int.from_bytes(raw[22:26], "little", signed=True)  # below 0: from the top
    return int.from_bytes(raw[18:22], "little", signed=True), abs(height)


# kind, how it begins, whether it ends where the file does (something else may hide behind it), its size
_READERS: Final[
    tuple[tuple[str, bytes, Callable[[bytes], bool], Callable[[bytes], tuple[int, int] | None]], ...]
] = (
    ("png", b"\x89PNG\r\n\x1a\n", lambda raw: raw.endswith(b"IEND\xaeB\x60\x82"), _png),
    ("jpeg", b"\xff\xd8\xff", lambda raw: raw.rstrip(b"\0").endswith(b"\xff\xd9"), _jpeg),
    ("bmp", b"BM", lambda raw: int.from_bytes(raw[2:6], "little") == len(raw), _bmp),
)
