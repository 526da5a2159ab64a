"""Finding what documents say about a question: nearness of meaning, and words in common.

Every chunk is looked at: a scan is exact, and quick enough up to about 100 000 chunks of an account (tens of
milliseconds, some two kilobytes of memory for each chunk). The vectors and words of a knowledge base are kept
in memory while it is asked, and read anew when its `revision` has changed.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import select

from qianfan.contract import errors
from qianfan.contract.enums import DocumentStatus
from qianfan.contract.errors import Fault
from qianfan_platform.store import Store, Tx

from .tables import Chunk, Document, KnowledgeBase

if TYPE_CHECKING:
    import numpy as np

MEANING: Final = 0.7  # weight of nearness; the rest is the words in common
MEMORY: Final = 512 * 1024 * 1024  # bytes of all knowledge bases kept
_PAGE: Final = 2000  # rows read at once, so that others have their turn between
_WORD: Final = re.compile(
    r"[a-z0-9]+(?:[._-][a-z0-9]+)*|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_EVERYDAY: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "did",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "how",
        "i",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "of",
        "on",
        "or",
        "the",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)


@dataclass(frozen=True)
class Hit:
    """A chunk that was found. score: 0 to 1."""

    text: str
    score: float
    number: int  # of the chunk in its document, from 0
    chunk_id: int
    document_id: str
    document_name: str
    base_id: str
    base_name: str


def terms(text: str) -> list[int]:
    """The words of a text as 32-bit hashes, each once, sorted: Latin words, and pairs of Chinese characters."""
    found: set[str] = set()
    for run in _WORD.findall(text.lower()):
        if run.isascii():
            found.add(run)
        else:
            found.update([run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)])
    return sorted({zlib.crc32(word.encode()) for word in found - _EVERYDAY})


def packed(numbers: Iterable[float], kind: str) -> bytes:
    """Numbers as the database keeps them: `<f4` for vectors, `<u4` for terms."""
    import numpy as np

    return np.asarray(list(numbers), dtype=kind).tobytes()


@dataclass(frozen=True)
class Shelf:
    """The chunks of one knowledge base, ready to be scanned."""

    revision: int
    ids: np.ndarray[Any, Any]  # (chunks,) int64
    vectors: np.ndarray[Any, Any]  # (chunks, dimensions) float32
    words: np.ndarray[Any, Any]  # all terms of all chunks, after one another
    starts: np.ndarray[Any, Any]  # (chunks,) where each chunk's terms begin

    @classmethod
    def of(cls, revision: int, rows: Sequence[tuple[int, bytes, bytes]]) -> Shelf:
        """rows: id, vector, terms."""
        import numpy as np

        lengths = [len(row[2]) // 4 for row in rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1] if rows else np.zeros(0, dtype=np.int64)
        vectors = np.frombuffer(b"".join(row[1] for row in rows), dtype="<f4")
        return cls(
            revision,
            np.array([row[0] for row in rows], dtype=np.int64),
            vectors.reshape(len(rows), -1) if rows else np.zeros((0, 1), dtype="<f4"),
            np.frombuffer(b"".join(row[2] for row in rows), dtype="<u4"),
            starts,
        )

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.vectors.nbytes + self.words.nbytes + self.ids.nbytes + self.starts.nbytes)

    def holding(self, term: int) -> np.ndarray[Any, Any]:
        """Positions of the chunks that have a term."""
        import numpy as np

        return np.searchsorted(self.starts, np.flatnonzero(self.words == term), side="right") - 1


def rank(
    shelves: Sequence[Shelf], vector: Sequence[float], wanted: Sequence[int], most: int, floor: float
) -> list[tuple[int, float]]:
    """(chunk id, score 0 to 1) of the best `most` chunks that score at least `floor`, best first.

    score = 0.7 × cosine + 0.3 × share of the question's words that the chunk has, rare words counting more."""
    import numpy as np

    shelves = [shelf for shelf in shelves if len(shelf.ids)]
    if not shelves:
        return []
    question = np.asarray(vector, dtype=np.float32)
    total = sum(len(shelf.ids) for shelf in shelves)
    places = [[shelf.holding(term) for term in wanted] for shelf in shelves]
    counts = [sum(len(place[number]) for place in places) for number in range(len(wanted))]
    rarity = [float(np.log(1 + total / (1 + count))) for count in counts]
    whole = sum(rarity) or 1.0
    found: list[tuple[int, float]] = []
    for shelf, place in zip(shelves, places, strict=True):
        near = np.clip(shelf.vectors @ question, 0.0, 1.0)
        words = np.zeros(len(shelf.ids), dtype=np.float32)
        for weight, rows in zip(rarity, place, strict=True):
            words[rows] += weight / whole
        scores = MEANING * near + (1 - MEANING) * words
        best = np.argsort(-scores, kind="stable")[:most]
        found += [(int(shelf.ids[i]), float(scores[i])) for i in best if scores[i] >= floor]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:most]


