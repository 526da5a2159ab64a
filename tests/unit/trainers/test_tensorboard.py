from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest

from qianfan_platform.trainers.sinks.tensorboard import Curves, masked, record, scalars, varint

EVENT = {"kind": "step", "step": 300, "loss": 2.5}


def messages(file: Path) -> list[bytes]:
    """The records of an event file, each with both of its checksums looked at."""
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        message = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == masked(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked(message)
        found.append(message)
        data = data[16 + length :]
    return found


def test_the_checksum_is_the_one_of_tfrecord() -> None:
    """CRC-32C of "123456789" is e3069283, turned by 15 bits and moved by a constant."""
    crc = 0xE3069283
    assert masked(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert varint(300) == b"\xac\x02"


def test_a_record_is_what_tensorboard_wrote() -> None:
    """Bytes of the event {wall_time: 0, step: 300, summary: {train/loss: 2.5}} as protobuf lays them out."""
    summary = b"\x0a\x0a" + b"train/loss" + b"\x15" + struct.pack("<f", 2.5)
    value = b"\x0a" + bytes([len(summary)]) + summary
    rest = b"\x10\xac\x02" + b"\x2a" + bytes([len(value)]) + value
    message = scalars(300, {"train/loss": 2.5})
    assert message[0:1] == b"\x09"  # field 1, a double: the time
    assert message[9:] == rest
    assert len(record(message)) == len(message) + 16


def test_a_run_that_goes_on_adds_a_file_that_says_from_where(tmp_path: Path) -> None:
    """Each process writes a file of its own; TensorBoard forgets what an earlier one said of later steps.

    It reads them by name, so a clock that was set back must not turn them round."""
    for resumed in (0, 299):
        curves = Curves(tmp_path / "curves")
        curves.take({"kind": "plan", "resumed_step": resumed})
        curves.take({"kind": "log", "text": "no figures"})
        curves.take(EVENT)
        curves.close()
        if resumed == 0:
            (first,) = (tmp_path / "curves").iterdir()
            first.rename(
                first.with_name(f"events.out.tfevents.{9 * 10**15:020d}.qianfan.1")
            )  # in the year 2255
    files = sorted((tmp_path / "curves").iterdir())
    assert len(files) == 2
    for file in files:
        version, start, step = messages(file)
        assert b"brain.Event:2" in version
        assert start.endswith(b"\x3a\x02\x08\x01")  # session_log { status: START }
        assert b"train/loss" in step
    assert b"\x10\xac\x02" in messages(files[1])[1]  # from step 300 on


def test_a_disk_that_is_full_ends_the_curves_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first failure is logged; nothing is raised, and nothing is tried again."""
    (tmp_path / "in the way").write_text("")
    curves = Curves(tmp_path / "in the way" / "run")
    with caplog.at_level(logging.WARNING):
        curves.take(EVENT)
        curves.take(EVENT)
    assert len(caplog.records) == 1
    curves.close()
