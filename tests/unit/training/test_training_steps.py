"""What the durable work of a run does when it is stopped early, or when the disk is full."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import Any

import pytest

from qianfan.contract.errors import BAD_DATASET, Fault
from qianfan_platform.jobs import Cancelled
from qianfan_platform.training import steps

pytestmark = pytest.mark.anyio


def asked_to_stop() -> Any:
    return SimpleNamespace(cancelled=asyncio.Event())


async def test_a_stop_ends_a_download_at_once_and_lets_it_tidy_up() -> None:
    """Whoever waits for the place of a stopped run need not wait for the weights that it wanted."""
    step, tidied = asked_to_stop(), []

    async def download() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            tidied.append("part")

    asyncio.get_running_loop().call_later(0.01, step.cancelled.set)
    with pytest.raises(Cancelled):
        await steps._unless_stopped(step, download())
    assert tidied == ["part"]


async def test_what_is_not_stopped_returns_or_raises_as_it_is() -> None:
    """The watch over a stop changes nothing else."""

    async def fails() -> None:
        raise ValueError("no such weights")

    async def works() -> int:
        return 7

    assert await steps._unless_stopped(asked_to_stop(), works()) == 7
    with pytest.raises(ValueError, match="no such weights"):
        await steps._unless_stopped(asked_to_stop(), fails())


def test_a_full_disk_of_the_server_is_told_in_words_without_its_paths() -> None:
    """What to do, and that nothing is lost; other errors keep their own words."""
    told = steps._why(OSError(errno.ENOSPC, "No space left on device", "/srv/data/files/x"))
    assert told.startswith("the server's disk is full (No space left on device): free some space")
    assert "/srv" not in told
    assert (
        steps._why(Fault(BAD_DATASET, "dataset 7 is empty", "add records"))
        == "dataset 7 is empty. add records"
    )
    assert steps._why(RuntimeError()) == "RuntimeError"
