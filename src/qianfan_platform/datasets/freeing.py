"""Files that a dataset has no use for any more. They go when nothing can be reading them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import ColumnElement, Text, cast, or_

from qianfan_platform import jobs
from qianfan_platform.jobs import Job, JobState, Retry, Step, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .index import indexes_of
from .tables import Dataset

KIND: Final = "datasets.free"
LOOK_S: Final = 30.0
Keeps = Callable[[Tx, str], Awaitable[bool]]
KEEPERS: Final[list[Keeps]] = []
"""Rooms that hold on to the content of a dataset say so here: whether they need the file with this id."""


async def free(tx: Tx, owner: int, *file_ids: str | None) -> None:
    """Remove these files once nobody reads them; call it in the transaction that takes the last word of them away.

    Whoever reads a content for long is a job. So they stay until every job of the owner that there is now has
    ended; later ones see what has taken their place."""
    for file_id in file_ids:
        if file_id is not None:
            await jobs.enqueue(tx, KIND, owner=owner, args={"file_id": file_id})


@job(KIND, max_attempts=5)
async def remove(step: Step, *, file_id: str) -> None:
    """Wait for the jobs before this one, then remove the file unless a row still names it."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        unfinished = Job.state.in_((JobState.Waiting, JobState.Running))
        if await tx.count(Job, unfinished, Job.id < step.job_id, Job.kind != KIND, owner=step.owner):
            raise Retry(LOOK_S, "jobs that may read the file have not ended")
        needed = await tx.count(Dataset, _names(file_id)) > 0
        for keeps in KEEPERS:
            needed = needed or await keeps(tx, file_id)
    if not needed:
        await platform.files.delete(file_id)
        indexes_of(platform).forget(file_id)
    async with step.transaction(last=True):
        pass


def _names(file_id: str) -> ColumnElement[bool]:
    """Rows that name the file, as their content or as the pack of their pictures."""
    return or_(Dataset.file_id == file_id, cast(Dataset.batches, Text).like(f"%{file_id}%"))
