"""A platform to talk to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "dataset"))

from stub_platform import StubPlatform, pointed_to


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubPlatform]:
    """A stub platform on the loopback; the SDK's settings are restored afterwards."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with StubPlatform() as running, pointed_to(running.url):
        yield running
