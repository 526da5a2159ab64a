"""TensorBoard's event files, written without TensorBoard: records of a small protobuf message.

The format is TFRecord: length, its checksum, the message, its checksum. The field numbers are those of
tensorflow/core/util/event.proto and framework/summary.proto."""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from qianfan_platform.trainers.protocol import Event
from qianfan_platform.trainers.sinks.protocol import figures

log = logging.getLogger("qianfan_platform.trainers")

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
START = 1  # a SessionLog status: what an earlier file says of later steps no longer holds


class Curves:
    """The curves of a run in `folder`; a run that goes on adds a file. A disk that is full ends the curves,
    not the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file: IO[bytes] | None = None
        self.broken = False

    def take(self, event: Event) -> None:
        """Write what the event says, if it has figures. Never raises OSError."""
        if self.broken:
            return
        try:
            if event["kind"] == "plan":
                self.write(session_start(event["resumed_step"] + 1))
            elif found := figures(event):
                self.write(scalars(event["step"], found))
        except OSError as error:
            self.broken = True
            log.warning("no TensorBoard files for %s: %s", self.folder.name, error.strerror)

    def write(self, message: bytes) -> None:
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{self.moment():020d}.qianfan.{os.getpid()}"
            self.file = (self.folder / name).open("wb", buffering=0)
            self.file.write(record(field(3, b"brain.Event:2") + field(1, time.time())))
        self.file.write(record(message))

    def moment(self) -> int:
        """Microseconds, after those of the files that are there: they are read in this order, and clocks are set."""
        before = [file.name.split(".")[3] for file in self.folder.glob("events.out.tfevents.*")]
        return max([time.time_ns() // 1000, *(int(one) + 1 for one in before if one.isdigit())])

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def scalars(step: int, values: Mapping[str, float]) -> bytes:
    """An Event whose Summary has a simple value for each name."""
    summary = b"".join(
        field(1, field(1, name.encode()) + field(2, value, 32)) for name, value in values.items()
    )
    return field(1, time.time()) + field(2, step) + field(5, summary)


def session_start(step: int) -> bytes:
    """An Event that says: from `step` on this file holds."""
    return field(1, time.time()) + field(2, step) + field(7, field(1, START))


def field(number: int, value: float | int | bytes, bits: int = 64) -> bytes:
    """One field of a message: int as varint, float in 64 or 32 bits, bytes as they are."""
    if isinstance(value, bytes):
        return varint(number << 3 | BYTES) + varint(len(value)) + value
    if isinstance(value, float):
        kind, layout = (FIXED64, "<d") if bits == 64 else (FIXED32, "<f")
        return varint(number << 3 | kind) + struct.pack(layout, value)
    return varint(number << 3 | VARINT) + varint(value)


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def record(message: bytes) -> bytes:
    """A message with its length and both checksums."""
    head = struct.pack("<Q", len(message))
    return head + struct.pack("<I", masked(head)) + message + struct.pack("<I", masked(message))


def masked(data: bytes) -> int:
    """CRC-32C, turned as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def castagnoli(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [castagnoli(byte) for byte in range(256)]
