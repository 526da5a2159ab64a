"""The pauses between restarts: none at first, then longer, and over when an engine has lived for a while."""

from __future__ import annotations

from qianfan_platform.serving.restarts import BUDGET, PAUSES_S, STEADY_S, Restarts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_grow_with_deaths_in_a_row() -> None:
    """The first restart is at once; after the budget the engine counts as broken, and is tried on."""
    restarts = Restarts(Clock())
    pauses = []
    for death in range(12):
        assert restarts.used_up == (death >= BUDGET)
        restarts.died(1.0, "it fell")
        pauses.append(restarts.pause_s())
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == PAUSES_S[-1]
    assert restarts.why == "it fell"


def test_a_pause_passes() -> None:
    """Seconds left, never less than none."""
    clock = Clock()
    restarts = Restarts(clock)
    for _ in range(4):
        restarts.died(0, "")
    whole = restarts.pause_s()
    clock.now += whole / 2
    assert restarts.pause_s() == whole / 2
    clock.now += whole
    assert restarts.pause_s() == 0


def test_an_engine_that_lived_well_begins_a_new_count() -> None:
    """Its death is the first; so is any after `steady`."""
    restarts = Restarts(Clock())
    for _ in range(BUDGET):
        restarts.died(0, "")
    restarts.died(STEADY_S, "")
    assert (restarts.deaths, restarts.used_up) == (1, False)
    restarts.steady()
    assert restarts.deaths == 0
