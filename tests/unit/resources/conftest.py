"""The loopback server of the transport tests, for the resources too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qianfan.config import SETTINGS, get_config

sys.path.insert(0, str(Path(__file__).parents[1] / "transport"))

from loopback import Loopback


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server of this test alone."""
    with Loopback() as server:
        yield server


@pytest.fixture
def settings(server: Loopback) -> Iterator[object]:
    """The settings of the process, pointing to `server`, with keys, put back afterwards."""
    config = get_config()
    before = {name: getattr(config, name) for name in SETTINGS}
    for name, (_, default) in SETTINGS.items():
        setattr(config, name, default)
    config.BASE_URL = config.CONSOLE_API_BASE_URL = config.IAM_BASE_URL = server.url
    config.AK, config.SK = f"ak-{server.port}", "sk/+"
    config.ACCESS_KEY, config.SECRET_KEY = "access-key-1", "secret-key-1"
    yield config
    for name, value in before.items():
        setattr(config, name, value)
