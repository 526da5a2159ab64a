"""Durable work on datasets: reading what is imported, freezing a release, packing an export."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from qianfan.contract.enums import DataExportStatus, DataImportStatus, DataReleaseStatus, DataTemplateType
from qianfan.contract.errors import WRONG_STATE, Fault
from qianfan.contract.lifecycle import DATASET_IMPORT, DATASET_RELEASE
from qianfan.dataset import formats, schemas
from qianfan_platform.files.archives import extract
from qianfan_platform.files.fetch import Allow, fetch
from qianfan_platform.jobs import Step, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now

from . import operations
from .tables import Dataset

MAX_PROBLEMS = 20  # listed in full; the rest are counted
FETCH_LIMIT = 5 * 1024**3  # bytes, as the cloud allows for an archive
FETCH_TIMEOUT_S = 3600.0
TEXT_MEMBER = "generic_text_file_"  # as published clients name them
IMPORT_FAILED = 9  # errCode: the text does not fit the template
Input = tuple[str, Path, bool]  # name, where it lies, whether it came out of an archive


class Refused(Exception):
    """The data cannot be taken; `problems` says why, record by record."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        self.problems = problems
        super().__init__(problems[0]["what"] if problems else "no data")


async def _import_failed(step: Step, error: BaseException, *, dataset_id: int, **_: Any) -> None:
    problems = error.problems if isinstance(error, Refused) else [_problem(str(error))]
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, dataset_id)
        await tx.move(
            dataset,
            DATASET_IMPORT,
            DataImportStatus.Failed,
            field="import_status",
            import_problems=problems,
        )


@job("datasets.import", on_failure=_import_failed)
async def import_files(step: Step, *, dataset_id: int, source: int, files: list[str]) -> None:
    """Fetch, check, normalise, and only then make it the dataset's content: all or nothing."""
    platform: Platform = step.platform
    scratch = platform.settings.work / f"import-{step.job_id}"
    counts = await step("read", _read, platform, dataset_id, source, files, scratch)
    await asyncio.to_thread(_remove, scratch)
    async with step.transaction(last=True) as tx:
        dataset = await tx.one(Dataset, dataset_id)
        await tx.move(
            dataset,
            DATASET_IMPORT,
            DataImportStatus.Finished,
            field="import_status",
            import_progress=100,
            content_at=utc_now(),
            **counts,
        )


async def _read(
    platform: Platform, dataset_id: int, source: int, files: list[str], scratch: Path
) -> dict[str, Any]:
    await asyncio.to_thread(_remove, scratch)
    scratch.mkdir(parents=True)
    async with platform.store.reading() as tx:
        dataset = await tx.one(Dataset, dataset_id)
    inputs: list[tuple[str, Path]] = []
    for number, name in enumerate(files):
        file_id = operations.local_file(name)
        if file_id is not None:
            info = await platform.files.info(file_id, owner=dataset.owner_id)
            inputs.append((info.name or file_id, await platform.files.local(file_id)))
            continue
        target = scratch / f"fetched-{number}"
        allow = Allow.parse(platform.settings.allow_fetch)
        path = await fetch(name, target, allow=allow, limit_bytes=FETCH_LIMIT, timeout_s=FETCH_TIMEOUT_S)
        inputs.append((name.split("?")[0].rsplit("/", 1)[-1], path))
    before = None if dataset.file_id is None else await platform.files.local(dataset.file_id)
    rows = scratch / "rows.jsonl"
    texts = await _unpacked(inputs, scratch)
    template = DataTemplateType(dataset.template_type)
    counts = await asyncio.to_thread(_normalise, texts, template, rows, before)
    kept = await platform.files.put_path(rows, name=f"{dataset.public_id}.jsonl")
    return {**counts, "file_id": kept.id, "size_bytes": kept.size}


def _normalise(
    inputs: list[Input], template: DataTemplateType, out: Path, before: Path | None
) -> dict[str, int]:
    """Check every record of every input and write them one a line, after what was there before."""
    problems: list[dict[str, Any]] = []
    bad = total = annotated = characters = 0
    with out.open("wb") as target:
        if before is not None:
            for line in before.open("rb"):
                row = orjson.loads(line)
                total, annotated = total + 1, annotated + schemas.is_annotated(row)
                characters += len(line.decode())
                target.write(line)
        imported = 0
        for name, path, packed in inputs:
            try:
                for line_number, row in _records(name, path, template, packed):
                    problem = schemas.check_row(row, template, line_number, name)
                    if problem is not None:
                        bad += 1
                        if len(problems) < MAX_PROBLEMS:
                            problems.append(_as_json(problem))
                        continue
                    text = orjson.dumps(row)
                    target.write(text + b"\n")
                    imported, annotated = imported + 1, annotated + schemas.is_annotated(row)
                    characters += len(text.decode())
            except formats.FormatError as broken:
                bad += 1
                problems.append(_as_json(broken.problem))
    if bad:
        if bad > len(problems):
            problems.append(_problem(f"and {bad - len(problems)} more records like these"))
        raise Refused(problems)
    if not imported:
        raise Refused([_problem("the import holds no record", "give a file with at least one record")])
    return {
        "entity_count": total + imported,
        "annotated_count": annotated,
        "character_count": characters,
        "import_count": imported,
    }


