"""Durable work of exports: the results of an evaluation, written out in both formats."""

from __future__ import annotations

import asyncio
import shutil

from qianfan.contract.enums import EvaluationResultExportTaskStatus
from qianfan_platform.datasets import buckets
from qianfan_platform.files.objects import ObjectPath
from qianfan_platform.jobs import Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations, results
from .questions import questions
from .tables import EvalExport


async def _failed(step: Step, error: BaseException, *, export_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.export_of(tx, None, export_id)
        row.status, row.reason = EvaluationResultExportTaskStatus.Fail.value, reason_of(error)


@job("evaluation.export", on_failure=_failed)
async def export(step: Step, *, export_id: int) -> None:
    """Pending → Uploading → Done: both files."""
    await step.write("begin", _uploading, export_id)
    files = await step("write", _write, step.platform, export_id, f"export-{step.job_id}")
    await _into_bucket(step.platform, export_id, files)
    async with step.transaction(last=True) as tx:
        row = await operations.export_of(tx, None, export_id)
        row.csv_file, row.zip_file = files["csv"], files["zip"]
        row.status = EvaluationResultExportTaskStatus.Done.value


def folder(made: EvalExport) -> str:
    """Where an export lies in its bucket."""
    return f"{buckets.SYSTEM}/evaluation/{made.public_id}"


async def _into_bucket(platform: Platform, export_id: int, files: dict[str, str]) -> None:
    async with platform.store.reading() as tx:
        made = await operations.export_of(tx, None, export_id)
    if not made.bucket:
        return
    platform.objects.bucket(made.bucket, made.owner_id)
    for kind, ident in files.items():
        path = ObjectPath(made.bucket, f"{folder(made)}/results.{kind}")
        await platform.objects.put(path, await platform.files.local(ident))


async def _uploading(tx: Tx, export_id: int) -> None:
    row = await operations.export_of(tx, None, export_id)
    row.status = EvaluationResultExportTaskStatus.Uploading.value


async def _write(platform: Platform, export_id: int, name: str) -> dict[str, str]:
    async with platform.store.reading() as tx:
        made = await operations.export_of(tx, None, export_id)
        row = await operations.get(tx, None, made.evaluation_id)
        units = await operations.units(tx, row)
    content = await platform.files.local(row.content_file)
    asked = await asyncio.to_thread(lambda: {(one.line, one.turn): one for one in questions(content)})
    only = None if made.only is None else set(made.only)
    listed = [
        (unit, answer, asked[answer.line, answer.turn])
        for unit in units
        for answer in await operations.answers(platform, unit)
        if only is None or answer.id in only
    ]
    scratch = platform.settings.work / name
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    table, packed = scratch / "results.csv", scratch / "results.zip"
    await asyncio.to_thread(results.write_export, listed, made.content, table, packed)
    kept = {
        "csv": (await platform.files.put_path(table, name=f"{made.public_id}.csv", move=True)).id,
        "zip": (await platform.files.put_path(packed, name=f"{made.public_id}.zip", move=True)).id,
    }
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return kept
