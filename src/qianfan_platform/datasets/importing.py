"""Imports: files are fetched, read line by line in a process of their own, and become content at once or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.enums import DataImportError, DataImportStatus, DataSourceType
from qianfan.contract.errors import NOT_FOUND, Fault
from qianfan.contract.lifecycle import DATASET_IMPORT
from qianfan_platform.files.addresses import Allow
from qianfan_platform.files.fetch import fetch
from qianfan_platform.files.objects import ObjectFault
from qianfan_platform.files.reference import derived_id
from qianfan_platform.jobs import Step, Unfit, children, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform

from . import buckets, filling, members, operations, reading, verdicts
from .contents import settled
from .freeing import free
from .tables import Dataset

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
SMALL: Final = 1 << 20  # bytes that are read in a few milliseconds
FETCH_LIMIT: Final = 5 * 1024**3  # bytes, as the cloud allows for an archive
FETCH_TIMEOUT_S: Final = 3600.0
PARTS: Final = ("content", "pack", "refused")  # files that an import may leave in the store
_BEFORE_READING: Final = 2  # percent of the progress


class Refused(Unfit):
    """The data cannot be taken. report: what was found, as `reading.Report`; it names the file of refused lines."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report["refused"])
        self.report = report


class Deleted(Unfit):
    """The dataset was deleted while it was imported into."""


async def _failed(
    step: Step, error: BaseException, *, dataset_id: int, files: list[str], keep: str = "", **_: Any
) -> None:
    platform: Platform = step.platform
    once = await _for_once(step, files)
    report = error.report if isinstance(error, Refused) else _report_of(error)
    kept = report.get(verdicts.QUARANTINE)
    async with step.transaction() as tx:
        await free(tx, step.owner, *once)
        dataset = await tx.maybe(Dataset, Dataset.id == dataset_id, lock=True)
        if dataset is None:
            kept = None
        else:
            await free(tx, dataset.owner_id, verdicts.quarantine(dataset))
            to = DataImportStatus.Failed
            await tx.move(dataset, DATASET_IMPORT, to, field="import_status", import_report=report)
    await _forget(platform, step, keep, but=kept)


def _report_of(error: BaseException) -> dict[str, Any]:
    """Of an import that came to nothing before, or beside, its lines."""
    code: int = DataImportError.Network.value
    if isinstance(error, ObjectFault):
        code = error.import_code
    elif isinstance(error, children.ChildFailed):
        code = error.told.get("code", code)
    elif isinstance(error, OSError) and error.errno in FULL:
        return verdicts.failure(DataImportError.Quota.value, "the disk of the platform is full")
    elif isinstance(error, Fault):
        if error.row is NOT_FOUND:
            code = DataImportError.Missing.value
        elif isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
            code = DataImportError.Quota.value
        return verdicts.failure(code, error.message, error.advice)
    return verdicts.failure(code, reason_of(error))


@job("datasets.import", on_failure=_failed)
async def import_files(
    step: Step, *, dataset_id: int, source: int, files: list[str], keep: str = "", **options: Any
) -> None:
    """Fetch, check, normalise, and only then make it the dataset's content: all or nothing.

    keep: the seed of the ids of the files that it keeps. options: `bad_share`, `annotated`."""
    platform: Platform = step.platform
    scratch = platform.settings.work / f"import-{step.job_id}"
    try:
        done = await step("read", _read, step, dataset_id, source, files, keep, options)
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    once = await _for_once(step, files)
    async with step.transaction(last=True) as tx:
        dataset = await tx.maybe(Dataset, Dataset.id == dataset_id, lock=True)
        if dataset is None:
            raise Deleted(f"dataset {dataset_id} was deleted while it was imported into")
        await free(tx, dataset.owner_id, verdicts.quarantine(dataset), *once)
        made = filling.Filled(
            done["file"],
            done["size"],
            done["taken"],
            done["characters"],
            done["annotated"],
            done["labels"],
            done["pack"],
        )
        await filling.end(tx, dataset, made, import_report=done["report"])


