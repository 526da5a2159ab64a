"""Messages between an engine and its child: four bytes of length, big endian, and that many bytes."""

from __future__ import annotations

from typing import IO


def read(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    body = stream.read(size)
    return body if len(body) == size else None


def write(stream: IO[bytes], *bodies: bytes) -> None:
    """Frames, sent at once."""
    stream.write(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))
    stream.flush()
