"""Durable work of cleaning: operators in a process of their own, then the destination is filled at once."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.enums import DataImportStatus, ETLTaskStatus
from qianfan.contract.errors import WRONG_STATE, Fault
from qianfan.contract.lifecycle import CLEANING, DATASET_IMPORT
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.jobs import Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now

from . import operations

OPERATORS: Final = "qianfan.dataset.operators.files"
CHECK_S: Final = 0.5  # between two looks whether the task was deleted


class OperatorsFailed(Exception):
    """The process of the operators ended without a result; the text says why."""


async def _failed(step: Step, error: BaseException, *, task_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.get(tx, None, task_id)
        await tx.move(row, CLEANING, ETLTaskStatus.Failed, reason=reason_of(error), finished_at=utc_now())
        await operations.give_back(tx, row.target_id)


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
        await tx.move(
            target,
            DATASET_IMPORT,
            DataImportStatus.Finished,
            field="import_status",
            import_progress=100,
            content_at=utc_now(),
            **done["content"],
        )
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
        source = await tx.one(Dataset, row.source_id)
        target = await tx.one(Dataset, row.target_id)
    if source.file_id is None:
        raise Fault(WRONG_STATE, f"dataset {source.id} has lost its content")
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    cleaned, whole = scratch / "cleaned.jsonl", scratch / "whole.jsonl"
    spec = {
        "source": str(await platform.files.local(source.file_id)),
        "target": str(cleaned),
        "stages": row.stages,
    }
    done = await _operate(step, task_id, spec)
    if not done["remaining"] and target.file_id is None:
        raise OperatorsFailed(
            f"the operators dropped all {done['entities']} texts, so there is nothing to fill the destination with"
        )
    before = None if target.file_id is None else await platform.files.local(target.file_id)
    await asyncio.to_thread(_joined, before, cleaned, whole)
    kept = await platform.files.put_path(whole, name=f"{target.public_id}.jsonl")
    content = {
        "file_id": kept.id,
        "size_bytes": kept.size,
        "entity_count": target.entity_count + done["remaining"],
        "character_count": target.character_count + done["characters"],
        "import_count": done["remaining"],
    }
    return {**done, "content": content}


def _joined(before: Path | None, cleaned: Path, out: Path) -> None:
    with out.open("wb") as target:
        for path in (before, cleaned):
            if path is not None:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, target)


async def _operate(step: Step, task_id: int, spec: dict[str, Any]) -> dict[str, Any]:
    """Run the operators' process to its end, telling how far it is. Raises OperatorsFailed, Cancelled."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", OPERATORS, orjson.dumps(spec).decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    last: dict[str, Any] = {}
    try:
        while True:
            line_read = asyncio.ensure_future(process.stdout.readline())
            while not line_read.done():
                await asyncio.wait([line_read], timeout=CHECK_S)
                step.check()
            if not (line := line_read.result()):
                break
            last = orjson.loads(line)
            if "done" in last:
                await _tell(step, task_id, last["done"])
        await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()  # ends what is left of its session
        said = (await errors).decode(errors="replace").strip().splitlines()
    if "finished" in last:
        finished: dict[str, Any] = last["finished"]
        return finished
    raise OperatorsFailed(last.get("failed") or (said[-1] if said else f"code {process.returncode}"))


async def _tell(step: Step, task_id: int, done: int) -> None:
    async with step.transaction() as tx:
        row = await operations.get(tx, None, task_id)
        row.done = done
        target = await tx.maybe(Dataset, Dataset.id == row.target_id)
        if target is not None and row.entity_count:
            target.import_progress = min(99, 100 * done // row.entity_count)
