"""Single entities of a dataset: what they are called, one page of them, their annotation, their deletion.

An entity has a number, its place among all that were ever imported into the dataset; no other ever gets it. Its id
is made of the dataset and the number, so it holds through annotations, deletions of others and new contents.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import select

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import DataTemplateType
from qianfan.contract.errors import Fault
from qianfan.dataset import schemas
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now

from . import pictures
from .contents import TRIES, gaps_of, replaced_too_often
from .filling import after_exports, must_be_open
from .index import DatasetIndex, indexes_of, is_annotated
from .tables import Dataset, EntityChange

MOST_TURNS: Final = 10  # of a conversation that is annotated
CONVERSATIONS: Final = (
    DataTemplateType.NonSortedConversation,
    DataTemplateType.SortedConversation,
    DataTemplateType.PromptChosenRejected,
)


@dataclass(frozen=True)
class Entity:
    """One record. row: as the template has it. revision: of its last change, 0 where there was none."""

    id: str
    number: int
    row: Any
    revision: int = 0

    @property
    def line(self) -> bytes:
        """The record as it stands in the content, without the line break."""
        return orjson.dumps(self.row)


def id_of(dataset: Dataset, number: int) -> str:
    """`<64 hex>_<32 hex>`, always the same for one entity."""
    name = dataset.public_id
    digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    return f"{digest}_{number ^ _mask(name):032x}"


def number_of(dataset: Dataset, ident: str) -> int | None:
    """The number in an id, None for what is no id of this dataset."""
    try:
        number = int(ident.partition("_")[2], 16) ^ _mask(dataset.public_id)
    except ValueError:
        return None
    return number if 0 <= number < 2**63 and id_of(dataset, number) == ident else None


def _mask(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")


async def content_of(platform: Platform, dataset: Dataset) -> DatasetIndex | None:
    """The index of the content, made when it is not there; None for an empty dataset, or one that was replaced."""
    if dataset.file_id is None:
        return None
    try:
        content = await platform.files.local(dataset.file_id)
    except Fault as fault:
        if fault.row is errors.NOT_FOUND:
            return None
        raise
    return await indexes_of(platform).of(dataset.file_id, content)


async def entity(platform: Platform, owner: int | None, ident: Id, entity_id: str) -> tuple[Dataset, Entity]:
    """One entity as it is now. Raises Fault(NOT_FOUND)."""
    dataset, found = await _found(platform, owner, ident, [entity_id])
    if not found:
        raise Fault(
            errors.NOT_FOUND,
            f"entity {entity_id[:100]} does not exist in dataset {dataset.id}",
            "list the entities again; this one may have been deleted",
        )
    return dataset, found[0]


async def annotate(
    platform: Platform,
    owner: int,
    ident: Id,
    entity_id: str,
    *,
    content: list[dict[str, Any]] | None = None,
    labels: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Put `content` in the place of a conversation, or `labels` on a picture; content wins. Raises Fault."""
    for _ in range(TRIES):
        dataset, old = await entity(platform, owner, ident, entity_id)
        new = Entity(old.id, old.number, _annotated(dataset, old, content, labels))
        async with platform.store.transaction() as tx:
            now = await _unchanged(tx, owner, dataset, [old])
            if now is None:
                continue
            moment = _count(now, [old], [new])
            (change,) = await _over(tx, now, [old.number])
            change.content, change.annotated = new.row, is_annotated(new.row)
            change.annotated_at = moment if change.annotated else None
            return
    raise replaced_too_often(dataset.id)


async def delete(platform: Platform, owner: int, ident: Id, entity_ids: Sequence[str]) -> list[str]:
    """Delete entities; returns the ids that this dataset does not have. Raises Fault for a frozen dataset."""
    wanted = list(dict.fromkeys(entity_ids))
    for _ in range(TRIES):
        dataset, found = await _found(platform, owner, ident, wanted)
        must_be_open(dataset)
        known = {one.id for one in found}
        failed = [one for one in wanted if one not in known]
        if not found:
            return failed
        async with platform.store.transaction() as tx:
            now = await _unchanged(tx, owner, dataset, found)
            if now is None:
                continue
            _count(now, found, [])
            for change in await _over(tx, now, [one.number for one in found]):
                change.content, change.deleted, change.annotated_at = None, True, None
            return failed
    raise replaced_too_often(dataset.id)


async def _found(
    platform: Platform, owner: int | None, ident: Id, entity_ids: Sequence[str]
) -> tuple[Dataset, list[Entity]]:
    """The dataset, and those of the entities that it has."""
    for _ in range(TRIES):
        async with platform.store.reading() as tx:
            dataset = await tx.one(Dataset, ident, owner=owner)
            numbers = [n for one in entity_ids if (n := number_of(dataset, one)) is not None]
            gaps = await gaps_of(tx, dataset)
            changes = {change.number: change for change in await _changes(tx, dataset, numbers)}
        content = await content_of(platform, dataset)
        if content is not None:
            rows = await asyncio.to_thread(rows_of, content, gaps, changes, numbers)
        if await is_still(platform, dataset):
            break
    else:
        raise replaced_too_often(dataset.id)
    if content is None:
        return dataset, []
    revisions = {number: change.revision for number, change in changes.items()}
    return dataset, [
        Entity(id_of(dataset, number), number, row, revisions.get(number, 0))
        for number, row in zip(numbers, rows, strict=True)
        if row is not None
    ]


