"""One page of the entities of a dataset, of any size, under any of the documented filters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import not_, select

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.entities import PAGE
from qianfan.contract.enums import EntityListingType
from qianfan.contract.errors import Fault
from qianfan.dataset.operators import figures, fluency
from qianfan_platform.platform import Platform

from . import pictures
from .contents import BAKED_OUT, TRIES, gaps_of, replaced_too_often
from .entities import Entity, content_of, id_of, is_still, rows_of
from .index import DatasetIndex, label_number
from .tables import Dataset, EntityChange

MEASURED: Final = 20_000  # characters of a text that its figures are of
USUAL: Final = 20  # entities of a page


@dataclass(frozen=True)
class Wanted:
    """Which entities. imported and annotated: (from, to) in milliseconds, inclusive. labels: any of these."""

    tab: EntityListingType = EntityListingType.All
    imported: tuple[int, int] | None = None
    annotated: tuple[int, int] | None = None
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Wanted:
        """From the body of entity/list. Raises Fault naming what is wrong."""
        try:
            tab = EntityListingType(body.get("tabType", 0))
        except ValueError:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[tabType] invalid: {body['tabType']}",
                "0 all, 1, 2 not annotated",
            ) from None
        labels = tuple(part for one in body.get("labelId", "").split(",") if (part := one.strip()))
        return cls(tab, _closure(body, "importTime"), _closure(body, "annoTime"), labels)


def _closure(body: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    times = body.get(name)
    if not times:
        return None
    if len(times) != 2 or times[0] > times[1]:
        raise Fault(
            errors.CONSOLE_PARAMETER, f"param[{name}] invalid: {times}", "give [from, to] in milliseconds"
        )
    return times[0], times[1]


@dataclass(frozen=True)
class Page:
    """total_all: in the dataset. total: of those that are wanted."""

    dataset: Dataset
    total_all: int
    total: int
    entities: list[Entity]


async def page(
    platform: Platform, owner: int, ident: Id, wanted: Wanted, offset: int = 0, size: int = USUAL
) -> Page:
    """One page, in the order of the import. size: above 30 counts as 30."""
    for _ in range(TRIES):
        async with platform.store.reading() as tx:
            dataset = await tx.one(Dataset, ident, owner=owner, noun="dataset")
            gaps = await gaps_of(tx, dataset)
            query = select(
                EntityChange.number,
                EntityChange.deleted,
                EntityChange.annotated,
                EntityChange.annotated_at,
                EntityChange.baked,
            ).where(EntityChange.dataset_id == dataset.id, not_(BAKED_OUT[0] & BAKED_OUT[1]))
            marks = list(await tx.execute(query.order_by(EntityChange.number)))
            labelled = await _labelled(tx, dataset) if wanted.labels else {}
        content = await content_of(platform, dataset)
        if content is not None:
            total_all, found = await asyncio.to_thread(
                _matching, dataset, content, gaps, marks, labelled, wanted
            )
            numbers = [int(one) for one in found[offset : offset + min(size, PAGE)]]
            async with platform.store.reading() as tx:
                over = {
                    change.number: change
                    for change in await tx.find(
                        EntityChange, EntityChange.dataset_id == dataset.id, EntityChange.number.in_(numbers)
                    )
                }
            rows = await asyncio.to_thread(rows_of, content, gaps, over, numbers)
        if await is_still(platform, dataset):
            break
    else:
        raise replaced_too_often(dataset.id)
    if content is None:
        return Page(dataset, 0, 0, [])
    entities = [
        Entity(id_of(dataset, number), number, row)
        for number, row in zip(numbers, rows, strict=True)
        if row is not None
    ]
    return Page(dataset, total_all, len(found), entities)


async def _labelled(tx: Any, dataset: Dataset) -> dict[int, Any]:
    """Records that lie over the content, by number."""
    query = select(EntityChange.number, EntityChange.content).where(
        EntityChange.dataset_id == dataset.id, EntityChange.baked.is_(False), EntityChange.deleted.is_(False)
    )
    return dict(list(await tx.execute(query)))


def _matching(
    dataset: Dataset,
    content: DatasetIndex,
    gaps: Sequence[int],
    marks: Sequence[Any],
    labelled: Mapping[int, Any],
    wanted: Wanted,
) -> tuple[int, Any]:
    """(how many there are, the numbers of those that are wanted, ascending); a few passes over arrays."""
    import numpy

    total = len(content) + len(gaps)
    there = numpy.ones(total, bool)
    there[numpy.asarray(gaps, int)] = False
    numbers = numpy.flatnonzero(there)  # of the records of the content
    annotated = numpy.zeros(total, bool)
    annotated[numbers] = content.annotated
    for mark in marks:
        if mark.deleted:
            there[mark.number] = False
        elif not mark.baked:
            annotated[mark.number] = mark.annotated
    keep = there.copy()
    if wanted.tab is not EntityListingType.All:
        keep &= annotated if wanted.tab is EntityListingType.AnnotatedOnly else ~annotated
    if wanted.imported is not None:
        keep &= _imported(dataset, total, *wanted.imported)
    if wanted.annotated is not None:
        begin, end = wanted.annotated
        # What came annotated was annotated when it came.
        at_import = annotated & _imported(dataset, total, begin, end)
        for mark in marks:
            if mark.annotated_at is not None:
                at_import[mark.number] = begin <= _milliseconds(mark.annotated_at) <= end
        keep &= at_import
    if wanted.labels:
        chosen = numpy.asarray([label_number(one) for one in wanted.labels])
        has = numpy.zeros(total, bool)
        has[numbers[content.labelled[numpy.isin(content.labels, chosen)]]] = True
        for number, row in labelled.items():
            has[number] = any(label["label_id"] in wanted.labels for label in pictures.labels_of(row))
        keep &= has
    return int(there.sum()), numpy.flatnonzero(keep)


def _imported(dataset: Dataset, total: int, begin: int, end: int) -> Any:
    """Which numbers were imported between two moments. The newest batch holds the last numbers, and so on back;
    what is in no batch came when the dataset was made."""
    import numpy

    came = numpy.zeros(total, bool)
    last = total
    for batch in reversed(dataset.batches):
        first = max(0, last - batch["entities"])
        came[first:last] = begin <= _milliseconds(datetime.fromisoformat(batch["at"])) <= end
        last = first
    came[:last] = begin <= _milliseconds(dataset.created_at) <= end
    return came


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def figures_of(text: str) -> dict[str, Any]:
    """The figures that cleaning looks at, of the first 20,000 characters of a text."""
    text = text[:MEASURED]
    return {
        "domainType": "",
        "taskType": "",
        "wordNum": int(figures.word_number(text)),
        "repetitiveCharRatio": round(figures.character_repetition(text), 6),
        "specialCharRatio": round(figures.special_characters(text), 6),
        "flaggedWordRatio": round(figures.flagged_words(text), 6),
        "langProb": round(fluency.language(text)[1], 6),
        "perplexity": round(fluency.perplexity(text), 6),
    }
