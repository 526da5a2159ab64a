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
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.jobs import JobState
from qianfan_platform.store import Tx, utc_now

from .tables import TrainLine, TrainRun, TrainTask
from .waiting import waiting


async def task(tx: Tx, owner: int, ident: Id, *, lock: bool = False) -> TrainTask:
    """The container, by either id; the id of a run names its container. lock: see Tx.one."""
    if isinstance(ident, str) and ident.startswith(f"{TrainRun.PREFIX}-"):
        ident = (await _run(tx, owner, ident)).task_id
    return await tx.one(
        TrainTask, ident, owner=owner, missing=errors.TASK_NOT_FOUND, noun="training task", lock=lock
    )


async def run_of(tx: Tx, owner: int, *idents: Id | None) -> TrainRun:
    """The run that the ids of a container and a run name.

    Clients of some generations swap the two: a `task-` id in any position is the run's; otherwise the last
    id given is. Beside a `task-` id, the number of the same run is taken as well.
    Raises Fault(RUN_NOT_FOUND), also for a run of another container than the one named."""
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
        own = (str(run.id), run.public_id) if named else ()
        if str(other) not in (str(container.id), container.public_id, *own):
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
    if run.job_id is not None and await jobs.cancel(tx, run.job_id) == JobState.Cancelled:
        await tell(tx, run, ("info", "stopped by the user before it began"))
    return run


async def tell(tx: Tx, run: TrainRun, *lines: tuple[str, str]) -> None:
    """Add (level, text) to the log of a run that nobody works on: else its Report counts the lines."""
    n = await tx.count(TrainLine, TrainLine.run_id == run.id)
    for number, (level, text) in enumerate(lines, n + 1):
        event = {"kind": "log", "level": level, "text": text}
        await tx.add(TrainLine(run_id=run.id, n=number, at=utc_now(), event=event))


@dataclass(frozen=True)
class Look:
    """A run with what surrounds it, as the detail routes show it. start: the run that it trains further.

    waiting: {why, position, seconds} while it waits in the queue. datasets: public ids by number, without those
    that were deleted."""

    run: TrainRun
    task: TrainTask
    waiting: dict[str, Any] | None
    start: TrainRun | None
    datasets: dict[int, str]


async def look(tx: Tx, owner: int, *idents: Id | None) -> Look:
    """Everything the detail routes show of a run."""
    run = await run_of(tx, owner, *idents)
    container = await tx.one(TrainTask, run.task_id, owner=owner, noun="training task")
    start = await tx.maybe(TrainRun, TrainRun.id == run.starts_from) if run.starts_from else None
    datasets = await tx.find(Dataset, Dataset.id.in_(run.trainset))
    names = {dataset.id: dataset.public_id for dataset in datasets}
    return Look(run, container, await waiting(tx, run), start, names)


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
    marker: Id | None,
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
