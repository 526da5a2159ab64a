"""What can be done with augmentation tasks: create, look, list, stop, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select

from qianfan.contract import errors
from qianfan.contract.augmentation import DEV_APIS, CreateAugmentation
from qianfan.contract.bodies import Id
from qianfan.contract.enums import (
    AugmentationStatus,
    DataTemplateType,
)
from qianfan.contract.errors import Fault
from qianfan.contract.ids import as_number, random_word
from qianfan.contract.lifecycle import AUGMENTATION
from qianfan_platform import jobs
from qianfan_platform.datasets import filling
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.tables import Service
from qianfan_platform.store import Tx, utc_now

from .tables import AugmentSample, AugmentTask, AugmentTry

SLOT: Final = "augment"
TEMPLATES: Final = (DataTemplateType.NonSortedConversation.value, DataTemplateType.QuerySet.value)
WORDS: Final = AugmentationStatus
ASKED: Final = ("serviceName", "serviceUrl", "devApiId", "appId")
EXAMPLES: Final = 10  # dropped samples that a look at a task shows
_READ_AT_ONCE: Final = 500


async def create(platform: Platform, tx: Tx, owner: int, spec: CreateAugmentation) -> AugmentTask:
    """Have a service write more records after the pattern of one dataset into another. Raises Fault."""
    if spec["similarityThreshold"] == 0:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[similarityThreshold] invalid: no sample is below 0, so none would be kept",
            "send more than 0; 0.7 is usual",
        )
    wanted = (spec["sourceDatasetId"], spec["destDatasetId"])
    source, target = await filling.from_one_into_another(tx, owner, *wanted)
    for one in (source, target):
        _must_hold_questions(one)
    row = await tx.add(
        AugmentTask(
            owner_id=owner,
            public_id=f"task-{random_word(16)}",
            name=spec["name"],
            source_id=source.id,
            target_id=target.id,
            service=await _service(platform, tx, owner, spec),
            asked={name: spec[name] for name in ASKED if name in spec},
            few=spec["numSeedFewshot"],
            wanted=spec["numInstancesToGenerate"],
            threshold=spec["similarityThreshold"],
            entity_count=source.entity_count,
        )
    )
    await filling.begin(tx, target)
    await tell(tx, row, WORDS.Created)
    queued = await jobs.enqueue(tx, "augmentation.run", owner=owner, args={"task_id": row.id}, slot=SLOT)
    row.job_id = queued.id
    return row


def _must_hold_questions(dataset: Dataset) -> None:
    if dataset.template_type not in TEMPLATES:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"dataset {dataset.id} has the template {dataset.template_type}; augmentation writes questions",
            f"use datasets of the templates {' and '.join(map(str, TEMPLATES))}",
        )


async def _service(platform: Platform, tx: Tx, owner: int, spec: CreateAugmentation) -> str:
    """The endpoint, or the preset's name, that answers for what was sent. Raises Fault when nobody does."""
    named = [name for name in _names(spec) if name]
    if not named:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "neither serviceUrl, serviceName nor devApiId was sent",
            "say which service is to write: the endpoint of your own, or a model's name",
        )
    refused: Fault | None = None
    for name in named:
        if serving.preset(platform, name, "chat") is not None:
            return name
        by_name = await tx.maybe(Service, Service.name == name, owner=owner)
        for endpoint in (name, by_name.uri if by_name else ""):
            try:
                if endpoint:
                    await serving.deployed(platform, tx, owner, endpoint, "chat")
                    return endpoint
            except Fault as fault:
                refused = refused if refused and by_name is None else fault
    assert refused is not None
    raise refused


def _names(spec: CreateAugmentation) -> list[str]:
    """What may name the service: the endpoint at the end of the address first, then the name, then the number."""
    found = [endpoint_of(spec.get("serviceUrl", "")), spec.get("serviceName", "").strip()]
    number = spec.get("devApiId")
    if number is not None:
        known = DEV_APIS.get(as_number(number) or 0)
        if known is None:
            shown = ", ".join(f"{one} {name}" for one, name in DEV_APIS.items())
            raise Fault(
                errors.CONSOLE_PARAMETER, f"param[devApiId] invalid: {str(number)[:40]} is not known", shown
            )
        found.append(known)
    return found


def endpoint_of(address: str) -> str:
    """`eb-instant` of `https://…/wenxinworkshop/chat/eb-instant`, of `/chat/eb-instant` and of itself."""
    path = urlsplit(address.strip()).path.rstrip("/")
    return path.rsplit("/", 1)[-1]


async def get(tx: Tx, owner: int | None, ident: Id, *, lock: bool = False) -> AugmentTask:
    return await tx.one(AugmentTask, ident, owner=owner, lock=lock)


async def page(
    tx: Tx, owner: int, *, word: str = "", order: str = "", offset: int = 0, size: int = 10
) -> tuple[list[AugmentTask], int]:
    """(one page, how many there are). order: asc or desc by start time; "" by id, the first one first."""
    where = [func.instr(func.lower(AugmentTask.name), word.lower()) > 0] if word else []
    if word and tx.store.dialect != "sqlite":
        where = [func.strpos(func.lower(AugmentTask.name), word.lower()) > 0]
    # Ids are given in the order of start; times may be alike.
    by = AugmentTask.id.desc() if order == "desc" else AugmentTask.id.asc()
    rows = await tx.find(AugmentTask, *where, owner=owner, order_by=by, limit=size, offset=offset)
    return rows, await tx.count(AugmentTask, *where, owner=owner)


