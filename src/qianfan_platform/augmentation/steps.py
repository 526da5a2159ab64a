"""Durable work of augmentation: the model writes, then the destination is filled at once. A kill repeats nothing."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path
from typing import Any

import orjson

from qianfan.contract.enums import AugmentationStatus, DataTemplateType
from qianfan.contract.errors import WRONG_STATE, Fault
from qianfan.contract.lifecycle import AUGMENTATION
from qianfan_platform.datasets import contents, filling
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.inference.operations import Finder
from qianfan_platform.jobs import Cancelled, Job, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now

from . import keeping, operations, seeds, writing
from .keeping import Known, Sample
from .seeds import Pool
from .tables import AugmentSample, AugmentTask
from .writing import Streak, Work, live

WORDS = AugmentationStatus


async def _failed(step: Step, error: BaseException, *, task_id: int) -> None:
    async with step.transaction() as tx:
        row = await tx.maybe(AugmentTask, AugmentTask.id == task_id)
        if row is not None and not AUGMENTATION.is_final(row.status):
            await _fail(tx, row, reason_of(error))


async def _fail(tx: Tx, row: AugmentTask, reason: str) -> None:
    await tx.move(row, AUGMENTATION, WORDS.Failed, reason=reason[:2000], finished_at=utc_now())
    await filling.give_back(tx, row.target_id)
    await operations.tell(tx, row, WORDS.Failed)


async def _stopped(tx: Tx, job: Job, *, task_id: int) -> None:
    row = await tx.maybe(AugmentTask, AugmentTask.id == task_id)
    if row is not None and not AUGMENTATION.is_final(row.status):
        await operations.stop(tx, row.owner_id, row.id)


@job("augmentation.run", on_failure=_failed, on_cancel=_stopped)
async def run(step: Step, *, task_id: int) -> None:
    """The contents as they are now; the model writes; nobody sees the destination change before all of it is there."""
    step.check()
    platform: Platform = step.platform
    files = await step("contents", _contents, platform, task_id)
    await step.write("begin", _begin, task_id)
    fewer = await step("write", _write, step, task_id, files)
    made = await step("fill", _fill, step, task_id, files)
    step.check()
    async with step.transaction(last=True) as tx:
        row = await live(tx, task_id)
        if made is None:
            await _fail(tx, row, f"no sample was kept: {fewer}; {await _reasons(tx, row)}")
            return
        await _finish(tx, row, made, fewer)


async def _contents(platform: Platform, task_id: int) -> dict[str, Any]:
    """Files of source and destination. They stay while this runs, whatever is imported meanwhile."""
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, task_id)
    source = await contents.settled(platform, row.source_id)
    target = await contents.settled(platform, row.target_id)
    if source.file_id is None:
        raise Fault(WRONG_STATE, f"dataset {source.id} has lost its content")
    return {"source": source.file_id, "target": target.file_id, "template": target.template_type}


async def _begin(tx: Tx, task_id: int) -> None:
    row = await tx.maybe(AugmentTask, AugmentTask.id == task_id)
    if row is None or row.status == WORDS.Terminated:
        raise Cancelled
    await tx.move(row, AUGMENTATION, WORDS.Running)
    await operations.tell(tx, row, WORDS.Running)


async def _write(step: Step, task_id: int, files: dict[str, Any]) -> str:
    """Returns why there are fewer samples than wanted, "" when there are as many."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, task_id)
    answering = await Finder(platform).find(row.owner_id, row.service, "chat")
    source = await platform.files.local(files["source"])
    target = None if files["target"] is None else await platform.files.local(files["target"])
    key = await _key(platform, row, files)
    pool, known = await asyncio.to_thread(_read, source, target, key, row.threshold)
    if not pool.seeds:
        raise Fault(
            WRONG_STATE,
            f"no record of dataset {row.source_id} can be shown to a model",
            f"a question and its answer may have {seeds.MOST_SHOWN} characters each",
        )
    work = Work(
        step=step,
        row=row,
        answering=answering,
        pool=pool,
        template=DataTemplateType(files["template"]),
        context=platform.fleet.entry_of(answering.want).context,
        streak=Streak(),
    )
    return await writing.write(work, known)