async def is_still(platform: Platform, dataset: Dataset) -> bool:
    """Whether the content that was looked at is still that of the dataset."""
    async with platform.store.reading() as tx:
        now = await tx.maybe(Dataset, Dataset.id == dataset.id)
    return now is not None and now.file_id == dataset.file_id


def rows_of(
    content: DatasetIndex, gaps: Sequence[int], changes: Mapping[int, Any], numbers: Sequence[int]
) -> list[Any]:
    """The records with these numbers, None for one that is not there. changes: with `deleted` and `content`."""
    found: list[Any] = []
    for number in numbers:
        change = changes.get(number)
        before = bisect_left(gaps, number)
        gone = before < len(gaps) and gaps[before] == number
        if gone or number - before >= len(content) or (change is not None and change.deleted):
            found.append(None)
        elif change is not None and change.content is not None:
            found.append(change.content)
        else:
            found.append(orjson.loads(content.lines([number - before])[0]))
    return found


async def _changes(tx: Tx, dataset: Dataset, numbers: Sequence[int]) -> list[Any]:
    """(number, deleted, content, revision) of these entities, where something became of them."""
    query = select(
        EntityChange.number, EntityChange.deleted, EntityChange.content, EntityChange.revision
    ).where(EntityChange.dataset_id == dataset.id, EntityChange.number.in_(numbers))
    return list(await tx.execute(query)) if numbers else []


async def _unchanged(tx: Tx, owner: int, seen: Dataset, found: Sequence[Entity]) -> Dataset | None:
    """The dataset, locked, with a new revision; None when it or one of the entities is not as it was seen."""
    now = await tx.one(Dataset, seen.id, owner=owner, lock=True)
    must_be_open(now)
    if now.file_id != seen.file_id:
        return None
    revisions = {
        change.number: change.revision for change in await _changes(tx, now, [e.number for e in found])
    }
    if any(revisions.get(one.number, 0) != one.revision for one in found):
        return None
    now.changes += 1
    return now


async def _over(tx: Tx, dataset: Dataset, numbers: Sequence[int]) -> list[EntityChange]:
    """The rows of these entities, over the content from now on."""
    found = await tx.find(
        EntityChange, EntityChange.dataset_id == dataset.id, EntityChange.number.in_(numbers)
    )
    known = {change.number for change in found}
    new = [EntityChange(dataset_id=dataset.id, number=number) for number in numbers if number not in known]
    tx.session.add_all(new)
    for change in (*found, *new):
        change.baked, change.revision = False, dataset.changes
    return [*found, *new]


def _annotated(
    dataset: Dataset,
    old: Entity,
    content: list[dict[str, Any]] | None,
    labels: Sequence[Mapping[str, Any]] | None,
) -> Any:
    """The record with the annotation. Raises Fault for one that does not fit the template."""
    must_be_open(dataset)
    template = DataTemplateType(dataset.template_type)
    what = f"dataset {dataset.id} has the template {template.value}"
    if content:
        if template not in CONVERSATIONS:
            raise Fault(errors.CONSOLE_PARAMETER, f"{what}, which takes no content", "annotate conversations")
        if len(content) > MOST_TURNS:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[content] invalid: it has {len(content)} turns",
                f"an annotation has at most {MOST_TURNS}",
            )
        problem = schemas.check_row(content, template, old.number + 1, dataset.name)
        if problem is not None:
            raise Fault(errors.CONSOLE_PARAMETER, f"param[content] invalid: {problem.what}", problem.fix)
        return content
    if not labels:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "the annotation is empty",
            "send content for a conversation, labels for a picture",
        )
    if template is not DataTemplateType.Text2Image:
        raise Fault(errors.CONSOLE_PARAMETER, f"{what}, which takes no labels", "send content")
    return pictures.labelled(old.row, labels)


def _count(dataset: Dataset, old: Sequence[Entity], new: Sequence[Entity]) -> datetime:
    """Let the figures of the dataset follow; returns the moment of the change."""
    for sign, some in ((-1, old), (1, new)):
        for one in some:
            line = one.line
            dataset.entity_count += sign
            dataset.annotated_count += sign * is_annotated(one.row)
            dataset.character_count += sign * len(line.decode())
            dataset.size_bytes += sign * (len(line) + 1)
            dataset.label_count += sign * labels_in(one.row)
    dataset.content_at = after_exports(dataset)
    return utc_now()


def labels_in(row: Any) -> int:
    """How many labels a record has."""
    return len(pictures.labels_of(row)) if isinstance(row, dict) else 0
