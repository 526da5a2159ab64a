"""What can be done with containers and runs that are there: find them by any id, look, stop, page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import TRAIN_RUN
from qianfan_platform import jobs
from qianfan_platform.store import Tx, utc_now

from .tables import TrainLine, TrainRun, TrainTask


async def task(tx: Tx, owner: int, ident: Id) -> TrainTask:
    """The container, by either id; the id of a run names its container."""
    if isinstance(ident, str) and ident.startswith(f"{TrainRun.PREFIX}-"):
        ident = (await _run(tx, owner, ident)).task_id
    return await tx.one(TrainTask, ident, owner=owner, missing=errors.TASK_NOT_FOUND, noun="training task")


async def run_of(tx: Tx, owner: int, *idents: Id | None) -> TrainRun:
    """The run that the ids of a container and a run name.

    Clients of some generations swap the two: a `task-` id in any position is the run's; otherwise the last
    id given is. Raises Fault(RUN_NOT_FOUND), also for a run of another container than the one named."""
    given = [ident for ident in idents if ident is not None]
    if not given:
        raise Fault(errors.RUN_NOT_FOUND, "no id of a run was given", "send jobId")
    named = [one for one in given if isinstance(one, str) and one.startswith(f"{TrainRun.PREFIX}-")]
    run = await _run(tx, owner, named[0] if named else given[-1])
    others = [one for one in given if one not in named] if named else given[:-1]
    for other in others:
        container = await tx.one(
            TrainTask, run.task_id, owner=owner, missing=errors.TASK_NOT_FOUND, noun="training task"
        )
        if str(other) not in (str(container.id), container.public_id):
            raise Fault(
                errors.RUN_NOT_FOUND,
                f"training run {run.id} does not exist in task {str(other)[:60]}",
                f"it is a run of task {container.id} ({container.public_id})",
            )
    return run


async def _run(tx: Tx, owner: int, ident: Id) -> TrainRun:
    return await tx.one(TrainRun, ident, owner=owner, missing=errors.RUN_NOT_FOUND, noun="training run")


async def base_run(tx: Tx, owner: int, ident: Id) -> TrainRun:
    """The run that another is to start from. Raises Fault(NO_INCREMENT)."""
    return await tx.one(TrainRun, ident, owner=owner, missing=errors.NO_INCREMENT, noun="training run")


async def stop(tx: Tx, owner: int, *idents: Id | None) -> TrainRun:
    """Stop a run for good: its trainer ends within seconds, its last checkpoint stays."""
    run = await run_of(tx, owner, *idents)
    if TRAIN_RUN.is_final(TrainStatus(run.status)):
        raise Fault(
            errors.RUN_STATE,
            f"training run {run.id} has already ended as {run.status}",
            "nothing is left to stop",
        )
    await tx.move(
        run, TRAIN_RUN, TrainStatus.Stop, reason="stopped by the user", phase="done", finished_at=utc_now()
    )
    if run.job_id is not None:
        await jobs.cancel(tx, run.job_id)
    return run


@dataclass(frozen=True)
class Look:
    """A run with what surrounds it, as the detail routes show it. start: the run that it trains further.

    waiting: {why, position, seconds} while it waits in the queue."""

    run: TrainRun
    task: TrainTask
    waiting: dict[str, Any] | None
    start: TrainRun | None = None


async def look(tx: Tx, owner: int, *idents: Id | None) -> Look:
    """Everything the detail routes show of a run."""
    run = await run_of(tx, owner, *idents)
    container = await tx.one(TrainTask, run.task_id, owner=owner, noun="training task")
    waiting = None
    if run.phase == "waiting" and run.job_id is not None and run.status == TrainStatus.Running:
        place = await jobs.waiting(tx, run.job_id)
        waiting = {**place, "seconds": await _until_free(tx, place["position"])} if place else None
    start = await tx.maybe(TrainRun, TrainRun.id == run.starts_from) if run.starts_from else None
    return Look(run, container, waiting, start)


async def _until_free(tx: Tx, position: int) -> float | None:
    """Seconds until a waiting run can begin, by what the runs before it tell; None while they cannot know."""
    working = await tx.find(
        TrainRun, TrainRun.status == TrainStatus.Running.value, TrainRun.phase != "waiting", limit=10
    )
    left = [run.live.get("step", {}).get("seconds_left") for run in working]
    known = [seconds for seconds in left if seconds is not None]
    return round(min(known), 1) if position == 1 and known and len(known) == len(left) else None


async def report(tx: Tx, owner: int, ident: Id, after: int, limit: int = 2000) -> list[TrainLine]:
    """Lines of a run's report with n > after, oldest first, at most `limit`."""
    run = await _run(tx, owner, ident)
    return await tx.find(
        TrainLine, TrainLine.run_id == run.id, TrainLine.n > after, order_by=TrainLine.n, limit=limit
    )


async def finished(tx: Tx, run_id: int) -> TrainRun:
    """The run, for rooms to the right: they decide by its status."""
    return await tx.one(TrainRun, run_id, noun="training run")


async def page(
    tx: Tx,
    owner: int,
    table: Any,
    marker: str | None,
    size: int,
    oldest_first: bool,
    **equal: Any,
) -> tuple[list[Any], str | None]:
    """One page of containers or runs, newest first, and the marker of the next page.

    A marker is the id of the first item of its page. equal: columns and what they must be; None is no wish."""
    where = [getattr(table, name) == value for name, value in equal.items() if value is not None]
    if marker:
        first = await tx.one(table, marker, owner=owner, noun="marker")
        where.append(table.id >= first.id if oldest_first else table.id <= first.id)
    order = table.id if oldest_first else table.id.desc()
    rows = await tx.find(table, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None
