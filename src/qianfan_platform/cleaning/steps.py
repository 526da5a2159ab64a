"""Durable work of cleaning: operators in a process of their own, then the destination is filled at once."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, Final

from qianfan.contract.enums import ETLTaskStatus
from qianfan.contract.errors import WRONG_STATE, Fault
from qianfan.contract.lifecycle import CLEANING
from qianfan_platform.datasets import filling
from qianfan_platform.datasets.contents import settled
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.files.reference import derived_id
from qianfan_platform.jobs import Step, Unfit, children, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now

from . import operations
from .tables import CleaningTask

OPERATORS: Final = "qianfan.dataset.operators.files"


class NothingLeft(Unfit):
    """The operators dropped every text."""


async def _failed(step: Step, error: BaseException, *, task_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.get(tx, None, task_id)
        await tx.move(row, CLEANING, ETLTaskStatus.Failed, reason=reason_of(error), finished_at=utc_now())
        await filling.give_back(tx, row.target_id)


@job("cleaning.run", on_failure=_failed)
async def run(step: Step, *, task_id: int) -> None:
    """Run the operators over a copy; nobody sees the destination change before all of it is there."""
    platform: Platform = step.platform
    scratch = platform.settings.work / f"clean-{step.job_id}"
    done = await step("clean", _clean, step, platform, task_id, scratch)
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    async with step.transaction(last=True) as tx:
        row = await operations.get(tx, None, task_id)
        target = await tx.one(Dataset, row.target_id)
        await filling.end(tx, target, filling.Filled(**done["content"]))
        await tx.move(
            row,
            CLEANING,
            ETLTaskStatus.Finished,
            done=done["entities"],
            entity_count=done["entities"],
            remaining=done["remaining"],
            funnel=done["funnel"],
            finished_at=utc_now(),
        )


async def _clean(step: Step, platform: Platform, task_id: int, scratch: Path) -> dict[str, Any]:
    """Make the cleaned file and keep it; {entities, remaining, funnel, content: the destination's columns}."""
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, task_id)
    source, target = await settled(platform, row.source_id), await settled(platform, row.target_id)
    if source.file_id is None:
        raise Fault(WRONG_STATE, f"dataset {source.id} has lost its content")
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    for attempt in range(1, step.attempt):  # what a killed run kept
        await platform.files.delete(_id(row, attempt))
    scratch.mkdir(parents=True)
    cleaned, whole = scratch / "cleaned.jsonl", scratch / "whole.jsonl"
    spec = {
        "source": str(await platform.files.local(source.file_id)),
        "target": str(cleaned),
        "stages": row.stages,
    }
    done = await children.run(step, OPERATORS, spec, lambda line: _tell(step, task_id, line["done"]))
    if not done["remaining"] and target.file_id is None:
        raise NothingLeft(
            f"the operators dropped all {done['entities']} texts, so there is nothing to fill the destination with"
        )
    before = None if target.file_id is None else await platform.files.local(target.file_id)
    await asyncio.to_thread(_joined, before, cleaned, whole)
    kept = await platform.files.put_path(
        whole, name=f"{target.public_id}.jsonl", move=True, ident=_id(row, step.attempt)
    )
    content = {
        "file": kept.id,
        "size": kept.size,
        "entities": done["remaining"],
        "characters": done["characters"],
    }
    return {**done, "content": content}


def _id(row: CleaningTask, attempt: int) -> str:
    """The id of the content that one run of this task makes."""
    return derived_id(f"{row.public_id} {attempt}")


def _joined(before: Path | None, cleaned: Path, out: Path) -> None:
    with out.open("wb") as target:
        for path in (before, cleaned):
            if path is not None:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, target)


async def _tell(step: Step, task_id: int, done: int) -> None:
    async with step.transaction() as tx:
        row = await operations.get(tx, None, task_id)
        row.done = done
        target = await tx.maybe(Dataset, Dataset.id == row.target_id)
        if target is not None and row.entity_count:
            target.import_progress = min(99, 100 * done // row.entity_count)
