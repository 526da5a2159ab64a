"""The sentence encoder: texts to vectors, and by their cosine documents to relevance.

The model computes in a process of its own, so that a long batch never holds up the server. Requests take
turns piece by piece, and pieces that wait together are computed together.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from qianfan_platform.engines.child import Child, InChild, Pulse
from qianfan_platform.engines.frames import read, write
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    Message,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Scores,
    Vectors,
)
from qianfan_platform.engines.refusing import Refusing

MODULE: Final = "qianfan_platform.engines.encoder.server"
WHAT: Final = "the sentence encoder"
PIECE: Final = 32  # texts that a request hands over at once
BATCH: Final = 64  # texts that are computed together
CHARS: Final = 16  # characters of the longest token


@dataclass
class _Job:
    texts: list[str]
    embed: bool
    done: asyncio.Future[tuple[list[int], array[float]]]


class EncoderEngine(InChild, Refusing):
    """A running sentence encoder. Belongs to the event loop that started it.

    Options of its spec: `start_timeout_s` (60); `idle_s` (60): the longest that one batch may take."""

    def __init__(self, spec: EngineSpec, child: Child) -> None:
        self.spec = spec
        self._child = child
        self._width = int(child.said["dimensions"])
        self._idle_s = float(spec.options.get("idle_s", 60))
        self._waiting: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._pulse = Pulse()
        self._closed = False

    @classmethod
    async def start(cls, spec: EngineSpec) -> EncoderEngine:
        """The engine, once it embedded a text. Raises EngineFailed with its last log lines."""
        line = orjson.dumps({"limit": spec.context}) + b"\n"
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        timeout_s = float(spec.options.get("start_timeout_s", 60))
        return cls(spec, await Child.start(MODULE, line, WHAT, timeout_s=timeout_s, env=threads))

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """Raises RequestRefused: it embeds and ranks only."""
        raise RequestRefused('this model embeds texts, it does not answer; name one of kind "chat"')
        yield Delta()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1. Raises PromptTooLong, EngineFailed."""
        rows: list[list[float]] = []
        tokens = 0
        for start in range(0, len(texts), PIECE):
            counts, flat = await self._ask(list(texts[start : start + PIECE]), embed=True)
            tokens += sum(counts)
            width = self._width
            rows += [flat[n : n + width].tolist() for n in range(0, len(flat), width)]
        return Vectors(rows, tokens)

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """The cosine of each document with the query, 0 when they point apart. Raises as `embed` does."""
        found = await self.embed([query, *documents])
        asked, *rows = found.rows
        return Scores([min(1.0, max(0.0, sum(map(float.__mul__, asked, row)))) for row in rows], found.tokens)

    async def count_tokens(self, text: str) -> int:
        """Tokens of the encoder's own vocabulary. Raises EngineFailed."""
        counts, _ = await self._ask([text], embed=False)
        return counts[0]

    def alive(self) -> bool:
        """False when the process has ended or the engine was closed."""
        return not self._closed and self._child.alive()

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when something came out within the last `timeout_s` seconds, or comes now; else EngineFailed."""
        self._must_live()
        if self._worker is not None and self._pulse.age() <= timeout_s:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.count_tokens("probe")
        except TimeoutError:
            raise EngineFailed(
                f"nothing came out of {WHAT} within {timeout_s:g} s{self._child.last_words()}"
            ) from None

    async def close(self) -> None:
        """End the process. Requests under way end with EngineFailed. May be called again."""
        self._closed = True
        await self._child.stop()
        if self._worker is not None:
            await asyncio.wait([self._worker])

    @property
    def working(self) -> bool:
        """True while texts are computed or wait for it."""
        return self._worker is not None

    async def _ask(self, texts: list[str], *, embed: bool) -> tuple[list[int], array[float]]:
        self._must_live()
        limit = self.spec.context
        if any(len(text) > limit * CHARS for text in texts):
            raise PromptTooLong(None, limit)
        job = _Job(texts, embed, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        counts, rows = await job.done
        if embed and max(counts, default=0) > limit:
            raise PromptTooLong(max(counts), limit)
        return counts, rows

    async def _work(self) -> None:
        """Compute what waits, until nothing does."""
        try:
            while batch := self._batch():
                try:
                    tokens, rows = await self._compute(batch)
                except EngineFailed as problem:
                    for job in [*batch, *self._waiting]:
                        if not job.done.done():
                            job.done.set_exception(problem)
                    self._waiting.clear()
                    return
                place = 0
                for job in batch:
                    end = place + len(job.texts)
                    if not job.done.done():
                        job.done.set_result(
                            (tokens[place:end], rows[place * self._width : end * self._width])
                        )
                    place = end
        finally:
            self._worker = None

    def _batch(self) -> list[_Job]:
        batch: list[_Job] = []
        texts = 0
        while self._waiting:
            job = self._waiting[0]
            if batch and (job.embed != batch[0].embed or texts + len(job.texts) > BATCH):
                break
            self._waiting.popleft()
            if not job.done.done():  # else its reader has left
                batch.append(job)
                texts += len(job.texts)
        return batch

    async def _compute(self, batch: list[_Job]) -> tuple[list[int], array[float]]:
        texts = [text for job in batch for text in job.texts]
        asked = asyncio.ensure_future(asyncio.to_thread(self._round, texts, batch[0].embed))
        done, _ = await asyncio.wait([asked], timeout=self._idle_s)
        if not done:
            self._child.kill()  # the thread then reads the end
            await asyncio.wait([asked])
            asked.exception()
            raise EngineFailed(f"{WHAT} was silent for {self._idle_s:g} s and counts as hung")
        self._pulse.beat()
        return asked.result()

    def _round(self, texts: list[str], embed: bool) -> tuple[list[int], array[float]]:
        """One question and its answer, in a thread."""
        rows = array("f")
        try:
            write(self._child.stdin, _plain({"texts": texts, "embed": embed}))
            head, body = read(self._child.stdout), read(self._child.stdout)
        except (OSError, ValueError):  # its end is noticed by what it no longer says
            head = body = None
        if head is None or body is None:
            self._child.settle()
            raise self._dead()
        rows.frombytes(body)
        return orjson.loads(head)["tokens"], rows

    def _must_live(self) -> None:
        if not self.alive():
            raise self._dead()

    def _dead(self) -> EngineFailed:
        if self._closed:
            return EngineFailed("the sentence encoder was closed")
        return EngineFailed(f"{WHAT} {self._child.ending()}{self._child.last_words()}")


def _plain(question: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(question)
    except orjson.JSONEncodeError:  # half of a surrogate pair: no text that can be written down
        texts = [str(text).encode(errors="replace").decode() for text in question["texts"]]  # type: ignore[attr-defined]
        return orjson.dumps({**question, "texts": texts})
