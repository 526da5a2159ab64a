"""Durable work of batch inference: fetch, count, ask, write. A killed server goes on where it was."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, insert, select

from qianfan.contract.enums import BatchInferenceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import BATCH_INFERENCE
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.datasets import buckets
from qianfan_platform.datasets.operations import local_file
from qianfan_platform.evaluation import operations as evaluation
from qianfan_platform.evaluation.asking import IN_A_ROW, Answered, GivenUp, ask
from qianfan_platform.evaluation.crew import work_through
from qianfan_platform.files.objects import ObjectPath
from qianfan_platform.jobs import Job, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now

from . import lines, operations
from .tables import BatchAnswer, BatchTask

PAGE: Final = 1_000  # answers that are in memory while the output is written
LARGEST: Final = 2 * 1024**3  # bytes of an input
OUTPUT: Final = "output.jsonl"
ENDINGS: Final = (".jsonl", ".json", ".txt")  # of files that are read, of a folder
WORDS = BatchInferenceStatus


async def _failed(step: Step, error: BaseException, *, task_id: int) -> None:
    async with step.transaction() as tx:
        row = await operations.get(tx, None, task_id)
        end = WORDS.Stopped if row.status == WORDS.Stopping else WORDS.Failed
        await tx.move(row, BATCH_INFERENCE, end, reason=reason_of(error), finished_at=utc_now())


async def _stopped(tx: Tx, job: Job, *, task_id: int) -> None:
    row = await operations.get(tx, None, task_id)
    await tx.move(row, BATCH_INFERENCE, WORDS.Stopped, finished_at=utc_now())
    await tx.execute(delete(BatchAnswer).where(BatchAnswer.task_id == task_id))


@job("batch.run", on_failure=_failed, on_cancel=_stopped)
async def run(step: Step, *, task_id: int) -> None:
    """Every line is answered once; then the answers become one file, in the order of the input."""
    step.check()
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, task_id)
    source = await step("fetch", _fetch, platform, row)
    content = await platform.files.local(source)
    await step.write("count", _count, task_id, await asyncio.to_thread(lines.count, content))
    given_up = await step("answer", _answer, step, row, content)
    kept = await step("write", _write, platform, row, content, given_up)
    step.check()
    async with step.transaction(last=True) as tx:
        await _finish(tx, task_id, kept, given_up)
    if source != local_file(row.input_path):
        await platform.files.delete(source)


async def _fetch(platform: Platform, row: BatchTask) -> str:
    """The id of the blob that holds the input: the upload, or what lay in the object store."""
    given = local_file(row.input_path)
    if given is not None:
        return given
    scratch = await _empty(platform.settings.work / f"batch-{row.id}")
    try:
        found = await buckets.fetched(
            platform.objects, row.owner_id, row.input_path, scratch / "parts", LARGEST
        )
        whole = scratch / "input.jsonl"
        await asyncio.to_thread(_join, [file for name, file in found if name.endswith(ENDINGS)], whole)
        return (await platform.files.put_path(whole, move=True, owner=row.owner_id)).id
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


def _join(parts: Sequence[Path], whole: Path) -> None:
    """One file after the other, each with a line end after it; they are removed."""
    with whole.open("wb") as out:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, out)
            out.write(b"\n")
            part.unlink()


async def _empty(folder: Path) -> Path:
    """A folder with nothing in it: a killed process may have left something."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


async def _count(tx: Tx, task_id: int, total: int) -> None:
    row = await operations.get(tx, None, task_id)
    row.total = total


