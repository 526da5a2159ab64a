"""One prompt in, an answer out: find who answers, wait for a place, generate, count."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.accounts.meter import Seat
from qianfan_platform.catalogue.catalogue import Kind
from qianfan_platform.engines.protocol import (
    Delta,
    Engine,
    EngineFailed,
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Scores,
    Vectors,
)
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering

from .conversations import Prompt, estimate
from .frames import V1, V2, Whole

log = logging.getLogger("qianfan_platform.inference")

FINDING_LASTS_S: Final = 1.0  # how long an endpoint's answer is remembered
REMEMBERED: Final = 10_000  # endpoints

Admitted = Callable[[Mapping[str, str]], None]
"""Told the rate-limit headers as soon as the caller has a seat."""


def _nobody(_: Mapping[str, str]) -> None:
    pass


class Finder:
    """Who answers for an endpoint. Presets need no database; a service is looked up once a second."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._found: dict[tuple[int, str, Kind | None], tuple[float, Answering]] = {}
        self._presets: dict[tuple[str, Kind | None], Answering] = {}
        self._told: set[str] = set()

    async def find(self, owner: int, endpoint: str, kind: Kind | None = None) -> Answering:
        """The account's own service, or the preset model, that answers for an endpoint or a model name.

        kind: what is asked of it, such as `embeddings`; None takes any. Raises Fault when nobody answers."""
        preset = self._presets.get((endpoint, kind))
        if preset is not None:
            return preset
        preset = serving.preset(self._platform, endpoint, kind)
        if preset is not None:
            if len(self._presets) < REMEMBERED:  # a name may be spelt in many ways
                self._presets[endpoint, kind] = preset
            self._tell(preset)
            return preset
        key, now = (owner, endpoint, kind), time.monotonic()
        known = self._found.get(key)
        if known and known[0] > now:
            return known[1]
        async with self._platform.store.reading() as tx:
            found = await serving.deployed(self._platform, tx, owner, endpoint, kind)
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[key] = (now + FINDING_LASTS_S, found)
        return found

    def _tell(self, answering: Answering) -> None:
        served = answering.served
        if served is not None and served.stand_in and served.name not in self._told:
            self._told.add(served.name)
            log.warning("%s", served.note)


class _Engaged:
    """A seat and a place at the engine, as an async context manager; what the engine raises is told as Faults.

    Written out, as `Answer` is: each generator of its own would cost a plain answer some microseconds."""

    __slots__ = ("_admitted", "_answering", "_caller", "_live", "_platform", "_seat", "_tokens")

    def __init__(
        self, platform: Platform, caller: Caller, answering: Answering, tokens: int, admitted: Admitted
    ) -> None:
        self._platform, self._caller, self._answering = platform, caller, answering
        self._tokens, self._admitted = tokens, admitted

    async def __aenter__(self) -> tuple[Engine, str | None, Seat]:
        answering = self._answering
        self._seat = seat = self._platform.meter.admitted(
            self._caller,
            model=answering.name,
            kind=answering.kind,
            service_id=answering.service_id,
            estimate=self._tokens,
        )
        seat.begin()
        try:
            self._admitted(seat.headers)
            self._live = live = await self._platform.fleet.enter(answering.want, self._caller.owner)
        except BaseException as error:
            seat.end(error)
            raise
        adapter = answering.want.adapter
        return live.engine, adapter.name if adapter else None, seat

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._platform.fleet.leave(self._live)
        self._seat.end(error)
        if error is not None and (fault := _told(error, self._answering)) is not None:
            raise fault from error


def _told(error: BaseException, answering: Answering) -> Fault | None:
    """What an engine raised, in the words of the contract; None for everything else."""
    if isinstance(error, PromptTooLong):
        return Fault(errors.TOKENS_TOO_LONG, f"Prompt tokens too long: {error}")
    if isinstance(error, RequestRefused):
        return Fault(errors.PARAMETER, str(error), "")
    if isinstance(error, EngineFailed):
        log.error("an engine failed: %s", error)
        row = errors.IMAGE_INTERNAL if answering.kind == "text2image" else errors.UNAVAILABLE
        served = answering.served
        if served is not None and served.entry.engine == "upstream":  # its texts are written for callers
            return Fault(row, f"the engine stopped in the middle of an answer: {error}")
        return Fault(row, "the engine stopped in the middle of an answer")  # the log has paths and last words
    return None


