"""Engines and the server killed at random under load: every request ends, nothing is left over, services are Done.

`make soak-serving` runs it for ten minutes and prints what happened; SECONDS=…, SOAK_CLIENTS and SOAK_SEED change it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from qianfan.resources import Service
from tests.soak.chaos import Chaos, Load, Place, within

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]
RAGE_S = float(os.environ.get("SOAK_SECONDS", "600"))
CLIENTS = int(os.environ.get("SOAK_CLIENTS", "16"))
SEED = int(os.environ.get("SOAK_SEED", "7"))


def test_whatever_is_killed_every_request_ends_and_nothing_is_left_over(tmp_path: Path) -> None:
    """Two adapters on one base with two engines, the base itself, and a server that is killed as well."""
    place = Place(tmp_path)
    place.start()
    try:
        first, second = place.teach(2), place.teach(3)
        place.deploy(first, "one", replicas=2)
        place.deploy(second, "two")
        before = place.files()
        load = Load([*(one["uri"] for one in place.services), "eb-instant"], CLIENTS)
        chaos = Chaos(place, SEED)
        began = time.monotonic()
        load.start()
        chaos.rage(RAGE_S)
        load.stop()
        seconds = time.monotonic() - began
        within(60, lambda: place.states() == ["Done", "Done"])
        within(60, lambda: all(_running(one["id"]) for one in place.services))
        print(
            f"\n{seconds:.0f} s, {CLIENTS} clients: {load.answers} answers, {sum(load.errors.values())} typed errors "
            f"{load.errors or ''}, {len(load.wrong)} wrong; the longest took {load.longest_s:.1f} s; "
            f"{dict(chaos.blows)}; {len(place.seen)} engines were started, {len(place.ghosts())} ghosts"
        )
        assert load.wrong == []
        assert load.answers > 0
        assert place.ghosts() == []
        assert place.files() == before
    finally:
        place.stop()
    assert place.left() == []


def _running(service: int) -> bool:
    engines = Service.get(service)["result"]["engines"]
    return bool(engines["state"] == "up" and engines["running"])
