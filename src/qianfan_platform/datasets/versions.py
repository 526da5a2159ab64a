"""Datasets and their versions as V2 sees them: several versions in a group, and tasks that are jobs."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, func, select

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import DataReleaseStatus, DataTemplateType
from qianfan.contract.errors import Fault
from qianfan_platform.jobs import Job
from qianfan_platform.store import Tx

from . import operations
from .tables import Dataset, DatasetGroup

IMPORT: Final = "datasets.import"
EXPORT: Final = "datasets.export"


async def group(tx: Tx, owner: int, ident: Id) -> DatasetGroup:
    """The dataset, by its id, or by that of one of its versions."""
    if isinstance(ident, str) and ident.startswith(f"{Dataset.PREFIX}-"):
        return await operations.group_of(tx, await operations.get(tx, owner, ident))
    return await tx.one(DatasetGroup, ident, owner=owner, noun="dataset")


async def add_version(tx: Tx, owner: int, ident: Id, description: str) -> Dataset:
    """A new, empty version with the format and the storage of those before."""
    of = await tx.one(DatasetGroup, (await group(tx, owner, ident)).id, owner=owner, lock=True)
    newest = await tx.maybe(Dataset, *_newest_of(of))
    if newest is None:
        raise Fault(errors.NOT_FOUND, f"dataset {of.public_id} has no version any more", "create another one")
    return await tx.add(
        Dataset(
            owner_id=owner,
            group_id=of.id,
            name=of.name,
            version=newest.version + 1,
            description=description,
            data_type=newest.data_type,
            project_type=newest.project_type,
            template_type=newest.template_type,
            storage_type=newest.storage_type,
            storage_id=newest.storage_id,
            raw_path=newest.raw_path,
        )
    )


def _newest_of(of: DatasetGroup) -> tuple[ColumnElement[bool], ...]:
    newest = select(func.max(Dataset.version)).where(Dataset.group_id == of.id).scalar_subquery()
    return Dataset.group_id == of.id, Dataset.version == newest


async def delete_group(tx: Tx, owner: int, ident: Id) -> int:
    """Delete a dataset with all its versions; returns how many they were."""
    of = await group(tx, owner, ident)
    versions = await tx.find(Dataset, Dataset.group_id == of.id)
    for version in versions:
        await operations.delete(tx, owner, version.id)
    return len(versions)


async def groups(
    tx: Tx,
    owner: int,
    marker: str | None,
    size: int,
    oldest_first: bool,
    *,
    name: str = "",
    template: int = 0,
) -> tuple[list[DatasetGroup], str | None]:
    """A page, newest first, and the marker of the next. name: part of it. template: 0 for all."""
    where: list[ColumnElement[bool]] = []
    if marker:
        first = await group(tx, owner, marker)
        where.append(DatasetGroup.id >= first.id if oldest_first else DatasetGroup.id <= first.id)
    if name:
        where.append(DatasetGroup.name.contains(name, autoescape=True))
    if template:
        of_it = select(Dataset.group_id).where(Dataset.template_type == template)
        where.append(DatasetGroup.id.in_(of_it))
    order = DatasetGroup.id if oldest_first else DatasetGroup.id.desc()
    rows = await tx.find(DatasetGroup, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def versions(
    tx: Tx,
    of: DatasetGroup,
    marker: str | None,
    size: int,
    oldest_first: bool,
    release: DataReleaseStatus | None = None,
) -> tuple[list[Dataset], str | None]:
    """A page of a dataset's versions, newest first, and the marker of the next."""
    where: list[ColumnElement[bool]] = [Dataset.group_id == of.id]
    if marker:
        first = await operations.get(tx, of.owner_id, marker)
        where.append(Dataset.id >= first.id if oldest_first else Dataset.id <= first.id)
    if release is not None:
        where.append(Dataset.release_status == release.value)
    order = Dataset.id if oldest_first else Dataset.id.desc()
    rows = await tx.find(Dataset, *where, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def newest(tx: Tx, of: DatasetGroup) -> tuple[Dataset | None, int]:
    """(the newest version, how many there are)."""
    return (
        await tx.maybe(Dataset, *_newest_of(of)),
        await tx.count(Dataset, Dataset.group_id == of.id),
    )


async def task_just_made(tx: Tx, owner: int, kind: str) -> Job:
    """The job that this transaction has enqueued: no other of the owner can be newer."""
    rows = await tx.find(Job, Job.kind == kind, owner=owner, order_by=Job.id.desc(), limit=1)
    return rows[0]


async def task(tx: Tx, owner: int, ident: Id, kind: str) -> Job:
    """An import or an export by its id. Raises Fault(NOT_FOUND) for any other job, too."""
    row = await tx.one(Job, ident, owner=owner, noun=f"{kind.split('.')[-1]} task")
    if row.kind != kind:
        raise Fault(errors.NOT_FOUND, f"{kind.split('.')[-1]} task {str(ident)[:60]} does not exist")
    return row


async def dataset_of(tx: Tx, row: Job) -> Dataset | None:
    """The version that a task works on; None when it was deleted."""
    return await tx.maybe(Dataset, Dataset.id == row.args["dataset_id"], owner=row.owner_id)


def template_of(word: str, known: dict[str, DataTemplateType], others: tuple[str, ...]) -> DataTemplateType:
    """The template of a dataFormat. Raises Fault for one that is not kept here."""
    template = known.get(word)
    if template is None:
        what = "is not kept by this platform" if word in others else "is unknown"
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[dataFormat] invalid: {word[:60]!r} {what}",
            f"use one of {', '.join(known)}",
        )
    return template
