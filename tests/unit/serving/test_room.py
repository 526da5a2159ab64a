"""How many engines fit: by processors, and by memory."""

from __future__ import annotations

import os

import psutil
import pytest

from qianfan_platform.engines.llamacpp.engine import cores
from qianfan_platform.serving import room
from qianfan_platform.serving.room import room_for


def test_there_are_no_more_engines_than_processors() -> None:
    """One is always possible; what is missing is told."""
    assert room_for(1, 0, 0) == (1, "")
    most, why = room_for(64, 0, 0)
    assert most == min(64, cores())
    assert (why == "") == (most == 64)
    assert not why or f"64 replicas are asked for and {most} run" in why


def test_memory_bounds_what_is_started_and_takes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured by an engine that runs; here this process stands for one."""
    monkeypatch.setattr(room, "cores", lambda: 8)
    monkeypatch.setattr(room, "SPARE_MIB", psutil.virtual_memory().available / 2**20)
    most, why = room_for(4, 1, os.getpid())
    assert most == 1
    assert "MiB can be given" in why
    assert room_for(4, 4, os.getpid()) == (4, "")
