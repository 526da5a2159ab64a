"""What can be done with datasets: create, import, release, export, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from qianfan.contract.ids import random_word
from qianfan.contract.lifecycle import DATASET_RELEASE
from qianfan_platform import jobs
from qianfan_platform.files.objects import Objects
from qianfan_platform.store import Tx, utc_now

from . import buckets, filling, pictures
from .freeing import free
from .tables import Dataset, DatasetGroup

LOCAL_PREFIX: Final = "bos:/local/"


async def create(tx: Tx, owner: int, spec: CreateDataset, objects: Objects) -> Dataset:
    """A new, empty dataset with its group. objects: where private storage may lie."""
    try:
        template = DataTemplateType(spec["templateType"])
        kind = DataSetType(spec["dataType"])
        storage = DataStorageType(spec.get("storageType", DataStorageType.PublicBos.value))
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
    is_private = storage is DataStorageType.PrivateBos
    bucket, folder = buckets.chosen(objects, owner, spec) if is_private else ("", "")
    group = await tx.add(DatasetGroup(owner_id=owner, name=spec["name"]))
    return await tx.add(
        Dataset(
            owner_id=owner,
            group_id=group.id,
            name=spec["name"],
            data_type=kind.value,
            project_type=spec["projectType"],
            template_type=template.value,
            storage_type=storage.value,
            storage_id=bucket,
            raw_path=folder,
        )
    )


async def keep(
    tx: Tx,
    owner: int,
    name: str,
    template: DataTemplateType,
    *,
    file_id: str,
    counts: Mapping[str, int],
    storage: Sequence[str] | None = None,
) -> Dataset:
    """A released dataset of content that the platform itself has made. Its rows may hold more than an import may.

    counts: entity_count, annotated_count, character_count, size_bytes. storage: (bucket, folder) of private storage;
    its release, which writes there, is a job."""
    group = await tx.add(DatasetGroup(owner_id=owner, name=name))
    kind = DataStorageType.PrivateBos if storage else DataStorageType.PublicBos
    status = DataReleaseStatus.NotStarted if storage else DataReleaseStatus.Finished
    bucket, folder = storage or ("", "")
    dataset = await tx.add(
        Dataset(
            owner_id=owner,
            group_id=group.id,
            name=name,
            data_type=DataSetType.TextOnly.value,
            project_type=template.value // 100,
            template_type=template.value,
            storage_type=kind.value,
            storage_id=bucket,
            raw_path=folder,
            import_status=DataImportStatus.Finished.value,
            import_progress=100,
            import_count=counts["entity_count"],
            release_status=status.value,
            file_id=file_id,
            content_at=utc_now(),
            batches=[{"entities": counts["entity_count"], "at": utc_now().isoformat()}],
            **counts,
        )
    )
    if storage:
        await release(tx, owner, dataset.id)
    return dataset


async def get(tx: Tx, owner: int, ident: Id) -> Dataset:
    """The dataset, by either id."""
    return await tx.one(Dataset, ident, owner=owner, noun="dataset")


async def group_of(tx: Tx, dataset: Dataset) -> DatasetGroup:
    return await tx.one(DatasetGroup, dataset.group_id, owner=dataset.owner_id, noun="dataset group")


async def start_import(
    tx: Tx,
    owner: int,
    ident: Id,
    source: int,
    files: Sequence[str],
    objects: Objects,
    *,
    annotated: bool = False,
    bad_share: float = 0.0,
) -> None:
    """Begin to read `files` into the dataset. Status is Running before this returns.

    annotated: records without an answer are told of. bad_share: of the records, 0–1; while no more are refused,
    the others are taken."""
    dataset = await get(tx, owner, ident)
    filling.must_be_open(dataset)
    if source == DataSourceType.PrivateBos:
        for path in files:
            if local_file(path) is None:
                objects.at(path, owner)
    refused = {"quarantine": dataset.import_report.get("quarantine")}  # freed when there is another
    await filling.begin(tx, dataset, import_report=refused)
    await jobs.enqueue(
        tx,
        "datasets.import",
        owner=owner,
        args={
            "dataset_id": dataset.id,
            "source": source,
            "files": list(files),
            "keep": random_word(20),
            "annotated": annotated,
            "bad_share": bad_share,
        },
    )


def local_file(path: str) -> str | None:
    """File id in `bos:/local/<id>` or `local/<id>`, None for any other path."""
    tail = path.removeprefix("bos:").lstrip("/")
    return tail.removeprefix("local/") if tail.startswith("local/") else None


async def release(tx: Tx, owner: int, ident: Id) -> None:
    """Freeze the dataset, so that it can be trained on. Releasing twice is no error.

    A later import that failed has changed nothing: what was imported before can be released."""
    dataset = await get(tx, owner, ident)
    if dataset.release_status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
        return
    if dataset.import_status == DataImportStatus.Running or not dataset.file_id:
        raise Fault(
            errors.WRONG_STATE,
            f"dataset {dataset.id} has no imported content to release",
            "import data first, and wait until importStatus is 2",
        )
    await tx.move(dataset, DATASET_RELEASE, DataReleaseStatus.Running, field="release_status", failure="")
    await jobs.enqueue(tx, "datasets.release", owner=owner, args={"dataset_id": dataset.id})


async def start_export(tx: Tx, owner: int, ident: Id, bucket: str = "", kind: int = 1) -> None:
    """Pack the dataset into a zip, and write it into a bucket, too. Status is Running before this returns."""
    dataset = await get(tx, owner, ident)
    if not dataset.file_id:
        raise Fault(errors.WRONG_STATE, f"dataset {dataset.id} is empty", "import data first")
    dataset.export_status, dataset.export_progress, dataset.failure = DataExportStatus.Running.value, 0, ""
    await jobs.enqueue(
        tx,
        "datasets.export",
        owner=owner,
        args={"dataset_id": dataset.id, "bucket": bucket, "kind": kind, "keep": random_word(20)},
    )


async def delete(tx: Tx, owner: int, ident: Id) -> int:
    """Delete one version; returns how many its group still has. Runs that were trained on it keep their result."""
    dataset = await get(tx, owner, ident)
    group = await group_of(tx, dataset)
    await free(
        tx,
        owner,
        dataset.file_id,
        dataset.import_report.get("quarantine"),
        *pictures.packs(dataset.batches),
        *(e["file"] for e in dataset.exports),
    )
    await tx.delete(dataset)
    left = await tx.count(Dataset, Dataset.group_id == group.id)
    if not left:
        await tx.delete(group)
    return left
