"""Why a run has not begun, its place in the queue, and about when it can begin."""

from __future__ import annotations

import heapq
from statistics import median
from typing import Any, Final

from qianfan.contract.enums import TrainStatus
from qianfan_platform import jobs
from qianfan_platform.store import Tx

from .tables import TrainRun

LAST: Final = 20  # earlier runs that a forecast is made of


async def waiting(tx: Tx, run: TrainRun) -> dict[str, Any] | None:
    """{why, position, seconds} of a run in the queue; None when it waits no more.

    seconds: until it can begin, by what the runs before it tell of themselves, and by how long earlier runs
    like them took; None while nobody can know."""
    if run.phase != "waiting" or run.job_id is None or run.status != TrainStatus.Running:
        return None
    place = await jobs.waiting(tx, run.job_id)
    return None if place is None else {**place, "seconds": await _until_free(tx, run)}


async def _until_free(tx: Tx, run: TrainRun) -> float | None:
    going = TrainRun.status == TrainStatus.Running.value
    working = await tx.find(TrainRun, going, TrainRun.phase != "waiting")
    before = await tx.find(
        TrainRun, going, TrainRun.phase == "waiting", TrainRun.job_id < run.job_id, order_by=TrainRun.job_id
    )
    if not working:
        return None
    free = [await _left(tx, one) for one in working]
    lasts = [await forecast(tx, one) for one in before]
    known, needed = [s for s in free if s is not None], [s for s in lasts if s is not None]
    if len(known) < len(free) or len(needed) < len(lasts):
        return None
    heapq.heapify(known)  # each of those before takes the place that is free first
    for seconds in needed:
        heapq.heapreplace(known, known[0] + seconds)
    return round(known[0], 1)


async def _left(tx: Tx, run: TrainRun) -> float | None:
    """Seconds that a run at work still needs: by its steps, else by its estimate, else by earlier runs."""
    left = run.live.get("step", {}).get("seconds_left")
    if left is not None:
        return float(left)
    if run.estimate:
        return float(run.estimate["seconds"])
    return await forecast(tx, run)


async def forecast(tx: Tx, run: TrainRun) -> float | None:
    """Seconds that a run will take, by what the last ones of the same model, mode and method took for a sample
    and beside their steps; None when there is none, or nobody knows yet how much it is to read."""
    samples = _samples(run)
    if samples is None:
        return None
    earlier = await tx.find(
        TrainRun,
        TrainRun.entry == run.entry,
        TrainRun.peft_type == run.peft_type,
        TrainRun.train_mode == run.train_mode,
        TrainRun.happened.is_not(None),
        order_by=TrainRun.id.desc(),
        limit=LAST,
    )
    each, beside = list[float](), list[float]()
    for one in earlier:
        read, seconds = _samples(one), one.happened["seconds"]
        if read and seconds and one.started_at and one.finished_at:
            each.append(seconds / read)
            beside.append(max(0.0, (one.finished_at - one.started_at).total_seconds() - seconds))
    return median(each) * samples + median(beside) if each else None


def _samples(run: TrainRun) -> float | None:
    """How many samples a run reads in all its epochs."""
    if not run.parts:
        return None
    return float(run.parts[-1]["last"] * (1 - run.trainset_rate / 100) * run.hyper.get("epochs", 1))
