"""One prompt in, an answer out: find who answers, wait for a place, generate, count."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, TypeVar

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
from qianfan_platform.serving.fleet import TRIES
from qianfan_platform.serving.live import Live
from qianfan_platform.serving.operations import Answering

from .conversations import Prompt, estimate
from .frames import V1, V2, Whole

log = logging.getLogger("qianfan_platform.inference")

FINDING_LASTS_S: Final = 1.0  # how long an endpoint's answer is remembered
REMEMBERED: Final = 10_000  # endpoints

T = TypeVar("T")
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

    def known(self, endpoint: str, kind: Kind | None = None) -> Answering | None:
        """The preset model that was found under this name before."""
        return self._presets.get((endpoint, kind))

    async def find(self, owner: int, endpoint: str, kind: Kind | None = None) -> Answering:
        """The account's own service, or the preset model, that answers for an endpoint or a model name.

        kind: what is asked of it, such as `embeddings`; None takes any. Raises Fault when nobody answers."""
        preset = self.known(endpoint, kind)
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

    __slots__ = ("_admitted", "_answering", "_caller", "_live", "_platform", "_seat", "_tokens", "_tried")

    def __init__(
        self, platform: Platform, caller: Caller, answering: Answering, tokens: int, admitted: Admitted
    ) -> None:
        self._platform, self._caller, self._answering = platform, caller, answering
        self._tokens, self._admitted = tokens, admitted
        self._tried = 0
        self._live: Live | None = None

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
            if seat.headers:
                self._admitted(seat.headers)
            self._live = live = await self._platform.fleet.enter(answering.want, self._caller.owner)
        except BaseException as error:
            seat.end(error)
            raise
        adapter = answering.want.adapter
        return live.engine, adapter.name if adapter else None, seat

    async def another(self, problem: EngineFailed) -> Engine:
        """A place at another engine than the one that broke off, for a caller who has heard nothing yet.

        Raises `problem` when the engine lives, so that the fault is not that it died, or when others died before
        it; Fault as entering does."""
        fleet, live = self._platform.fleet, self._live
        assert live is not None
        fleet.doubt(live)
        self._tried += 1
        if live.engine.alive() or self._tried >= TRIES:
            raise problem
        self._live = None
        fleet.leave(live)
        self._live = live = await fleet.enter(self._answering.want, self._caller.owner)
        return live.engine

    def doubt(self) -> None:
        """The engine broke off: have it show that it lives."""
        if self._live is not None:
            self._platform.fleet.doubt(self._live)

    async def asked(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """What `ask` gets of the engine, or of another when that one dies."""
        assert self._live is not None
        engine = self._live.engine
        while True:
            try:
                return await ask(engine)
            except EngineFailed as problem:
                engine = await self.another(problem)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
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
    engine tells the tokens of the prompt, they are estimated. When the engine dies before the reader was told
    anything, another begins anew."""

    __slots__ = (
        "_adapter",
        "_completion_tokens",
        "_deltas",
        "_engaged",
        "_prompt",
        "_prompt_tokens",
        "_seat",
        "_whole",
    )

    def __init__(self, engaged: _Engaged, prompt: Prompt, whole: bool) -> None:
        self._engaged, self._prompt, self._whole = engaged, prompt, whole
        self._prompt_tokens, self._completion_tokens = prompt.estimate, 0

    async def __aenter__(self) -> Answer:
        engine, self._adapter, self._seat = await self._engaged.__aenter__()
        self._deltas = self._pieces(engine)
        return self

    async def _begin_again(self, problem: EngineFailed) -> None:
        """The same of another engine. Raises as `_Engaged.another` does."""
        engine = await self._engaged.another(problem)
        self._deltas = self._pieces(engine)

    def _pieces(self, engine: Engine) -> AsyncIterator[Delta]:
        prompt = self._prompt
        return engine.generate(prompt.messages, prompt.sampling, adapter=self._adapter, whole=self._whole)

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def frames(self, form: V1 | V2, put: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Put what `form` makes of every piece: as going through them, at less cost.

        In a task of its own: a piece that wakes this one would go down through all the coroutines above."""
        await asyncio.create_task(self._pour(form, put))

    async def _pour(self, form: V1 | V2, put: Callable[[bytes], Awaitable[None] | None]) -> None:
        used, prompt_tokens = self._seat.used, self._prompt_tokens
        frame, whole = form.frame, form.whole
        while True:
            try:
                async for delta in self._deltas:
                    made = frame(delta)
                    used(whole.prompt_tokens or prompt_tokens, whole.completion_tokens)
                    if made and (waits := put(made)) is not None:
                        await waits
                return
            except EngineFailed as problem:
                if whole.completion_tokens or whole.calls:  # the reader has some of it
                    self._engaged.doubt()
                    raise
                await self._begin_again(problem)

    async def into(self, whole: Whole) -> None:
        """Add every piece to `whole`: as going through them, at less cost."""
        used, prompt_tokens = self._seat.used, self._prompt_tokens
        while True:
            try:
                async for delta in self._deltas:
                    whole.add(delta)
                    used(whole.prompt_tokens or prompt_tokens, whole.completion_tokens)
                return
            except EngineFailed as problem:
                await self._begin_again(problem)
                whole.clear()

    async def __anext__(self) -> Delta:
        while True:
            try:
                delta = await self._deltas.__anext__()
                break
            except EngineFailed as problem:
                if self._completion_tokens:
                    self._engaged.doubt()
                    raise
                await self._begin_again(problem)
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
    *,
    whole: bool = False,
) -> Answer:
    """The pieces of an answer: an async context manager of an async iterator; what came out is metered.

    whole: nobody looks at it before its end, so the engine may give several pieces as one. Leaving early stops the
    engine's work. Entering raises Fault: a limit, nobody is free, …; so does going
    through the pieces: the prompt does not fit, the engine broke."""
    _must_fit(prompt.chars, answering)
    return Answer(_Engaged(platform, caller, answering, prompt.estimate, admitted), prompt, whole)


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
    engaged = _Engaged(platform, caller, answering, expected, admitted)
    async with engaged as (_, _, seat):
        vectors = await engaged.asked(lambda engine: engine.embed(texts))
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
    engaged = _Engaged(platform, caller, answering, expected, admitted)
    async with engaged as (_, _, seat):
        scores = await engaged.asked(lambda engine: engine.rerank(query, documents))
        seat.used(scores.tokens, 0)
    return scores


async def paint(
    platform: Platform, caller: Caller, answering: Answering, wish: ImageWish, admitted: Admitted = _nobody
) -> list[bytes]:
    """Images, as the bytes of PNG or JPEG files. Raises Fault as `answer` does."""
    engaged = _Engaged(platform, caller, answering, estimate(wish.prompt), admitted)
    async with engaged as (_, _, seat):
        images = await engaged.asked(lambda engine: engine.paint(wish))
        seat.used(estimate(wish.prompt), 0)
    return images


async def count_tokens(
    platform: Platform, caller: Caller, answering: Answering, text: str, admitted: Admitted = _nobody
) -> int:
    """Tokens of a text, as the engine that serves the model counts them. Costs no tokens. Raises Fault."""
    engaged = _Engaged(platform, caller, answering, 0, admitted)
    async with engaged:
        return await engaged.asked(lambda engine: engine.count_tokens(text))


def _must_fit(chars: int, answering: Answering) -> None:
    if answering.max_chars and chars > answering.max_chars:
        raise Fault(errors.TOO_LONG, f"the max input characters is {answering.max_chars}")
