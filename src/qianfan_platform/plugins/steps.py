"""Durable work on documents: fetched, split, embedded. A killed server goes on with the next few chunks."""

from __future__ import annotations

import asyncio
import shutil
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, insert, update

from qianfan.contract import errors
from qianfan.contract.enums import DocumentStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import KNOWLEDGE_DOCUMENT
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.files.addresses import Allow
from qianfan_platform.files.fetch import fetch
from qianfan_platform.inference import operations as inference
from qianfan_platform.jobs import Retry, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import chunks, knowledge, operations, reading
from .tables import Chunk, Document

BATCH: Final = 16  # texts embedded at once
FETCH_TIMEOUT_S: Final = 120.0
PATIENCE_S: Final = 10.0  # between attempts while the account's quota is used up, or nobody is free


async def _failed(step: Step, error: BaseException, *, document_id: int) -> None:
    async with step.transaction() as tx:
        document = await tx.maybe(Document, Document.id == document_id)
        if document is None:  # deleted meanwhile
            return
        await tx.execute(delete(Chunk).where(Chunk.document_id == document_id))
        await tx.move(
            document, KNOWLEDGE_DOCUMENT, DocumentStatus.Fail, reason=reason_of(error), chunk_count=0
        )


@job("plugins.index", on_failure=_failed)
async def index(step: Step, *, document_id: int) -> None:
    """Read a document, cut it, embed its chunks; it can be found when all of it is there."""
    platform: Platform = step.platform
    await step.write("begin", _begin, document_id)
    file_id = await step(
        "fetch", _fetch, platform, document_id, platform.settings.work / f"doc-{step.job_id}"
    )
    async with platform.store.reading() as tx:
        document = await tx.one(Document, document_id)
    if not document.chunk_count:
        path = await platform.files.local(file_id)
        pieces, length = await asyncio.to_thread(_pieces, path, document.name, document.format)
        await step.write("split", _insert, document_id, file_id, pieces, length)
    caller = Caller(step.owner, "", "iam")
    answering = operations.embedder(platform)
    while True:
        step.check()
        async with platform.store.reading() as tx:
            rows = await tx.find(Chunk, Chunk.document_id == document_id, Chunk.vector.is_(None), limit=BATCH)
        if not rows:
            break
        try:
            vectors = await inference.embed(platform, caller, answering, [row.text for row in rows])
        except Fault as fault:
            if fault.row.code in errors.PASSING:
                raise Retry(PATIENCE_S, fault.text) from fault
            raise
        async with step.transaction() as tx:
            for row, vector in zip(rows, vectors.rows, strict=True):
                packed = knowledge.packed(vector, "<f4")
                await tx.execute(update(Chunk).where(Chunk.id == row.id).values(vector=packed))
    async with step.transaction(last=True) as tx:
        document = await tx.one(Document, document_id)
        await tx.move(document, KNOWLEDGE_DOCUMENT, DocumentStatus.Done, embedder=answering.want.entry)
        await operations.changed(tx, document.base_id)


async def _begin(tx: Tx, document_id: int) -> None:
    document = await tx.one(Document, document_id)
    await tx.move(document, KNOWLEDGE_DOCUMENT, DocumentStatus.Running)


async def _fetch(platform: Platform, document_id: int, scratch: Path) -> str:
    """Where the document's bytes are kept: as they were given, or fetched now."""
    async with platform.store.reading() as tx:
        document = await tx.one(Document, document_id)
    if document.file_id is not None:
        return document.file_id
    try:
        path = await fetch(
            document.url,
            scratch,
            allow=Allow.parse(platform.settings.allow_fetch),
            limit_bytes=reading.MAX_BYTES,
            timeout_s=FETCH_TIMEOUT_S,
        )
        kept = await platform.files.put_path(path, name=document.name, move=True, owner=document.owner_id)
    finally:
        await asyncio.to_thread(_remove, scratch)
    return kept.id


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def _pieces(path: Path, name: str, given: str) -> tuple[list[dict[str, Any]], int]:
    """The chunks of a document, and how many characters it has."""
    if path.stat().st_size > reading.MAX_BYTES:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"{name!r} is larger than {reading.MAX_BYTES} bytes",
            "split it into several documents",
        )
    text = reading.text_of(path.read_bytes(), name, given)
    found = list(islice(chunks.split(text), chunks.MAX_CHUNKS + 1))
    if len(found) > chunks.MAX_CHUNKS:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"{name!r} has more than {chunks.MAX_CHUNKS} chunks",
            "split it into several documents",
        )
    rows = [
        {"number": number, "text": piece, "terms": knowledge.packed(knowledge.terms(piece), "<u4")}
        for number, piece in enumerate(found)
    ]
    return rows, len(text)


async def _insert(
    tx: Tx, document_id: int, file_id: str, pieces: list[dict[str, Any]], characters: int
) -> int:
    document = await tx.one(Document, document_id)
    where = {"document_id": document_id, "base_id": document.base_id, "vector": None}
    await tx.execute(insert(Chunk), [{**where, **piece} for piece in pieces])
    document.file_id, document.chunk_count, document.character_count = file_id, len(pieces), characters
    return len(pieces)
