"""What can be done with cleaning tasks: create, look, list, delete."""

from __future__ import annotations

from collections.abc import Sequence

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.cleaning import CreateCleaning
from qianfan.contract.enums import DataImportStatus, DataReleaseStatus, DataTemplateType, ETLTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.lifecycle import CLEANING, DATASET_IMPORT
from qianfan.dataset.operators import BadOperator, Pipeline
from qianfan_platform import jobs
from qianfan_platform.datasets import operations as datasets
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
    source = await datasets.get(tx, owner, spec["sourceDatasetId"])
    target = await datasets.get(tx, owner, spec["destDatasetId"])
    _must_be_text(source)
    _must_be_text(target)
    if source.id == target.id:
        raise Fault(errors.CONSOLE_PARAMETER, "source and destination are the same dataset", "create another")
    if not source.file_id:
        raise Fault(errors.WRONG_STATE, f"dataset {source.id} is empty", "import data first")
    if target.release_status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
        raise Fault(
            errors.WRONG_STATE,
            f"dataset {target.id} is released, its content is frozen",
            "create another one",
        )
    if target.import_status == DataImportStatus.Running:
        raise Fault(errors.WRONG_STATE, f"dataset {target.id} is being imported into", "wait for its end")
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
    await tx.move(target, DATASET_IMPORT, DataImportStatus.Running, field="import_status", import_progress=0)
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
            await give_back(tx, row.target_id)
        await tx.delete(row)


async def give_back(tx: Tx, target_id: int) -> None:
    """The destination of a task that came to nothing: what it held before is there, an empty one has failed."""
    target = await tx.maybe(Dataset, Dataset.id == target_id)
    if target is not None and target.import_status == DataImportStatus.Running:
        to = DataImportStatus.Finished if target.file_id else DataImportStatus.Failed
        await tx.move(target, DATASET_IMPORT, to, field="import_status")


async def names(tx: Tx, row: CleaningTask) -> tuple[Dataset | None, Dataset | None]:
    """(source, destination) of a task; None for one that was deleted."""
    return (
        await tx.maybe(Dataset, Dataset.id == row.source_id),
        await tx.maybe(Dataset, Dataset.id == row.target_id),
    )
