"""Exports: a dataset packed into a zip, for the platform's own links or for a bucket."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from qianfan.contract.enums import DataExportStatus
from qianfan_platform.files.reference import derived_id
from qianfan_platform.jobs import Job, JobState, Step, children, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now

from . import buckets, packing, pictures
from .contents import settled
from .filling import after_exports
from .tables import Dataset

KIND: Final = "datasets.export"
IN_A_CHILD: Final = 8 * 1024**2  # bytes of content from which a process of its own packs it


async def _failed(step: Step, error: BaseException, *, dataset_id: int, keep: str = "", **_: Any) -> None:
    async with step.transaction() as tx:
        dataset = await tx.maybe(Dataset, Dataset.id == dataset_id, lock=True)
        if dataset is not None:
            dataset.export_status, dataset.failure = DataExportStatus.Failed.value, reason_of(error)
    await _forget(step, keep)


@job(KIND, on_failure=_failed)
async def export(step: Step, *, dataset_id: int, bucket: str = "", kind: int = 1, keep: str = "") -> None:
    """A zip with `data.jsonl`, with texts or pictures; the record appears with the status, and modifyTime stays.

    kind: exportType; 2 leaves out the texts of pictures (those of a conversation are part of its lines). keep: the
    seed of the id of the zip."""
    platform: Platform = step.platform
    started = utc_now()
    scratch = platform.settings.work / f"export-{step.job_id}"
    try:
        packed = await step("pack", _pack, step, dataset_id, scratch, kind, keep)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    written: dict[str, str] = {}
    if bucket:
        async with platform.store.reading() as tx:
            dataset = await tx.one(Dataset, dataset_id)
        written = await buckets.write_export(platform, dataset, bucket, packed["file"])
    async with step.transaction(last=True) as tx:
        dataset = await tx.one(Dataset, dataset_id, lock=True)
        record = {
            **written,
            "id": len(dataset.exports) + 1,
            "file": packed["file"],
            "size": packed["size"],
            "records": packed["records"],
            "job": step.job_id,
            "kind": kind,
            "started": started.isoformat(),
            "finished": utc_now().isoformat(),
        }
        dataset.exports = [*dataset.exports, record]
        if dataset.content_at and dataset.content_at.isoformat() != packed["content_at"]:
            dataset.content_at = after_exports(dataset)  # it was changed meanwhile: this export lacks that
        if not await _others(tx, step, dataset):
            dataset.export_status, dataset.export_progress = DataExportStatus.Finished.value, 100


async def _others(tx: Tx, step: Step, dataset: Dataset) -> bool:
    """Whether more exports of the dataset are under way; its status is that of the last."""
    unfinished = Job.state.in_((JobState.Waiting, JobState.Running))
    jobs = await tx.find(Job, unfinished, Job.kind == KIND, Job.id != step.job_id, owner=dataset.owner_id)
    return any(job.args["dataset_id"] == dataset.id for job in jobs)


async def _pack(step: Step, dataset_id: int, scratch: Path, kind: int, keep: str) -> dict[str, Any]:
    platform: Platform = step.platform
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    await _forget(step, keep)
    scratch.mkdir(parents=True)
    dataset = await settled(platform, dataset_id)
    assert dataset.file_id is not None  # start_export refuses an empty dataset
    content = await platform.files.local(dataset.file_id)
    packs = {one: str(await platform.files.local(one)) for one in pictures.packs(dataset.batches)}
    target = scratch / "export.zip"
    spec = packing.Spec(str(content), str(target), dataset.template_type, packs, kind)
    if dataset.size_bytes + sum(Path(place).stat().st_size for place in packs.values()) < IN_A_CHILD:
        await asyncio.to_thread(packing.run, spec, lambda line: None)
    else:
        await children.run(step, packing.__name__, asdict(spec), lambda line: _tell(step, dataset_id, line))
    kept = await platform.files.put_path(
        target, name=f"{dataset.public_id}.zip", move=True, ident=_id(keep, step.attempt)
    )
    return {
        "file": kept.id,
        "size": kept.size,
        "records": dataset.entity_count,
        "content_at": dataset.content_at and dataset.content_at.isoformat(),
    }


async def _tell(step: Step, dataset_id: int, line: dict[str, Any]) -> None:
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, dataset_id)
        dataset.export_progress = 99 * line["done"] // line["of"]


def _id(keep: str, attempt: int) -> str:
    """The id of the zip of one run of this export."""
    return derived_id(f"{keep} {attempt}")


async def _forget(step: Step, keep: str) -> None:
    """Remove what runs of this export that were killed, or came to nothing, left in the store."""
    for attempt in range(1, step.attempt + 1):
        await step.platform.files.delete(_id(keep, attempt))
