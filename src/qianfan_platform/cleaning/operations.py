"""What can be done with cleaning tasks: create, look, list, delete."""

from __future__ import annotations

from collections.abc import Sequence

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.cleaning import CreateCleaning
from qianfan.contract.enums import DataTemplateType, ETLTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.lifecycle import CLEANING
from qianfan.dataset.operators import BadOperator, Pipeline
from qianfan_platform import jobs
from qianfan_platform.datasets import filling
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.store import Tx

from .tables import CleaningTask


async def create(tx: Tx, owner: int, spec: CreateCleaning) -> CleaningTask:
    """Clean the texts of one dataset into another, which is filled when all is done. Raises Fault."""
    try:
        works = Pipeline.of(spec["operationsV2"]).works
    except BadOperator as bad:
        raise Fault(errors.CONSOLE_PARAMETER, f"param[operationsV2] invalid: {bad}", bad.advice) from None
    if not works:
        raise Fault(errors.CONSOLE_PARAMETER, "param[operationsV2] invalid: it names no operator")
    wanted = (spec["sourceDatasetId"], spec["destDatasetId"])
    source, target = await filling.from_one_into_another(tx, owner, *wanted)
    _must_be_text(source)
    _must_be_text(target)
    row = await tx.add(
        CleaningTask(
            owner_id=owner,
            public_id=f"task-{random_word(16)}",
            name=spec.get("etlTaskName", ""),
            source_id=source.id,
            target_id=target.id,
            stages={stage: list(items) for stage, items in spec["operationsV2"].items()},
            entity_count=source.entity_count,
        )
    )
    await filling.begin(tx, target)
    queued = await jobs.enqueue(tx, "cleaning.run", owner=owner, args={"task_id": row.id})
    row.job_id = queued.id
    return row


def _must_be_text(dataset: Dataset) -> None:
    if dataset.template_type != DataTemplateType.GenericText:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"dataset {dataset.id} has the template {dataset.template_type}; cleaning takes generic texts",
            f"use datasets of the template {DataTemplateType.GenericText.value}",
        )


async def get(tx: Tx, owner: int | None, ident: Id) -> CleaningTask:
    return await tx.one(CleaningTask, ident, owner=owner)


async def page(tx: Tx, owner: int, offset: int, size: int) -> tuple[list[CleaningTask], int, int]:
    """(one page, newest first; how many there are; how many are running)."""
    rows = await tx.find(
        CleaningTask, owner=owner, order_by=CleaningTask.id.desc(), limit=size, offset=offset
    )
    running = CleaningTask.status == ETLTaskStatus.Running.value
    return rows, await tx.count(CleaningTask, owner=owner), await tx.count(CleaningTask, running, owner=owner)


async def delete(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete tasks; one that is running is stopped. The datasets stay, a destination as it was before."""
    for ident in idents:
        row = await get(tx, owner, ident)
        if row.status == ETLTaskStatus.Running:
            if row.job_id is not None:
                await jobs.cancel(tx, row.job_id)
            await tx.move(row, CLEANING, ETLTaskStatus.Interrupted)
            await filling.give_back(tx, row.target_id)
        await tx.delete(row)


async def names(tx: Tx, row: CleaningTask) -> tuple[Dataset | None, Dataset | None]:
    """(source, destination) of a task; None for one that was deleted."""
    return (
        await tx.maybe(Dataset, Dataset.id == row.source_id),
        await tx.maybe(Dataset, Dataset.id == row.target_id),
    )
