"""A question to a plugin: plain tools, sources, the model with its tools, and what came of it, piece by piece."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.engines.protocol import Delta, Sampling, Tool, ToolCall
from qianfan_platform.inference import operations as inference
from qianfan_platform.inference.conversations import Prompt, estimate
from qianfan_platform.inference.operations import Admitted
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering

from . import knowledge, prompting, rules
from .knowledge import Hit
from .operations import CALCULATOR, CLOCK, embedder
from .tables import KnowledgeBase, PluginApp
from .toolbox import Toolbox, Used

log = logging.getLogger("qianfan_platform.plugins")

CHAT: Final = "ERNIE-Bot-turbo"  # what answers when a plugin names no model
MAX_CALLS: Final = 4  # of tools, for one question
SMALL: Final = 300_000_000  # bytes of weights: models below this cannot choose between tools
SLACK: Final = 160  # tokens for the words around the sources

Find = Callable[[str], Awaitable[Answering]]
"""Who answers for an endpoint or the name of a chat model. Raises Fault."""


@dataclass(frozen=True)
class Question:
    """What is asked of a plugin, checked."""

    app: PluginApp
    tools: Toolbox
    bases: Sequence[KnowledgeBase]
    query: str
    history: Sequence[Mapping[str, Any]] = ()
    sampling: Sampling = field(default_factory=Sampling)
    variables: Mapping[str, str] = field(default_factory=dict)
    passages: Sequence[tuple[str, str]] = ()  # (name, text) of a document that came with the question


@dataclass(frozen=True)
class Found:
    """The knowledge bases were asked. hits: best first; empty when nothing is near enough."""

    bases: Sequence[str]
    top_n: int
    score: float
    hits: Sequence[Hit]


@dataclass(frozen=True)
class Said:
    """A piece of the answer. The last one has `finish_reason`; token counts grow."""

    text: str = ""
    finish_reason: str | None = None  # normal or length
    prompt_tokens: int = 0
    completion_tokens: int = 0


Event = Found | Used | Said


class Asking:
    """One question being answered. `events` is to be closed."""

    def __init__(
        self, platform: Platform, find: Find, caller: Caller, question: Question, admitted: Admitted
    ) -> None:
        self._platform, self._find, self._caller = platform, find, caller
        self._question, self._admitted = question, admitted
        self._prompt_tokens = self._completion_tokens = 0
        self._began = False  # the answer has begun: no piece of it can be taken back

    async def events(self) -> AsyncGenerator[Event]:
        """What happens, in order: tools and sources, then the answer. Raises Fault."""
        asked = self._question
        plain = rules.plain(asked.query)
        if plain is not None and plain.tool in asked.tools.builtins:
            async for event in self._plainly(plain):
                yield event
            return
        sources = list(asked.passages)
        if asked.bases:
            found = await self._search()
            yield found
            sources += [(hit.document_name, hit.text) for hit in found.hits]
            if not found.hits and asked.app.id and not asked.tools.offered and not sources:
                yield self._said(prompting.nothing_found(asked.query))
                yield self._said(finish_reason="normal")
                return
        async with aclosing(self._converse(sources)) as events:
            async for event in events:
                yield event

    async def _plainly(self, plain: rules.Plain) -> AsyncGenerator[Event]:
        """A tool answers without the model."""
        name = {CALCULATOR: "expression", CLOCK: "zone"}[plain.tool]
        call = ToolCall("call_0", plain.tool, orjson.dumps({name: plain.argument}).decode())
        model = self._question.app.uri
        async with self._platform.meter.admitted(self._caller, model=model, kind="plugin") as seat:
            self._admitted(seat.headers)
            yield self._question.tools.begin(call)
            used = await self._question.tools.call(call)
        yield used
        text = used.output or ""
        chinese = rules.is_chinese(self._question.query)
        yield self._said(text if used.failed else rules.sentence(plain, text, chinese))
        yield self._said(finish_reason="normal")

    async def _search(self) -> Found:
        asked = self._question
        hits, tokens = await find(
            self._platform,
            self._caller,
            asked.bases,
            asked.query,
            asked.app.top_n,
            asked.app.score,
            self._admitted,
        )
        self._prompt_tokens += tokens
        return Found([base.public_id for base in asked.bases], asked.app.top_n, asked.app.score, hits)

    async def _converse(self, sources: list[tuple[str, str]]) -> AsyncGenerator[Event]:
        """The model answers, and may call tools before it does. Sources that do not fit are left out."""
        asked = self._question
        answering = await self._find(asked.app.model or CHAT)
        sources = self._fitting(sources, answering)
        system = prompting.system_text(asked.app.system, asked.variables, asked.query)
        while True:
            turns = prompting.messages(system, asked.history, asked.query, sources)
            try:
                async with aclosing(self._rounds(answering, turns)) as events:
                    async for event in events:
                        yield event
                return
            except Fault as fault:
                too_long = fault.row in (errors.TOKENS_TOO_LONG, errors.TOO_LONG)
                if not too_long or not sources or self._began:
                    raise
                sources = sources[: len(sources) // 2]

    async def _rounds(self, answering: Answering, turns: list[Mapping[str, Any]]) -> AsyncGenerator[Event]:
        calls = 0
        while True:
            offered = self._offered(answering) if calls < MAX_CALLS else ()
            wanted: list[ToolCall] = []
            async with aclosing(self._answer(answering, turns, offered, wanted)) as pieces:
                async for said in pieces:
                    yield said
            if not wanted:
                return
            wanted = wanted[: MAX_CALLS - calls]
            made = [
                {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                for one in wanted
            ]
            turns = [*turns, {"role": "assistant", "content": "", "tool_calls": made}]
            for call in wanted:
                calls += 1
                self._began = True
                yield self._question.tools.begin(call)
                used = await self._question.tools.call(call)
                yield used
                turns.append(
                    {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": used.output or ""}
                )

    def _offered(self, answering: Answering) -> tuple[Tool, ...]:
        """What the model may call. A small one is not shown the clock and the calculator: it would call them
        whatever it is asked, and they answer plain questions without it."""
        entry = self._platform.fleet.entry_of(answering.want)
        built_in = entry.source is not None and entry.source.kind == "built-in"
        small = entry.engine == "llamacpp" and (built_in or 0 < entry.size < SMALL)
        return self._question.tools.services if small else self._question.tools.offered

    async def _answer(
        self,
        answering: Answering,
        turns: Sequence[Mapping[str, Any]],
        offered: tuple[Any, ...],
        wanted: list[ToolCall],
    ) -> AsyncGenerator[Said]:
        """One answer of the model; calls that it wants are put into `wanted`, and then it has no end."""
        sampling = replace(self._question.sampling, tools=offered)
        texts = [str(turn.get("content") or "") for turn in turns]
        prompt = Prompt(turns, sampling, sum(map(len, texts)), sum(map(estimate, texts)))
        before = (self._prompt_tokens, self._completion_tokens)
        last = Delta()
        async with inference.answer(
            self._platform, self._caller, answering, prompt, self._admitted
        ) as deltas:
            async for delta in deltas:
                if offered:  # else nothing was offered, and what it calls all the same is not called
                    wanted += delta.tool_calls
                if delta.text:
                    self._completion_tokens += 1
                    yield self._said(delta.text)
                if delta.finish_reason is not None:
                    last = delta
        self._prompt_tokens = before[0] + (last.prompt_tokens or prompt.estimate)
        if last.completion_tokens is not None:
            self._completion_tokens = before[1] + last.completion_tokens
        if not wanted:
            yield self._said(finish_reason="length" if last.finish_reason == "length" else "normal")

    def _fitting(self, sources: list[tuple[str, str]], answering: Answering) -> list[tuple[str, str]]:
        """As many of the sources, best first, as the model's context surely has room for."""
        context = self._platform.fleet.entry_of(answering.want).context
        asked = self._question
        room = context - min(asked.sampling.max_tokens or 0, context // 3) - SLACK
        room -= sum(estimate(str(turn.get("content") or "")) for turn in asked.history)
        room -= estimate(asked.query) + estimate(asked.app.system)
        kept: list[tuple[str, str]] = []
        for source in sources:
            room -= estimate(source[1]) + SLACK // 8
            if room < 0 and kept:
                break
            kept.append(source)
        return kept

    def _said(self, text: str = "", finish_reason: str | None = None) -> Said:
        self._began = self._began or bool(text)
        return Said(text, finish_reason, self._prompt_tokens, self._completion_tokens)


async def find(
    platform: Platform,
    caller: Caller,
    bases: Sequence[KnowledgeBase],
    query: str,
    top_n: int,
    score: float,
    admitted: Admitted,
) -> tuple[list[Hit], int]:
    """The best passages of knowledge bases for a question, and the tokens that it cost. Raises Fault."""
    answering = embedder(platform)
    vectors = await inference.embed(platform, caller, answering, [query], admitted)
    async with platform.store.reading() as tx:
        hits = await knowledge.search(tx, bases, query, vectors.rows[0], answering.want.entry, top_n, score)
    return hits, vectors.tokens
