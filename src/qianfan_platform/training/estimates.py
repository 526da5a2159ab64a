"""Estimates of time and memory: told before step 1, kept beside what happened, mended by what happened before.

The trainer measures one batch and multiplies. What it always misses on this machine, a slow disk or a busy
neighbour, shows in earlier runs of the same model and method: the median of happened ÷ estimated corrects it, and
how far they lie apart says how much to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Final

from qianfan_platform.store import Tx

from .tables import TrainRun

LAST: Final = 20  # runs that are looked at
LEAST_S: Final = 1.0  # shorter runs say nothing of longer ones
BOUNDS: Final = (0.25, 4.0)  # of a factor: beyond it, something else was wrong
ENOUGH: Final = 3  # runs, to say between which figures the next one will lie


async def corrected(tx: Tx, run: TrainRun, measured: dict[str, Any]) -> dict[str, Any]:
    """What is told: {seconds, memory_mib, seconds_range, memory_range, measured, factor, of_runs}.

    measured: the trainer's own figures. The ranges [least, most] are those of the earlier runs, applied to these
    figures; None while fewer than three are known. of_runs: earlier runs that the figures are made of."""
    pairs = [
        (row.estimate["measured"], row.happened)
        for row in await tx.find(
            TrainRun,
            TrainRun.entry == run.entry,
            TrainRun.peft_type == run.peft_type,
            TrainRun.train_mode == run.train_mode,
            TrainRun.happened.is_not(None),
            TrainRun.estimate.is_not(None),
            order_by=TrainRun.id.desc(),
            limit=LAST,
        )
    ]
    times = factors([(m["seconds"], h["seconds"]) for m, h in pairs if m["seconds"] >= LEAST_S])
    sizes = factors([(m["memory_mib"], h["memory_mib"]) for m, h in pairs])
    time = median(times) if times else 1.0
    return {
        "seconds": round(measured["seconds"] * time, 1),
        "memory_mib": round(measured["memory_mib"] * (median(sizes) if sizes else 1.0)),
        "seconds_range": spread(measured["seconds"], times, 1),
        "memory_range": spread(measured["memory_mib"], sizes, None),
        "measured": {"seconds": measured["seconds"], "memory_mib": measured["memory_mib"]},
        "factor": round(time, 3),
        "of_runs": len(pairs),
    }


def factors(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """happened ÷ estimated of each (estimated, happened), within bounds; none of those that say nothing."""
    low, high = BOUNDS
    return [min(high, max(low, after / before)) for before, after in pairs if before and after]


def spread(measured: float, found: Sequence[float], digits: int | None) -> list[float] | None:
    """[least, most] of `measured` by these factors; None when they are too few."""
    if len(found) < ENOUGH:
        return None
    return [round(measured * one, digits) for one in (min(found), max(found))]
