"""Bodies of plugin calls, checked: which plugin, which of its tools, which document comes along."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.datasets.operations import local_file
from qianfan_platform.files.addresses import Allow
from qianfan_platform.files.fetch import fetch
from qianfan_platform.inference import conversations, members
from qianfan_platform.inference import operations as inference
from qianfan_platform.inference.operations import Admitted
from qianfan_platform.platform import Platform

from . import chunks, knowledge, operations, reading
from .asking import Question
from .operations import ASSISTANT, KNOWLEDGE
from .tables import KnowledgeBase, PluginApp, PluginTool
from .toolbox import Toolbox

MAX_QUERY: Final = 1000  # characters, as documented
MAX_VARIABLE: Final = 2000
MAX_PLUGINS: Final = 20
MAX_PASSAGES: Final = 256  # chunks of a document that comes with a question
FETCH_TIMEOUT_S: Final = 30.0
BATCH: Final = 16

# Documented plugins that this platform has no counterpart for, and what may do instead.
ELSEWHERE: Final = {
    "uuid-weatherforecast": ("weather", "describe a weather service by OpenAPI as a tool of a plugin"),
    "uuid-chatocr": ("reading text out of images", "add the text to a knowledge base"),
    "eChart": ("charts", "ask a chat model for the data, and draw it yourself"),
    "ImageAI": ("describing images", "ask Image2Text"),
    "ChatFile": ("ChatFile", "add the file to a knowledge base, and ask with plugins=['uuid-zhishiku']"),
}


async def of_plugin(
    platform: Platform,
    caller: Caller,
    endpoint: str,
    body: Mapping[str, Any],
    admitted: Admitted,
) -> Question:
    """A body of `/plugin/<endpoint>/`: query, plugins, history, llm, input_variables, fileurl. Raises Fault."""
    query = members.text(body, "query", most=MAX_QUERY)
    llm = body.get("llm")
    if llm is not None and not isinstance(llm, Mapping):
        members.refuse("llm must be an object of temperature, top_p and penalty_score")
    kept = (
        {name: llm.get(name) for name in ("temperature", "top_p", "penalty_score", "max_output_tokens")}
        if llm
        else {}
    )
    history = body.get("history") or []
    if not isinstance(history, list):
        members.refuse("history must be a list of messages, each with role and content")
    prompt = conversations.of_v1({**kept, "messages": [*history, {"role": "user", "content": query}]})
    only = _only(body.get("plugins"), required=False)
    question = await _question(platform, caller, endpoint, only, query, prompt, _variables(body))
    if body.get("fileurl") is None:
        return question
    url = members.text(body, "fileurl", most=8192)
    passages = await _passages(platform, caller, url, query, question.app.top_n, admitted)
    return replace(question, passages=passages)


async def of_messages(platform: Platform, caller: Caller, body: Mapping[str, Any]) -> Question:
    """A body of EBPlugin and EBPluginV2: messages and plugins, answered by `assistant`. Raises Fault."""
    only = _only(body.get("plugins"), required=True)
    prompt = conversations.of_v1(
        {name: value for name, value in body.items() if name not in ("functions", "tools")}
    )
    question = await _question(
        platform, caller, ASSISTANT, only, str(prompt.messages[-1]["content"]), prompt, {}
    )
    if prompt.messages[0]["role"] == "system":
        question.app.system = str(prompt.messages[0]["content"])  # `assistant` is made anew for each question
        return replace(question, history=prompt.messages[1:-1])
    return question


async def _question(
    platform: Platform,
    caller: Caller,
    endpoint: str,
    only: set[str] | None,
    query: str,
    prompt: conversations.Prompt,
    variables: Mapping[str, str],
) -> Question:
    async with platform.store.reading() as tx:
        app = await operations.plugin_at(tx, caller.owner, endpoint)
        services = await operations.tools_of(tx, app)
        bases: list[KnowledgeBase] = []
        if app.bases and (only is None or KNOWLEDGE in only):
            bases = await tx.find(KnowledgeBase, KnowledgeBase.id.in_(app.bases), owner=caller.owner)
            sizes = await operations.sizes(tx, [base.id for base in bases])
            if not app.id:  # of `assistant`: those that hold anything
                bases = [base for base in bases if sizes.get(base.id, (0, 0))[1]]
    _all_known(only, app, services)
    tools = Toolbox(platform, app.builtins, services, only)
    return Question(app, tools, bases, query, prompt.messages[:-1], prompt.sampling, variables)


def _only(names: Any, *, required: bool) -> set[str] | None:
    """The names in `plugins`; None when all that a plugin has may be used."""
    if names is None and not required:
        return None
    if (
        not isinstance(names, list)
        or not (1 if required else 0) <= len(names) <= MAX_PLUGINS
        or not all(isinstance(name, str) for name in names)
    ):
        members.refuse(f"plugins must be a list of {'1' if required else '0'} to {MAX_PLUGINS} names")
    for name in names:
        if name in ELSEWHERE:
            what, instead = ELSEWHERE[name]
            members.refuse(f"plugins: {name} ({what}) is no plugin of this platform", instead)
    return set(names)


def _all_known(only: set[str] | None, app: PluginApp, services: Sequence[PluginTool]) -> None:
    known = [*app.builtins, *([KNOWLEDGE] if app.bases or not app.id else [])]
    for service in services:
        known += [service.name, *(row["name"] for row in service.operations)]
    unknown = sorted((only or set()) - set(known))
    if unknown:
        members.refuse(
            f"plugins: {app.uri} has no plugin {unknown[0][:60]!r}", f"it has: {', '.join(known) or 'none'}"
        )


def _variables(body: Mapping[str, Any]) -> dict[str, str]:
    given = body.get("input_variables")
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        members.refuse("input_variables must be an object")
    for name, value in given.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, str | int | float)
            or len(str(value)) > MAX_VARIABLE
        ):
            members.refuse(
                f"input_variables.{name[:60]} must be a text or a number of at most {MAX_VARIABLE} characters"
            )
    return {name: str(value) for name, value in given.items()}


async def _passages(
    platform: Platform,
    caller: Caller,
    url: str,
    query: str,
    most: int,
    admitted: Admitted,
) -> list[tuple[str, str]]:
    """What a document at a URL, or an uploaded one, says about the question; all of it when it is short."""
    name, raw = await _read(platform, caller, url)
    try:
        text = await asyncio.to_thread(reading.text_of, raw, name)
    except Fault as fault:
        raise Fault(errors.PARAMETER, f"fileurl: {fault.message}", fault.advice) from None
    pieces = list(islice(chunks.split(text), MAX_PASSAGES + 1))
    if len(pieces) > MAX_PASSAGES:
        members.refuse(f"fileurl: {name!r} is too long to come with a question", "add it to a knowledge base")
    if len(pieces) <= most:
        return [(name, piece) for piece in pieces]
    answering = operations.embedder(platform)
    rows: list[Sequence[float]] = []
    texts = [query, *pieces]
    for start in range(0, len(texts), BATCH):
        vectors = await inference.embed(platform, caller, answering, texts[start : start + BATCH], admitted)
        rows += vectors.rows
    packed = [
        (number, knowledge.packed(row, "<f4"), knowledge.packed(knowledge.terms(piece), "<u4"))
        for number, (row, piece) in enumerate(zip(rows[1:], pieces, strict=True))
    ]
    best = knowledge.rank([knowledge.Shelf.of(0, packed)], rows[0], knowledge.terms(query), most, 0.0)
    return [(name, pieces[number]) for number, _ in best]


async def _read(platform: Platform, caller: Caller, url: str) -> tuple[str, bytes]:
    """Name and bytes of a document: uploaded before, or fetched through the gate."""
    file_id = local_file(url)
    scratch = platform.settings.work / f"fetched-{secrets.token_hex(8)}"
    try:
        if file_id is not None:
            info = await platform.files.info(file_id, owner=caller.owner)
            name, path = info.name or file_id, await platform.files.local(file_id)
        else:
            path = await fetch(
                url,
                scratch,
                allow=Allow.parse(platform.settings.allow_fetch),
                limit_bytes=reading.MAX_BYTES,
                timeout_s=FETCH_TIMEOUT_S,
            )
            name = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1][:200] or "page"
        if path.stat().st_size > reading.MAX_BYTES:
            members.refuse(f"fileurl: the file is larger than {reading.MAX_BYTES} bytes")
        return name, await asyncio.to_thread(path.read_bytes)
    except Fault as fault:
        raise Fault(errors.PARAMETER, f"fileurl: {fault.message}", fault.advice) from None
    finally:
        scratch.unlink(missing_ok=True)