async def _key(platform: Platform, row: AugmentTask, files: dict[str, Any]) -> str:
    """What decides every draw: the same contents and settings draw the same."""
    hashes = [
        (await platform.files.info(ident)).sha256 if ident else ""
        for ident in (files["source"], files["target"])
    ]
    text = orjson.dumps([*hashes, row.service, row.few, row.threshold])
    return hashlib.sha256(text).hexdigest()


def _read(source: Path, target: Path | None, key: str, threshold: float) -> tuple[Pool, Known]:
    """The seeds, and all that a new sample must differ from."""
    known = Known(threshold)
    found = seeds.read(source, key)
    for seed in found:
        known.add(f"source line {seed.line}", seed.prompt)
    for seed in seeds.read(target, key) if target is not None else ():
        known.add(f"destination line {seed.line}", seed.prompt)
    return Pool(found, key), known


async def _fill(step: Step, task_id: int, files: dict[str, Any]) -> dict[str, Any] | None:
    """The destination's new content with its counts; None when nothing was kept."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, task_id)
        kept = await tx.find(
            AugmentSample,
            AugmentSample.task_id == task_id,
            AugmentSample.why == "",
            order_by=(AugmentSample.number, AugmentSample.place),
        )
        target = await tx.one(Dataset, row.target_id)
    if not kept:
        return None
    template = DataTemplateType(files["template"])
    source = await platform.files.local(files["source"])
    before = None if files["target"] is None else await platform.files.local(files["target"])
    key = await _key(platform, row, files)
    scratch = platform.settings.work / f"augment-{step.job_id}"
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    whole = scratch / "whole.jsonl"

    def put() -> int:
        system = Pool(seeds.read(source, key), key).system
        samples = [Sample(one.number, one.place, one.prompt, one.answer) for one in kept]
        return _joined(before, [keeping.record(one, template, system) for one in samples], whole)

    characters = await asyncio.to_thread(put)
    blob = await platform.files.put_path(whole, name=f"{target.public_id}.jsonl", move=True)
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    answered = len(kept) if template is DataTemplateType.NonSortedConversation else 0
    return {
        "file": blob.id,
        "size": blob.size,
        "count": len(kept),
        "characters": characters,
        "annotated": answered,
    }


def _joined(before: Path | None, rows: list[Any], out: Path) -> int:
    """Write the rows after what was there; returns their characters."""
    characters = 0
    with out.open("wb") as target:
        if before is not None:
            with before.open("rb") as part:
                shutil.copyfileobj(part, target)
        for row in rows:
            text = orjson.dumps(row)
            target.write(text + b"\n")
            characters += len(text.decode())
    return characters


async def _finish(tx: Tx, row: AugmentTask, made: dict[str, Any], fewer: str) -> None:
    target = await tx.one(Dataset, row.target_id)
    content = filling.Filled(made["file"], made["size"], made["count"], made["characters"], made["annotated"])
    await filling.end(tx, target, content)
    reason = ""
    if fewer:
        reason = f"{made['count']} of {row.wanted} samples: {fewer}; {await _reasons(tx, row)}"
    await tx.move(
        row,
        AUGMENTATION,
        WORDS.Finished,
        finished_at=target.content_at,
        kept=made["count"],
        reason=reason[:2000],
    )
    await operations.tell(tx, row, WORDS.Finished)


async def _reasons(tx: Tx, row: AugmentTask) -> str:
    """What was dropped, in words."""
    found = await operations.dropped(tx, row)
    told = [
        f"{count} × {keeping.MEANINGS[why]}" for why, count in sorted(found.items(), key=lambda one: -one[1])
    ]
    if errors := await operations.error_of_a_try(tx, row):
        told.append(f"a try failed: {errors}")
    return "dropped: " + ("; ".join(told) or "nothing, for nothing was read in what the model said")