class Answer:
    """The pieces of an answer, inside the time an engine is held: `async with answer(…) as deltas`.

    The seat learns of each piece before the reader does, so that a reader who leaves has been counted. Until the
    engine tells the tokens of the prompt, they are estimated."""

    __slots__ = ("_completion_tokens", "_deltas", "_engaged", "_prompt", "_prompt_tokens", "_seat")

    def __init__(self, engaged: _Engaged, prompt: Prompt) -> None:
        self._engaged, self._prompt = engaged, prompt
        self._prompt_tokens, self._completion_tokens = prompt.estimate, 0

    async def __aenter__(self) -> Answer:
        engine, adapter, self._seat = await self._engaged.__aenter__()
        self._deltas = engine.generate(self._prompt.messages, self._prompt.sampling, adapter=adapter)
        return self

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def frames(self, form: V1 | V2, put: Callable[[bytes], Awaitable[None]]) -> None:
        """Put what `form` makes of every piece: as going through them, at less cost."""
        used, prompt_tokens = self._seat.used, self._prompt_tokens
        frame, whole = form.frame, form.whole
        async for delta in self._deltas:
            made = frame(delta)
            used(whole.prompt_tokens or prompt_tokens, whole.completion_tokens)
            if made:
                await put(made)

    async def into(self, whole: Whole) -> None:
        """Add every piece to `whole`: as going through them, at less cost."""
        used, prompt_tokens = self._seat.used, self._prompt_tokens
        async for delta in self._deltas:
            whole.add(delta)
            used(whole.prompt_tokens or prompt_tokens, whole.completion_tokens)

    async def __anext__(self) -> Delta:
        delta = await self._deltas.__anext__()
        if delta.prompt_tokens is not None:
            self._prompt_tokens = delta.prompt_tokens
        if delta.completion_tokens is not None:
            self._completion_tokens = delta.completion_tokens
        elif delta.text or delta.reasoning:
            self._completion_tokens += 1
        self._seat.used(self._prompt_tokens, self._completion_tokens)
        return delta

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._deltas.aclose()  # type: ignore[attr-defined]
        finally:
            await self._engaged.__aexit__(kind, error, trace)


def answer(
    platform: Platform,
    caller: Caller,
    answering: Answering,
    prompt: Prompt,
    admitted: Admitted = _nobody,
) -> Answer:
    """The pieces of an answer: an async context manager of an async iterator; what came out is metered.

    Leaving early stops the engine's work. Entering raises Fault: a limit, nobody is free, …; so does going
    through the pieces: the prompt does not fit, the engine broke."""
    _must_fit(prompt.chars, answering)
    return Answer(_Engaged(platform, caller, answering, prompt.estimate, admitted), prompt)


async def embed(
    platform: Platform,
    caller: Caller,
    answering: Answering,
    texts: Sequence[str],
    admitted: Admitted = _nobody,
) -> Vectors:
    """A vector for each text. Raises Fault as `answer` does."""
    _must_fit(max(map(len, texts)), answering)
    expected = sum(map(estimate, texts))
    async with _Engaged(platform, caller, answering, expected, admitted) as (engine, _, seat):
        vectors = await engine.embed(texts)
        seat.used(vectors.tokens, 0)
    return vectors


async def rerank(
    platform: Platform,
    caller: Caller,
    answering: Answering,
    query: str,
    documents: Sequence[str],
    admitted: Admitted = _nobody,
) -> Scores:
    """The relevance of each document to the query. Raises Fault as `answer` does."""
    _must_fit(len(query) + max(map(len, documents)), answering)
    expected = sum(map(estimate, documents)) + estimate(query)
    async with _Engaged(platform, caller, answering, expected, admitted) as (engine, _, seat):
        scores = await engine.rerank(query, documents)
        seat.used(scores.tokens, 0)
    return scores


async def paint(
    platform: Platform, caller: Caller, answering: Answering, wish: ImageWish, admitted: Admitted = _nobody
) -> list[bytes]:
    """Images, as the bytes of PNG or JPEG files. Raises Fault as `answer` does."""
    async with _Engaged(platform, caller, answering, estimate(wish.prompt), admitted) as (engine, _, seat):
        images = await engine.paint(wish)
        seat.used(estimate(wish.prompt), 0)
    return images


async def count_tokens(
    platform: Platform, caller: Caller, answering: Answering, text: str, admitted: Admitted = _nobody
) -> int:
    """Tokens of a text, as the engine that serves the model counts them. Costs no tokens. Raises Fault."""
    async with _Engaged(platform, caller, answering, 0, admitted) as (engine, _, _seat):
        return await engine.count_tokens(text)


def _must_fit(chars: int, answering: Answering) -> None:
    if answering.max_chars and chars > answering.max_chars:
        raise Fault(errors.TOO_LONG, f"the max input characters is {answering.max_chars}")
