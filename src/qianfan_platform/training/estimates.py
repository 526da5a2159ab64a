"""Estimates of time and memory: told before step 1, kept beside what happened, mended by what happened before.

The trainer measures one batch and multiplies. What it always misses on this machine, a slow disk or a busy
neighbour, shows in earlier runs of the same model and method: the median of happened ÷ estimated corrects it.
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


async def corrected(tx: Tx, run: TrainRun, measured: dict[str, Any]) -> dict[str, Any]:
    """What is told: {seconds, memory_mib, measured, factor, of_runs}. measured: the trainer's own figures."""
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
    time = factor([(m["seconds"], h["seconds"]) for m, h in pairs if m["seconds"] >= LEAST_S])
    memory = factor([(m["memory_mib"], h["memory_mib"]) for m, h in pairs])
    return {
        "seconds": round(measured["seconds"] * time, 1),
        "memory_mib": round(measured["memory_mib"] * memory),
        "measured": {"seconds": measured["seconds"], "memory_mib": measured["memory_mib"]},
        "factor": round(time, 3),
        "of_runs": len(pairs),
    }


def factor(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of happened ÷ estimated over (estimated, happened); 1 when nothing is known."""
    found = [happened / estimated for estimated, happened in pairs if estimated and happened]
    low, high = BOUNDS
    return min(high, max(low, median(found))) if found else 1.0