async def following(
    tx: Tx, owner: int, marker: str | None, size: int, oldest_first: bool
) -> tuple[list[AugmentTask], str | None]:
    """A page of V2, newest first, and the marker of the next."""
    where = []
    if marker:
        first = await get(tx, owner, marker)
        where.append(AugmentTask.id >= first.id if oldest_first else AugmentTask.id <= first.id)
    order = AugmentTask.id if oldest_first else AugmentTask.id.desc()
    rows = await tx.find(AugmentTask, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def stop(tx: Tx, owner: int, ident: Id) -> None:
    """End a task that is not over; its destination stays as it was. Once more is no error."""
    row = await get(tx, owner, ident, lock=True)
    if row.status == WORDS.Terminated:
        return
    await tx.move(row, AUGMENTATION, WORDS.Terminated, finished_at=utc_now(), reason="it was stopped")
    await filling.give_back(tx, row.target_id)
    await tell(tx, row, WORDS.Terminated)
    if row.job_id is not None:
        await jobs.cancel(tx, row.job_id)


async def delete(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete tasks with what is known of their samples; one that is running is stopped. The datasets stay."""
    for ident in dict.fromkeys(idents):
        row = await get(tx, owner, ident)
        if row.status in (WORDS.Created, WORDS.Running):
            await stop(tx, owner, row.id)
        for table in (AugmentSample, AugmentTry):
            await tx.execute(delete_rows(table).where(table.task_id == row.id))
        await tx.delete(row)


async def tell(tx: Tx, row: AugmentTask, status: AugmentationStatus) -> None:
    """Have both datasets say how their augmentation is."""
    for dataset in await both(tx, row):
        if dataset is not None:
            dataset.enhance_status = status.value
            dataset.enhanced = dataset.enhanced or status is WORDS.Finished


async def both(tx: Tx, row: AugmentTask) -> tuple[Dataset | None, Dataset | None]:
    """(source, destination) of a task; None for one that was deleted."""
    return (
        await tx.maybe(Dataset, Dataset.id == row.source_id),
        await tx.maybe(Dataset, Dataset.id == row.target_id),
    )


async def dropped(tx: Tx, row: AugmentTask) -> dict[str, int]:
    """How many samples were dropped, by the reason."""
    query = select(AugmentSample.why, func.count()).where(
        AugmentSample.task_id == row.id, AugmentSample.why != ""
    )
    return {str(why): int(count) for why, count in await tx.execute(query.group_by(AugmentSample.why))}


async def examples(tx: Tx, row: AugmentTask) -> list[AugmentSample]:
    """Some of the samples that were dropped last."""
    return await tx.find(
        AugmentSample,
        AugmentSample.task_id == row.id,
        AugmentSample.why != "",
        order_by=AugmentSample.id.desc(),
        limit=EXAMPLES,
    )


async def provenance(platform: Platform, task_id: int) -> AsyncIterator[dict[str, Any]]:
    """Every try of a task with what was read in it, in their order."""
    first = 0
    while True:
        async with platform.store.reading() as tx:
            window = (first, first + _READ_AT_ONCE)
            tries = await tx.find(
                AugmentTry,
                AugmentTry.task_id == task_id,
                AugmentTry.number >= window[0],
                AugmentTry.number < window[1],
                order_by=AugmentTry.number,
            )
            samples = await tx.find(
                AugmentSample,
                AugmentSample.task_id == task_id,
                AugmentSample.number >= window[0],
                AugmentSample.number < window[1],
                order_by=(AugmentSample.number, AugmentSample.place),
            )
        if not tries:
            return
        for one in tries:
            yield {
                "try": one.number,
                "seedLines": one.seeds,
                "words": one.words,
                "said": one.said,
                "error": one.error,
                "samples": [shown(sample) for sample in samples if sample.number == one.number],
            }
        first += _READ_AT_ONCE


def shown(sample: AugmentSample) -> dict[str, Any]:
    """A sample as the interface tells of it."""
    return {
        "try": sample.number,
        "place": sample.place,
        "prompt": sample.prompt,
        "answer": sample.answer,
        "kept": not sample.why,
        "why": sample.why,
        "detail": sample.detail,
        "rougeL": sample.score,
        "nearest": sample.nearest,
    }


async def error_of_a_try(tx: Tx, row: AugmentTask) -> str:
    """Why the model said nothing to one of the prompts, "" when it answered all."""
    one = await tx.maybe(AugmentTry, AugmentTry.task_id == row.id, AugmentTry.error != "")
    return one.error if one else ""


async def waiting(tx: Tx, row: AugmentTask) -> str:
    """Why a task has not begun, "" when it has."""
    if row.status != WORDS.Created or row.job_id is None:
        return ""
    found = await jobs.waiting(tx, row.job_id)
    return found["why"] if found else ""