async def _answer(step: Step, row: BatchTask, content: Path) -> str:
    """Ask what has no answer yet. Returns why that was given up, "" when it was not."""
    platform: Platform = step.platform
    answering = await evaluation.answering(platform, row.owner_id, row.endpoint, row.version_id)
    caller = Caller(row.owner_id, "", "iam")
    async with platform.store.reading() as tx:
        known = set(
            (await tx.execute(select(BatchAnswer.line).where(BatchAnswer.task_id == row.id))).scalars()
        )
    failures = 0

    async def work(item: tuple[int, bytes]) -> tuple[int, Answered]:
        nonlocal failures
        number, line = item
        try:
            prompt = lines.prompt_of_line(number, line, row.params)
        except Fault as fault:
            return number, Answered(error=fault.text)
        answered = await ask(platform, caller, answering, prompt)
        failures = failures + 1 if answered.broken else 0
        if failures >= IN_A_ROW:
            raise GivenUp(answered.error)
        return number, answered

    async def write(batch: Sequence[tuple[int, Answered]]) -> None:
        values = [
            {
                "task_id": row.id,
                "line": number,
                "response": lines.response_of(answered, row.model_name),
                "failed": bool(answered.error),
            }
            for number, answered in batch
        ]
        async with step.transaction() as tx:
            await tx.execute(insert(BatchAnswer), values)

    left = (item for item in lines.read(content) if item[0] not in known)
    try:
        await work_through(left, work, write, stop=step.cancelled)
    except GivenUp as given_up:
        return str(given_up)
    finally:
        if not row.endpoint:
            platform.fleet.release(answering.want)
    return ""


async def _write(platform: Platform, row: BatchTask, content: Path, given_up: str) -> dict[str, Any]:
    """The output, one line for each of the input; and how many of them hold an answer."""
    scratch = await _empty(platform.settings.work / f"batch-{row.id}")
    target, answered = scratch / OUTPUT, 0
    source = lines.read(content)
    none = {"content": "", "modelName": row.model_name, "error": given_up or "it was not asked"}
    try:
        with target.open("wb") as out:
            begin = 0
            while page := await asyncio.to_thread(_some, source, PAGE):
                there = await _answers(platform, row.id, begin, begin + PAGE)
                answered += sum(not one["failed"] for one in there.values())
                ready = [
                    lines.written(line, there[number]["response"] if number in there else none)
                    for number, line in page
                ]
                await asyncio.to_thread(out.writelines, ready)
                begin += PAGE
        if answered and not operations.stays_here(row.output_path):
            await platform.objects.put(place(platform, row), target)
        kept = await platform.files.put_path(
            target, name=f"{row.public_id}.jsonl", move=True, owner=row.owner_id
        )
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return {"file": kept.id, "answered": answered}


def place(platform: Platform, row: BatchTask) -> ObjectPath:
    """Where in the object store the output lies: a folder of its own in the one that was named."""
    folder = platform.objects.at(row.output_path, row.owner_id)
    return ObjectPath(folder.bucket, "/".join(filter(None, (folder.key.strip("/"), row.public_id, OUTPUT))))


def _some(source: Iterator[tuple[int, bytes]], most: int) -> list[tuple[int, bytes]]:
    return list(islice(source, most))


async def _answers(platform: Platform, task_id: int, begin: int, end: int) -> dict[int, dict[str, Any]]:
    async with platform.store.reading() as tx:
        rows = await tx.find(
            BatchAnswer, BatchAnswer.task_id == task_id, BatchAnswer.line >= begin, BatchAnswer.line < end
        )
    return {row.line: {"response": row.response, "failed": row.failed} for row in rows}


async def _finish(tx: Tx, task_id: int, kept: dict[str, Any], given_up: str) -> None:
    row = await operations.get(tx, None, task_id)
    lacking = row.total - kept["answered"]
    why = f"{lacking} of {row.total} lines have no answer, see error in the output" if lacking else ""
    await tx.move(
        row,
        BATCH_INFERENCE,
        WORDS.Done if kept["answered"] else WORDS.Failed,
        reason="; ".join(filter(None, (why, given_up)))[:2000],
        answered=kept["answered"],
        output_file=kept["file"],
        finished_at=utc_now(),
    )
    await tx.execute(delete(BatchAnswer).where(BatchAnswer.task_id == task_id))
