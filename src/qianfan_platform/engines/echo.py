"""The echo engine: it answers what it is told. Tests, demos and benchmarks of the platform run on it.

It says the last message back, word by word, or what its script has for that message. A token is a word. It
embeds, ranks and paints as well: what it makes depends on what it was told, and on nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    Message,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Scores,
    ToolCall,
    Vectors,
)

DIMENSIONS: Final = 64  # of an embedding
BREATH: Final = 32  # words between two chances for others to run
WORD = re.compile(r"\s*\S+")


class EchoEngine:
    """A running echo. Options of its spec:

    script: answers by last message; "*" answers every other. An answer is a text, or a function to call as
    {"name": …, "arguments": {…}}, which is called when the request offers it. delay_s: before each word (0).
    fail: the text of the EngineFailed that ends an answer, after `fail_after` words (0).
    file: a JSON file of these options. An adapter is a JSON file with a script of its own, which goes first."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        options = {**(_json(Path(spec.options["file"])) if "file" in spec.options else {}), **spec.options}
        self._script: Mapping[str, Any] = dict(options.get("script") or {})
        self._delay_s = float(options.get("delay_s", 0.0))
        self._fail: str | None = options.get("fail")
        self._fail_after = int(options.get("fail_after", 0))
        self._slots = asyncio.Semaphore(spec.parallel)
        self._adapters = {adapter.name: _json(adapter.path) for adapter in spec.adapters}
        self._metronome = Metronome()
        self._closed = False
        self._told: list[Callable[[], None]] = []
        self.working = 0  # answers under way

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """The answer word by word, then the finish reason and the counts. Raises as the protocol says."""
        if adapter is not None and adapter not in self._adapters:
            raise RequestRefused(
                f"this engine has no adapter {adapter!r}; it has: {', '.join(self._adapters) or 'none'}"
            )
        prompt = 0
        for message in messages:
            prompt += len(_said(message).split())
        if prompt > self.spec.context:
            raise PromptTooLong(prompt, self.spec.context)
        answer = self._answer(messages, sampling, adapter)
        if whole and not self._delay_s and not isinstance(answer, ToolCall) and self.alive():
            pieces, cut = answer
            yield Delta("".join(pieces), "length" if cut else "stop", prompt, len(pieces))
            return
        async with self._slots:
            self.working += 1
            try:
                if isinstance(answer, ToolCall):
                    self._break(0)
                    yield Delta("", "tool_calls", prompt, len(answer.arguments.split()), (answer,))
                    return
                pieces, cut = answer
                for number, piece in enumerate(pieces):
                    self._break(number)
                    if self._delay_s:
                        await self._metronome.beat(self._delay_s)
                    elif number % BREATH == BREATH - 1:
                        await asyncio.sleep(0)
                    yield Delta(piece)
                self._break(len(pieces))
            finally:
                self.working -= 1
        yield Delta("", "length" if cut else "stop", prompt, len(pieces))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Hashed counts of words, of length 1: texts that share words are near. Raises EngineFailed."""
        self._break(0)
        return Vectors([_counts(text) for text in texts], sum(len(text.split()) for text in texts))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """The cosine of the embeddings: 1 for the same words. Raises EngineFailed."""
        vectors = await self.embed([query, *documents])
        asked, *rows = vectors.rows
        return Scores([min(1.0, sum(map(float.__mul__, asked, row))) for row in rows], vectors.tokens)

    async def paint(self, wish: ImageWish) -> list[bytes]:
        """PNG files of one colour, which the prompt and the seed decide; the prompt is written in the file."""
        self._break(0)
        return [_png(wish, number) for number in range(wish.count)]

    async def count_tokens(self, text: str) -> int:
        """Words. Raises EngineFailed."""
        self._break(0)
        return len(text.split())

    def alive(self) -> bool:
        """False once closed, or when it was told to fail."""
        return not self._closed and self._fail is None

    async def health(self, timeout_s: float = 10.0) -> None:
        """Raise EngineFailed when closed, told to fail, or slower than `timeout_s` for a word."""
        self._break(self._fail_after)
        if self._delay_s > timeout_s:
            raise EngineFailed(f"no token came out of the echo engine within {timeout_s:g} s")

    async def stirs(self, timeout_s: float) -> None:
        """It does, unless it was killed. Raises EngineFailed."""
        self._break(-1)

    def on_end(self, told: Callable[[], None]) -> None:
        """Have `told` called when it is killed."""
        self._told.append(told)

    def kill(self) -> None:
        """As if its process had died: answers under way end with EngineFailed."""
        self._closed = True
        for told in self._told:
            told()

    async def close(self) -> None:
        """Answers under way end with EngineFailed. May be called again."""
        self._closed = True

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None
    ) -> ToolCall | tuple[list[str], bool]:
        told = ""
        for message in reversed(messages):
            if message["role"] in ("user", "tool"):
                told = _said(message)
                break
        script = {**self._script, **self._adapters[adapter]} if adapter else self._script
        answer = script.get(told, script.get("*", told))
        if isinstance(answer, dict):
            offered = sampling.tool_choice != "none" and answer["name"] in {t.name for t in sampling.tools}
            if offered:
                return _call(answer["name"], answer.get("arguments") or {})
            answer = told
        text = str(answer)
        if sampling.stop:
            ends = [place for stop in sampling.stop if stop and (place := text.find(stop)) >= 0]
            text = text[: min(ends)] if ends else text
        pieces = words(text)
        if sampling.max_tokens is not None and len(pieces) > sampling.max_tokens:
            return pieces[: sampling.max_tokens], True
        return pieces, False

    def _break(self, done: int) -> None:
        if self._closed:
            raise EngineFailed("the echo engine was closed")
        if self._fail is not None and done >= self._fail_after:
            raise EngineFailed(self._fail)


class Metronome:
    """Lets many answers wait, at one timer for those that are due in the same millisecond."""

    def __init__(self) -> None:
        self._due: dict[int, list[asyncio.Future[None]]] = {}

    def beat(self, seconds: float) -> asyncio.Future[None]:
        """Is done after `seconds`, and up to a millisecond."""
        loop = asyncio.get_running_loop()
        due = int((loop.time() + seconds) * 1000) + 1
        over = loop.create_future()
        together = self._due.get(due)
        if together is None:
            self._due[due] = [over]
            loop.call_at(due / 1000, self._ring, due)
        else:
            together.append(over)
        return over

    def _ring(self, due: int) -> None:
        for over in self._due.pop(due):
            if not over.done():
                over.set_result(None)


def words(text: str) -> list[str]:
    """The words of a text, each with the space before it; together they are the text, but for space at its end."""
    return WORD.findall(text)


def _said(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part["text"]) for part in content if part.get("type") == "text")
    return str(content or "")


def _call(name: str, arguments: Mapping[str, Any]) -> ToolCall:
    text = json.dumps(arguments, ensure_ascii=False)
    return ToolCall("call_" + hashlib.sha256(f"{name} {text}".encode()).hexdigest()[:16], name, text)


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as problem:
        raise EngineFailed(
            f"the file {path.name} of an echo engine must be a JSON object: {problem}"
        ) from problem


def _counts(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        vector[_place(word)] += 1.0
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]


@lru_cache(maxsize=4096)
def _place(word: str) -> int:
    return hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS


def _png(wish: ImageWish, number: int) -> bytes:
    width, height = wish.size
    colour = hashlib.sha256(f"{wish.prompt} {wish.seed} {number}".encode()).digest()[:3]
    rows = zlib.compress((b"\0" + colour * width) * height, level=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    note = chunk(b"iTXt", b"Description\0\0\0\0\0" + wish.prompt.encode())
    return b"\x89PNG\r\n\x1a\n" + head + note + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