class Shelves:
    """The knowledge bases that were asked lately, the newest last."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._kept: OrderedDict[int, Shelf] = OrderedDict()

    async def get(self, tx: Tx, base: KnowledgeBase) -> Shelf:
        """What of `base` can be found now."""
        shelf = self._kept.get(base.id)
        if shelf is None or shelf.revision != base.revision:
            shelf = await asyncio.to_thread(Shelf.of, base.revision, await _rows(tx, base.id))
        self._kept[base.id] = shelf
        self._kept.move_to_end(base.id)
        while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._memory:
            self._kept.popitem(last=False)
        return shelf


_shelves: WeakKeyDictionary[Store, Shelves] = WeakKeyDictionary()


async def _rows(tx: Tx, base_id: int) -> list[tuple[int, bytes, bytes]]:
    rows: list[tuple[int, bytes, bytes]] = []
    last = 0
    while True:
        query = (
            select(Chunk.id, Chunk.vector, Chunk.terms)
            .join(Document, Document.id == Chunk.document_id)
            .where(Chunk.base_id == base_id, Document.status == DocumentStatus.Done.value, Chunk.id > last)
            .order_by(Chunk.id)
            .limit(_PAGE)
        )
        page = [tuple(row) for row in await tx.execute(query)]
        rows += page
        if len(page) < _PAGE:
            return rows
        last = page[-1][0]


async def _same_embedder(tx: Tx, bases: Sequence[KnowledgeBase], embedder: str) -> None:
    other = await tx.maybe(
        Document,
        Document.base_id.in_([base.id for base in bases]),
        Document.status == DocumentStatus.Done.value,
        Document.embedder != embedder,
    )
    if other is not None:
        raise Fault(
            errors.WRONG_STATE,
            f"the document {other.public_id} was embedded by {other.embedder}, and {embedder} embeds now",
            "delete it and add it again, or change the catalogue back",
        )


async def search(
    tx: Tx,
    bases: Sequence[KnowledgeBase],
    question: str,
    vector: Sequence[float],
    embedder: str,
    most: int,
    floor: float,
) -> list[Hit]:
    """The best chunks of these knowledge bases, best first. embedder: what made `vector`.

    Raises Fault when something else made the vectors of a document: they cannot be compared."""
    await _same_embedder(tx, bases, embedder)
    shelves = _shelves.setdefault(tx.store, Shelves())
    loaded = [await shelves.get(tx, base) for base in bases]
    best = await asyncio.to_thread(rank, loaded, vector, terms(question), most, floor)
    query = (
        select(Chunk, Document.public_id, Document.name, KnowledgeBase.public_id, KnowledgeBase.name)
        .join(Document, Document.id == Chunk.document_id)
        .join(KnowledgeBase, KnowledgeBase.id == Chunk.base_id)
        .where(Chunk.id.in_([ident for ident, _ in best]))
    )
    rows = {row[0].id: row for row in await tx.execute(query)}
    hits = []
    for ident, score in best:
        if ident in rows:  # else its document was deleted just now
            chunk, document_id, document_name, base_id, base_name = rows[ident]
            hits.append(
                Hit(
                    chunk.text,
                    round(score, 4),
                    chunk.number,
                    chunk.id,
                    document_id,
                    document_name,
                    base_id,
                    base_name,
                )
            )
    return hits