async def _read(
    step: Step, dataset_id: int, source: int, files: list[str], keep: str, options: dict[str, Any]
) -> dict[str, Any]:
    """Make the new content and keep it. Raises Refused when too many lines are bad."""
    platform: Platform = step.platform
    scratch = platform.settings.work / f"import-{step.job_id}"
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    await _forget(platform, step, keep)
    scratch.mkdir(parents=True)
    dataset = await settled(platform, dataset_id)
    before = None if dataset.file_id is None else await platform.files.local(dataset.file_id)
    inputs = await _gathered(platform, dataset.owner_id, source, files, scratch)
    ids = _ids(keep, step.attempt)
    rows, refused, pack, told = (scratch / name for name in ("rows.jsonl", "refused.jsonl", "pack", "report"))
    spec = {
        "inputs": [[name, str(path)] for name, path in inputs],
        "template": dataset.template_type,
        "rows": str(rows),
        "refused": str(refused),
        "report": str(told),
        "scratch": str(scratch),
        "pack": str(pack),
        "pack_id": ids["pack"],
        "before": None if before is None else str(before),
        "count_before": dataset.entity_count,
        **options,
    }
    await _read_all(step, dataset_id, inputs, spec)
    report: dict[str, Any] = orjson.loads(await asyncio.to_thread(told.read_bytes))
    report = {name: value for name, value in report.items() if value or name in ("taken", "bad")}
    if report["bad"]:
        name = f"{dataset.public_id}-refused.jsonl"
        kept = await platform.files.put_path(refused, name=name, move=True, ident=ids["refused"])
        report[verdicts.QUARANTINE] = kept.id
    if report.get("refused"):
        raise Refused(report)
    has_pack = await asyncio.to_thread(pack.exists)
    if has_pack:
        await platform.files.put_path(pack, name=f"{dataset.public_id}.pack", move=True, ident=ids["pack"])
    name = f"{dataset.public_id}.jsonl"
    content = await platform.files.put_path(rows, name=name, move=True, ident=ids["content"])
    return {
        "file": content.id,
        "size": content.size,
        "pack": ids["pack"] if has_pack else "",
        **{figure: report.get(figure, 0) for figure in ("taken", "annotated", "characters", "labels")},
        "report": report,
    }


async def _read_all(
    step: Step, dataset_id: int, inputs: list[tuple[str, Path]], spec: dict[str, Any]
) -> None:
    """Read the inputs, a few small files here, because a process of its own takes half a second to begin."""
    if await asyncio.to_thread(members.are_small, inputs, SMALL):
        await asyncio.to_thread(reading.read, reading.Spec(**spec), lambda line: None)
    else:
        await children.run(step, reading.__name__, spec, lambda line: _tell(step, dataset_id, line))


async def _gathered(
    platform: Platform, owner: int, source: int, files: list[str], scratch: Path
) -> list[tuple[str, Path]]:
    """(name, where it lies) of every file, those of elsewhere fetched into the scratch folder."""
    inputs: list[tuple[str, Path]] = []
    for number, name in enumerate(files):
        file_id = operations.local_file(name)
        if file_id is not None:
            info = await platform.files.info(file_id, owner=owner)
            inputs.append((info.name or file_id, await platform.files.local(file_id)))
        elif source == DataSourceType.PrivateBos:
            into = scratch / f"objects-{number}"
            inputs += await buckets.fetched(platform.objects, owner, name, into, FETCH_LIMIT)
        else:
            target = scratch / f"fetched-{number}"
            allow = Allow.parse(platform.settings.allow_fetch)
            path = await fetch(name, target, allow=allow, limit_bytes=FETCH_LIMIT, timeout_s=FETCH_TIMEOUT_S)
            inputs.append((name.split("?")[0].split("#")[0].rsplit("/", 1)[-1][:200], path))
    return inputs


async def _for_once(step: Step, files: list[str]) -> list[str]:
    """The uploads that were made for one import, which has ended."""
    found = []
    for name in files:
        if (file_id := operations.local_file(name)) is not None:
            with contextlib.suppress(Fault):  # it is not there
                info = await step.platform.files.info(file_id, owner=step.owner)
                found += [info.id] if info.once else []
    return found


async def _tell(step: Step, dataset_id: int, line: dict[str, Any]) -> None:
    """How far it is, for whoever asks. Raises Deleted."""
    async with step.transaction() as tx:
        dataset = await tx.maybe(Dataset, Dataset.id == dataset_id)
        if dataset is None:
            raise Deleted(f"dataset {dataset_id} was deleted while it was imported into")
        dataset.import_progress = _BEFORE_READING + (97 - _BEFORE_READING) * line["done"] // line["of"]
        dataset.import_report = {**dataset.import_report, "taken": line["rows"], "bad": line["bad"]}


def _ids(keep: str, attempt: int) -> dict[str, str]:
    """The ids of the files that a run of this import keeps. No other run has the same."""
    return {part: derived_id(f"{keep} {attempt} {part}") for part in PARTS}


async def _forget(platform: Platform, step: Step, keep: str, *, but: str | None = None) -> None:
    """Remove what runs of this import that were killed, or came to nothing, left in the store."""
    for attempt in range(1, step.attempt + 1):
        for ident in _ids(keep, attempt).values():
            if ident != but:
                await platform.files.delete(ident)
