"""The echo engine: it answers what it is told. Tests and demos of the platform run on it.

It says the last user message back, word by word, or what its script has for that message. A token is a word.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    Message,
    PromptTooLong,
    RequestRefused,
    Sampling,
)

DIMENSIONS = 64  # of an embedding
WORD = re.compile(r"\s*\S+")


class EchoEngine:
    """A running echo. Options of its spec:

    script: answers by last user message; "*" answers every other. delay_s: before each word (0).
    fail: the text of the EngineFailed that ends an answer, after `fail_after` words (0).
    An adapter is a JSON file with a script of its own, which goes first."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self._script: Mapping[str, str] = dict(spec.options.get("script") or {})
        self._delay_s = float(spec.options.get("delay_s", 0.0))
        self._fail: str | None = spec.options.get("fail")
        self._fail_after = int(spec.options.get("fail_after", 0))
        self._slots = asyncio.Semaphore(spec.parallel)
        self._adapters = {adapter.name: _script(adapter.path) for adapter in spec.adapters}
        self._closed = False
        self.working = 0  # answers under way

    async def generate(
        self, messages: Sequence[Message], sampling: Sampling, *, adapter: str | None = None
    ) -> AsyncGenerator[Delta, None]:
        """The answer word by word, then the finish reason and the counts. Raises as the protocol says."""
        if adapter is not None and adapter not in self._adapters:
            raise RequestRefused(
                f"this engine has no adapter {adapter!r}; it has: {', '.join(self._adapters) or 'none'}"
            )
        prompt = sum(len(words(str(message.get("content") or ""))) for message in messages)
        if prompt > self.spec.context:
            raise PromptTooLong(prompt, self.spec.context)
        pieces, finish = self._answer(messages, sampling, adapter)
        async with self._slots:
            self.working += 1
            try:
                for number, piece in enumerate(pieces):
                    self._break(number)
                    await asyncio.sleep(self._delay_s)
                    yield Delta(piece)
                self._break(len(pieces))
            finally:
                self.working -= 1
        yield Delta("", finish, prompt, len(pieces))

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Hashed counts of words, of length 1: texts that share words are near. Raises EngineFailed."""
        self._break(0)
        return [_counts(text) for text in texts]

    def alive(self) -> bool:
        """False once closed, or when it was told to fail."""
        return not self._closed and self._fail is None

    async def health(self, timeout_s: float = 10.0) -> None:
        """Raise EngineFailed when closed, told to fail, or slower than `timeout_s` for a word."""
        self._break(self._fail_after)
        if self._delay_s > timeout_s:
            raise EngineFailed(f"no token came out of the echo engine within {timeout_s:g} s")

    async def close(self) -> None:
        """Answers under way end with EngineFailed. May be called again."""
        self._closed = True

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None
    ) -> tuple[list[str], Literal["stop", "length"]]:
        told = next((str(m.get("content") or "") for m in reversed(messages) if m["role"] == "user"), "")
        script = {**self._script, **(self._adapters[adapter] if adapter else {})}
        text = script.get(told, script.get("*", told))
        ends = [place for stop in sampling.stop if stop and (place := text.find(stop)) >= 0]
        pieces = words(text[: min(ends)] if ends else text)
        if sampling.max_tokens is not None and len(pieces) > sampling.max_tokens:
            return pieces[: sampling.max_tokens], "length"
        return pieces, "stop"

    def _break(self, done: int) -> None:
        if self._closed:
            raise EngineFailed("the echo engine was closed")
        if self._fail is not None and done >= self._fail_after:
            raise EngineFailed(self._fail)


def words(text: str) -> list[str]:
    """The words of a text, each with the space before it; together they are the text, but for space at its end."""
    return WORD.findall(text)


def _script(path: Any) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise EngineFailed(
            f"the adapter {path.name} of an echo engine must be a JSON object: {problem}"
        ) from problem
    return dict(found)


def _counts(text: str) -> list[float]:
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        vector[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1.0
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / length for x in vector]