async def _unpacked(inputs: list[tuple[str, Path]], scratch: Path) -> list[Input]:
    """The inputs with every archive replaced by its members."""
    texts: list[Input] = []
    for number, (name, path) in enumerate(inputs):
        with path.open("rb") as file:
            head = file.read(2)
        if head in (b"PK", b"\x1f\x8b"):
            folder = scratch / f"archive-{number}"
            texts += [
                (f"{name}/{member.relative_to(folder)}", member, True)
                for member in await extract(path, folder)
            ]
        else:
            texts.append((name, path, False))
    return texts


def _records(name: str, path: Path, template: DataTemplateType, packed: bool) -> Iterator[tuple[int, Any]]:
    """(line, record) of one input. A text of an archive is one record, of a plain file each of its lines."""
    if template == DataTemplateType.GenericText:
        if packed:
            yield 1, path.read_text(encoding="utf-8-sig").strip()
            return
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, line.rstrip("\n")) for number, line in enumerate(file, 1) if line.strip())
        return
    with path.open("rb") as raw:
        yield from formats.read_jsonl(iter(lambda: raw.read(1 << 20), b""), name)


def _as_json(problem: schemas.Problem) -> dict[str, Any]:
    return {
        "code": IMPORT_FAILED,
        "source": problem.source,
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "what": str(problem),
        "fix": problem.fix,
    }


def _problem(what: str, fix: str = "") -> dict[str, Any]:
    return {
        "code": IMPORT_FAILED,
        "source": "",
        "line": 0,
        "column": None,
        "field": "",
        "what": what,
        "fix": fix,
    }


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


async def _release_failed(step: Step, error: BaseException, *, dataset_id: int) -> None:
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, dataset_id)
        await tx.move(dataset, DATASET_RELEASE, DataReleaseStatus.Failed, field="release_status")


@job("datasets.release", on_failure=_release_failed)
async def release(step: Step, *, dataset_id: int) -> None:
    """Verify that the content is whole, then freeze it."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        dataset = await tx.one(Dataset, dataset_id)
    if dataset.file_id is None:
        raise Fault(WRONG_STATE, f"dataset {dataset_id} has no content", "import data first")
    await platform.files.local(dataset.file_id)  # checks the hash
    async with step.transaction(last=True) as tx:
        dataset = await tx.one(Dataset, dataset_id)
        await tx.move(dataset, DATASET_RELEASE, DataReleaseStatus.Finished, field="release_status")


async def _export_failed(step: Step, error: BaseException, *, dataset_id: int) -> None:
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, dataset_id)
        dataset.export_status = DataExportStatus.Failed.value


@job("datasets.export", on_failure=_export_failed)
async def export(step: Step, *, dataset_id: int) -> None:
    """A zip with `data.jsonl`, or with texts; the record appears with the status, and modifyTime stays."""
    platform: Platform = step.platform
    started = utc_now()
    packed = await step("pack", _pack, platform, dataset_id, platform.settings.work / f"export-{step.job_id}")
    async with step.transaction(last=True) as tx:
        dataset = await tx.one(Dataset, dataset_id)
        record = {
            "id": len(dataset.exports) + 1,
            "file": packed["file"],
            "size": packed["size"],
            "records": dataset.entity_count,
            "started": started.isoformat(),
            "finished": utc_now().isoformat(),
        }
        dataset.exports = [*dataset.exports, record]
        dataset.export_status = DataExportStatus.Finished.value


async def _pack(platform: Platform, dataset_id: int, scratch: Path) -> dict[str, Any]:
    async with platform.store.reading() as tx:
        dataset = await tx.one(Dataset, dataset_id)
    assert dataset.file_id is not None  # start_export refuses an empty dataset
    content = await platform.files.local(dataset.file_id)

    def pack() -> Path:
        scratch.mkdir(parents=True, exist_ok=True)
        target = scratch / "export.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            if dataset.template_type == DataTemplateType.GenericText:
                _pack_texts(archive, content)
            else:
                archive.write(content, "data.jsonl")
        return target

    target = await asyncio.to_thread(pack)
    kept = await platform.files.put_path(target, name=f"{dataset.public_id}.zip", move=True)
    await asyncio.to_thread(_remove, scratch)
    return {"file": kept.id, "size": kept.size}


def _pack_texts(archive: zipfile.ZipFile, content: Path) -> None:
    """One file with a text in each line, as clients read it; one for each text where one has several lines."""
    with content.open("rb") as lines:
        together = not any("\n" in orjson.loads(line).strip() for line in lines)
    with content.open("rb") as lines:
        texts = (str(orjson.loads(line)).strip() for line in lines)
        if together:
            with archive.open(f"{TEXT_MEMBER}0.txt", "w") as member:
                for text in texts:
                    member.write(text.encode() + b"\n")
            return
        for number, text in enumerate(texts):
            archive.writestr(f"{TEXT_MEMBER}{number}.txt", text)
