"""What can be done with datasets: create, import, release, export, delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qianfan.contract import errors
from qianfan.contract.bodies import CreateDataset, Id
from qianfan.contract.enums import (
    DataExportStatus,
    DataImportStatus,
    DataReleaseStatus,
    DataSetType,
    DataSourceType,
    DataStorageType,
    DataTemplateType,
)
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import DATASET_IMPORT, DATASET_RELEASE
from qianfan_platform import jobs
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .tables import Dataset, DatasetGroup

FEW_RECORDS: Final = 32  # the cloud trains on no less; here it is a warning
LOCAL_PREFIX: Final = "bos:/local/"


async def create(tx: Tx, owner: int, spec: CreateDataset) -> Dataset:
    """A new, empty dataset with its group."""
    try:
        template = DataTemplateType(spec["templateType"])
        kind = DataSetType(spec["dataType"])
    except ValueError as unknown:
        raise Fault(
            errors.CONSOLE_PARAMETER, f"{unknown}", "see the enums of qianfan.resources.console.consts"
        ) from None
    if not str(template.value).startswith(str(spec["projectType"])):
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"template type {template.value} does not belong to project type {spec['projectType']}",
            "a conversation template (2000, 2001) goes with project type 20",
        )
    storage = spec.get("storageType", DataStorageType.PublicBos.value)
    if storage != DataStorageType.PublicBos.value:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"storage type {storage!r} needs an object store, and this platform has none connected",
            "use sysBos: the platform keeps the data itself",
        )
    group = await tx.add(DatasetGroup(owner_id=owner, name=spec["name"]))
    return await tx.add(
        Dataset(
            owner_id=owner,
            group_id=group.id,
            name=spec["name"],
            data_type=kind.value,
            project_type=spec["projectType"],
            template_type=template.value,
            storage_type=storage,
        )
    )


async def get(tx: Tx, owner: int, ident: Id) -> Dataset:
    """The dataset, by either id."""
    return await tx.one(Dataset, ident, owner=owner, noun="dataset")


async def group_of(tx: Tx, dataset: Dataset) -> DatasetGroup:
    return await tx.one(DatasetGroup, dataset.group_id, owner=dataset.owner_id, noun="dataset group")


async def start_import(tx: Tx, owner: int, ident: Id, source: int, files: Sequence[str]) -> None:
    """Begin to read `files` into the dataset. Status is Running before this returns."""
    dataset = await get(tx, owner, ident)
    if dataset.release_status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
        raise Fault(
            errors.WRONG_STATE,
            f"dataset {dataset.id} is released, its content is frozen",
            "create a new dataset and import there",
        )
    if dataset.import_status == DataImportStatus.Running:
        raise Fault(errors.WRONG_STATE, f"dataset {dataset.id} is being imported into", "wait for its end")
    if source == DataSourceType.PrivateBos:
        for path in files:
            if local_file(path) is None:
                raise Fault(
                    errors.CONSOLE_PARAMETER,
                    f"{path!r} lies in an object store that this platform does not reach",
                    f"upload the file to /v2/files and import the path it answers ({LOCAL_PREFIX}…)",
                )
    await tx.move(
        dataset,
        DATASET_IMPORT,
        DataImportStatus.Running,
        field="import_status",
        import_progress=0,
        import_problems=[],
    )
    await jobs.enqueue(
        tx,
        "datasets.import",
        owner=owner,
        args={"dataset_id": dataset.id, "source": source, "files": list(files)},
    )


def local_file(path: str) -> str | None:
    """File id in `bos:/local/<id>` or `local/<id>`, None for any other path."""
    tail = path.removeprefix("bos:").lstrip("/")
    return tail.removeprefix("local/") if tail.startswith("local/") else None


async def release(tx: Tx, owner: int, ident: Id) -> None:
    """Freeze the dataset, so that it can be trained on. Releasing twice is no error."""
    dataset = await get(tx, owner, ident)
    if dataset.release_status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
        return
    if dataset.import_status != DataImportStatus.Finished or not dataset.file_id:
        raise Fault(
            errors.WRONG_STATE,
            f"dataset {dataset.id} has no imported content to release",
            "import data first, and wait until importStatus is 2",
        )
    await tx.move(dataset, DATASET_RELEASE, DataReleaseStatus.Running, field="release_status")
    await jobs.enqueue(tx, "datasets.release", owner=owner, args={"dataset_id": dataset.id})


async def start_export(tx: Tx, owner: int, ident: Id) -> None:
    """Pack the dataset into a zip. Status is Running before this returns."""
    dataset = await get(tx, owner, ident)
    if not dataset.file_id:
        raise Fault(errors.WRONG_STATE, f"dataset {dataset.id} is empty", "import data first")
    dataset.export_status = DataExportStatus.Running.value
    await jobs.enqueue(tx, "datasets.export", owner=owner, args={"dataset_id": dataset.id})


async def delete(tx: Tx, owner: int, ident: Id) -> int:
    """Delete one version; returns how many its group still has. Runs that were trained on it keep their result."""
    dataset = await get(tx, owner, ident)
    group = await group_of(tx, dataset)
    await tx.delete(dataset)
    left = await tx.count(Dataset, Dataset.group_id == group.id)
    if not left:
        await tx.delete(group)
    return left


async def trainable(tx: Tx, owner: int, ident: Id) -> Dataset:
    """The dataset, if a conversation model can be tuned on it; else a Fault that says what is missing."""
    dataset = await tx.one(Dataset, ident, owner=owner, missing=errors.BAD_DATASET, noun="dataset")
    what = f"dataset {dataset.id} ({dataset.name})"
    if dataset.template_type != DataTemplateType.NonSortedConversation:
        raise Fault(
            errors.BAD_DATASET,
            f"{what} has template {dataset.template_type}",
            "fine-tuning needs an annotated non-sorted conversation set (template 2000)",
        )
    if dataset.release_status != DataReleaseStatus.Finished:
        raise Fault(errors.BAD_DATASET, f"{what} is not released", "call Data.release_dataset first")
    if dataset.entity_count == 0:
        raise Fault(errors.BAD_DATASET, f"{what} has no records", "import some first")
    if dataset.annotated_count < dataset.entity_count:
        missing = dataset.entity_count - dataset.annotated_count
        raise Fault(
            errors.BAD_DATASET,
            f"{what}: {missing} of {dataset.entity_count} records have no response",
            "every turn needs one response",
        )
    return dataset


async def write_rows(platform: Platform, dataset_ids: Sequence[int], into: Path) -> list[dict[str, object]]:
    """Write the records of several datasets after one another as JSONL.

    Returns what came from where: [{dataset, name, first, last}], lines from 1, so that a line of `into`
    can be named by its dataset."""
    parts: list[dict[str, object]] = []
    line = 0
    into.parent.mkdir(parents=True, exist_ok=True)
    with into.open("wb") as out:
        for dataset_id in dataset_ids:
            async with platform.store.reading() as tx:
                dataset = await tx.one(Dataset, dataset_id, noun="dataset")
            if dataset.file_id is None:
                raise Fault(errors.BAD_DATASET, f"dataset {dataset_id} has lost its content")
            content = (await platform.files.local(dataset.file_id)).read_bytes()
            out.write(content)
            parts.append(
                {
                    "dataset": dataset.id,
                    "name": dataset.name,
                    "first": line + 1,
                    "last": line + dataset.entity_count,
                }
            )
            line += dataset.entity_count
    return parts
