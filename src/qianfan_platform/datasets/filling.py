"""Filling a dataset: whoever makes content for one — an import, cleaning, augmentation — begins and ends here.

While it is filled its import status is Running, so that nobody else changes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import DataImportStatus, DataReleaseStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import DATASET_IMPORT
from qianfan_platform.store import Tx, utc_now

from .freeing import free
from .tables import Dataset


@dataclass(frozen=True)
class Filled:
    """A new content: what was there before, and what came. file, size: of all of it; the counts: of what came.

    pack: the file of the pictures that came."""

    file: str
    size: int  # bytes
    entities: int
    characters: int
    annotated: int = 0
    labels: int = 0
    pack: str | None = None


def must_be_open(dataset: Dataset) -> None:
    """Raise Fault unless the content may be changed now."""
    if dataset.release_status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
        raise Fault(
            errors.WRONG_STATE,
            f"dataset {dataset.id} is released, its content is frozen",
            "create a new dataset and import there",
        )
    if dataset.import_status == DataImportStatus.Running:
        raise Fault(errors.WRONG_STATE, f"dataset {dataset.id} is being imported into", "wait for its end")


async def from_one_into_another(tx: Tx, owner: int, source: Id, target: Id) -> tuple[Dataset, Dataset]:
    """Both datasets: the first has content, the second may be filled. Raises Fault."""
    first = await tx.one(Dataset, source, owner=owner, noun="dataset")
    second = await tx.one(Dataset, target, owner=owner, noun="dataset")
    if first.id == second.id:
        raise Fault(errors.CONSOLE_PARAMETER, "source and destination are the same dataset", "create another")
    if not first.file_id or not first.entity_count:
        raise Fault(errors.WRONG_STATE, f"dataset {first.id} is empty", "import data first")
    must_be_open(second)
    return first, second


async def begin(tx: Tx, target: Dataset, **also: Any) -> None:
    """It is being filled from now on. also: other columns that change with it."""
    await tx.move(
        target, DATASET_IMPORT, DataImportStatus.Running, field="import_status", import_progress=0, **also
    )


async def end(tx: Tx, target: Dataset, made: Filled, **also: Any) -> None:
    """Put the new content in the place of the old one, which is freed. also: other columns that change with it."""
    await free(tx, target.owner_id, target.file_id)
    moment = after_exports(target)
    batch = {"entities": made.entities, "at": moment.isoformat()}
    if made.pack:
        batch["pack"] = made.pack
    await tx.move(
        target,
        DATASET_IMPORT,
        DataImportStatus.Finished,
        field="import_status",
        import_progress=100,
        import_count=made.entities,
        content_at=moment,
        file_id=made.file,
        size_bytes=made.size,
        entity_count=target.entity_count + made.entities,
        annotated_count=target.annotated_count + made.annotated,
        character_count=target.character_count + made.characters,
        label_count=target.label_count + made.labels,
        batches=[*target.batches, batch],
        **also,
    )


async def give_back(tx: Tx, target_id: int) -> None:
    """It came to nothing: what the dataset held before is there, an empty one has failed."""
    target = await tx.maybe(Dataset, Dataset.id == target_id)
    if target is not None and target.import_status == DataImportStatus.Running:
        to = DataImportStatus.Finished if target.file_id else DataImportStatus.Failed
        await tx.move(target, DATASET_IMPORT, to, field="import_status")


def after_exports(dataset: Dataset) -> datetime:
    """The moment of a change now, in a second after its newest export: clients compare whole seconds."""
    if not dataset.exports:
        return utc_now()
    exported = datetime.fromisoformat(dataset.exports[-1]["finished"])
    return max(utc_now(), exported.replace(microsecond=0) + timedelta(seconds=1))
