"""A loopback server, and settings that point to it."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
from loopback import Loopback

from qianfan.config import SETTINGS, get_config

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one stalls for a moment
hypothesis.settings.load_profile("any machine")


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server of this test alone."""
    with Loopback() as server:
        yield server


@pytest.fixture
def settings(server: Loopback) -> Iterator[object]:
    """The settings of the process, pointing to `server`, put back afterwards."""
    config = get_config()
    before = {name: getattr(config, name) for name in SETTINGS}
    for name, (_, default) in SETTINGS.items():
        setattr(config, name, default)
    config.BASE_URL = config.CONSOLE_API_BASE_URL = config.IAM_BASE_URL = server.url
    yield config
    for name, value in before.items():
        setattr(config, name, value)
