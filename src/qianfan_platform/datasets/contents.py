"""What a dataset holds now: its content, and the changes of single entities that lie over it.

An annotation or a deletion is a row (`EntityChange`); the content, a file that never changes, stays as it is.
Before the content is read as a whole, `settled` bakes the rows into a new one.
"""

from __future__ import annotations

import asyncio
import shutil
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import orjson
from sqlalchemy import select, update

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.errors import Fault
from qianfan_platform.files.reference import derived_id
from qianfan_platform.platform import Platform
from qianfan_platform.store import Store, Tx

from .freeing import free
from .index import DatasetIndex, derive, indexes_of
from .tables import Dataset, EntityChange

PIECE: Final = 1 << 20  # bytes copied at once
TRIES: Final = 5  # times a content may be replaced while it is looked at
KEPT: Final = 8  # datasets whose gaps are kept in memory
BAKED_OUT: Final = (EntityChange.baked.is_(True), EntityChange.deleted.is_(True))
_gaps: WeakKeyDictionary[Store, dict[str, list[int]]] = WeakKeyDictionary()
_turns: WeakValueDictionary[tuple[int, int], asyncio.Lock] = WeakValueDictionary()


async def settled(platform: Platform, dataset_id: Id) -> Dataset:
    """The dataset, with every change that was made until now baked into its content. Not inside a transaction.

    May be called again and at any time: the new content, and that the changes are in it, are one commit. The
    content that it takes the place of is freed. modifyTime stays, for nothing is different to a reader."""
    async with platform.store.reading() as tx:
        number = (await tx.one(Dataset, dataset_id, noun="dataset")).id
    async with _turn(platform, number):
        for _ in range(TRIES):
            async with platform.store.reading() as tx:
                dataset = await tx.one(Dataset, number, noun="dataset")
                changes = await _unbaked(tx, dataset)
                gaps = await gaps_of(tx, dataset)
            if not changes or dataset.file_id is None:
                return dataset
            if (done := await _baked(platform, dataset, changes, gaps)) is not None:
                return done
    raise replaced_too_often(number)


def replaced_too_often(dataset_id: int) -> Fault:
    """The content changed under every look at it."""
    return Fault(
        errors.WRONG_STATE, f"the content of dataset {dataset_id} is being replaced all the time", "try again"
    )


async def gaps_of(tx: Tx, dataset: Dataset) -> list[int]:
    """Numbers of entities that are gone from the content, ascending. They are as long-lived as its file."""
    kept = _gaps.setdefault(tx.store, {})
    file_id = dataset.file_id or ""
    if (found := kept.get(file_id)) is None:
        query = select(EntityChange.number).where(EntityChange.dataset_id == dataset.id, *BAKED_OUT)
        found = [number for (number,) in await tx.execute(query.order_by(EntityChange.number))]
        if await tx.count(Dataset, Dataset.id == dataset.id, Dataset.file_id == dataset.file_id):
            while len(kept) >= KEPT:
                kept.pop(next(iter(kept)))
            kept[file_id] = found
    return found


async def _unbaked(tx: Tx, dataset: Dataset) -> list[Any]:
    """(number, deleted, content) of what lies over the content, ascending."""
    query = select(EntityChange.number, EntityChange.deleted, EntityChange.content).where(
        EntityChange.dataset_id == dataset.id,
        EntityChange.baked.is_(False),
        EntityChange.revision <= dataset.changes,
    )
    return list(await tx.execute(query.order_by(EntityChange.number)))


async def _baked(
    platform: Platform, dataset: Dataset, changes: Sequence[Any], gaps: Sequence[int]
) -> Dataset | None:
    """Write the new content and put it in place; None when somebody else has put one there meanwhile."""
    assert dataset.file_id is not None
    content = await platform.files.local(dataset.file_id)
    # Named after what is baked: whoever comes after a crash finds what was begun, and removes it.
    scratch = platform.settings.work / f"settle-{dataset.id}"
    ident = derived_id(f"{dataset.public_id} settled from {dataset.file_id}")
    indexes = indexes_of(platform)
    index = await indexes.of(dataset.file_id, content)
    over = {number - bisect_left(gaps, number): None if deleted else row for number, deleted, row in changes}
    await platform.files.delete(ident)
    indexes.forget(ident)
    try:
        whole = await asyncio.to_thread(_bake, index, over, scratch)
        kept = await platform.files.put_path(whole, name=f"{dataset.public_id}.jsonl", move=True, ident=ident)
        await asyncio.to_thread(derive, index, over, indexes.place(ident))
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    async with platform.store.transaction() as tx:
        now = await tx.maybe(Dataset, Dataset.id == dataset.id, lock=True)
        if now is not None and now.file_id == dataset.file_id:
            await free(tx, now.owner_id, now.file_id)
            now.file_id, now.size_bytes = kept.id, kept.size
            await tx.execute(
                update(EntityChange)
                .where(EntityChange.dataset_id == dataset.id, EntityChange.baked.is_(False))
                .where(EntityChange.revision <= dataset.changes)  # what came since lies over the new content
                .values(baked=True, content=None),
                execution_options={"synchronize_session": False},
            )
            return now
    await platform.files.delete(kept.id)
    indexes.forget(kept.id)
    return None


def _bake(index: DatasetIndex, over: Mapping[int, Any], scratch: Path) -> Path:
    """The content with the changes in it, as a file; what lies between two changes is copied as it is."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    target = scratch / "rows.jsonl"
    at = 0  # bytes of the content that are done
    with index.content.open("rb") as content, target.open("wb") as out:
        for position in sorted(over):
            _copy(content, out, at, int(index.begins[position]))
            if over[position] is not None:
                out.write(orjson.dumps(over[position]) + b"\n")
            at = int(index.begins[position + 1])
        _copy(content, out, at, int(index.begins[-1]))
    return target


def _copy(content: BinaryIO, out: BinaryIO, begin: int, end: int) -> None:
    content.seek(begin)
    while begin < end:
        piece = content.read(min(PIECE, end - begin))
        if not piece:
            raise EOFError("the content ends before its index does")
        begin += out.write(piece)


@asynccontextmanager
async def _turn(platform: Platform, number: int) -> AsyncIterator[None]:
    """One at a time for each dataset of this server."""
    lock = _turns.setdefault((id(platform.store), number), asyncio.Lock())
    async with lock:
        yield
