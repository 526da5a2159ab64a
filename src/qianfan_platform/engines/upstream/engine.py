"""Any OpenAI-compatible server as an engine: vLLM, SGLang, Ollama, llama.cpp's own server, OpenAI, …

The operator's catalogue names the server, so it may stand on this machine or in a private network.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

from qianfan_platform.engines.calling import calling
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    Message,
    RequestRefused,
    Sampling,
    Scores,
    ToolCall,
    Vectors,
)
from qianfan_platform.engines.refusing import Refusing
from qianfan_platform.engines.relevance import within_one
from qianfan_platform.engines.schemas import check
from qianfan_platform.engines.upstream.request import asked_tokens, chat_body, completion_body, estimate
from qianfan_platform.engines.upstream.server import NoSuchRoute, Server

Finish = Literal["stop", "length", "tool_calls"]
FINISH: Final[Mapping[str, Finish]] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class UpstreamEngine(Refusing):
    """A server that others run. Belongs to the event loop that started it.

    Options of its spec: url (its base, such as http://127.0.0.1:8000/v1); model (its name for the model); name (ours);
    key_env (environment variable with its key); kinds (what it is asked for); tools ("native" or "json");
    idle_s (120): the longest silence."""

    def __init__(self, spec: EngineSpec) -> None:
        options = spec.options
        self.spec = spec
        self._model = str(options["model"])
        self._name = str(options.get("name") or self._model)
        self._kinds = tuple(options.get("kinds") or ("chat",))
        self._prompted = options.get("tools") == "json"
        key_env = str(options.get("key_env") or "")
        key = os.environ.get(key_env, "") if key_env else ""
        if key_env and not key:
            raise EngineFailed(
                f"the upstream {self._name} needs its key in the environment variable {key_env}, which is not set"
            )
        if not key.isascii() or any(sign.isspace() for sign in key):
            raise EngineFailed(f"the key in {key_env} holds a space or a sign that no key has")
        idle_s = float(options.get("idle_s", 120))
        self._server = Server(
            str(options["url"]), self._name, key, key_env, idle_s=idle_s, context=spec.context
        )
        self._slots = asyncio.Semaphore(spec.parallel)
        self._closed = False
        self._newer = False  # whether it calls the limit max_completion_tokens

    @classmethod
    async def start(cls, spec: EngineSpec) -> UpstreamEngine:
        """The engine, once the server answered. Raises EngineFailed."""
        engine = cls(spec)
        try:
            await engine.health(float(spec.options.get("idle_s", 120)))
        except BaseException:
            await engine.close()
            raise
        return engine

    async def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """Pieces of the answer; the last has the finish reason and the server's token counts, or our estimate.

        Raises PromptTooLong, RequestRefused, EngineFailed. Leaving (aclose) hangs up."""
        if adapter is not None:
            raise RequestRefused("an upstream has no adapters; serve the trained model by an engine here")
        if sampling.json_schema is not None:
            check(sampling.json_schema)
        if sampling.tools and self._prompted:
            answer = calling(self._answer, messages, sampling)
        else:
            answer = self._answer(messages, sampling)
        async with aclosing(answer):
            async for delta in answer:
                yield delta

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors, scaled to length 1. Raises as `generate` does."""
        self._must_be("embeddings")
        answer = await self._ask("embeddings", {"input": list(texts), "encoding_format": "float"})
        rows = [
            row["embedding"] for row in sorted(_list(answer, "data"), key=lambda row: row.get("index", 0))
        ]
        if len(rows) != len(texts):
            raise EngineFailed(f"{self._server.what} sent {len(rows)} vectors for {len(texts)} texts")
        return Vectors([_unit(row) for row in rows], _tokens(answer, sum(map(estimate, texts))))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Relevance, brought between 0 and 1. Raises as `generate` does."""
        self._must_be("reranker")
        body = {
            "query": query,
            "documents": list(documents),
            "top_n": len(documents),
            "return_documents": False,
        }
        try:
            answer = await self._ask("rerank", body)
        except NoSuchRoute:
            answer = await self._ask("rerankers", body)  # as Qianfan calls it
        values: list[float | None] = [None] * len(documents)
        for row in answer if isinstance(answer, list) else _list(answer, "results"):
            values[int(row["index"])] = float(
                row["relevance_score"] if "relevance_score" in row else row["score"]
            )
        if None in values:
            raise EngineFailed(f"{self._server.what} scored only some of the {len(documents)} documents")
        cost = estimate(query) + sum(map(estimate, documents))
        return Scores(within_one([value or 0.0 for value in values]), _tokens(answer, cost))

    async def paint(self, wish: ImageWish) -> list[bytes]:
        """Images as the server made them. Raises as `generate` does."""
        self._must_be("text2image")
        body: dict[str, Any] = {
            "prompt": wish.prompt,
            "n": wish.count,
            "size": f"{wish.size[0]}x{wish.size[1]}",
            "response_format": "b64_json",
            "negative_prompt": wish.negative_prompt or None,
            "steps": wish.steps,
            "seed": wish.seed,
            "cfg_scale": wish.guidance,
            "sampler": wish.sampler,
            "style": wish.style,
        }
        try:
            answer = await self._ask("images/generations", body)
        except RequestRefused as refused:
            if "response_format" not in str(refused):  # some servers know no other format and refuse the word
                raise
            answer = await self._ask("images/generations", {**body, "response_format": None})
        images = []
        for row in _list(answer, "data"):
            if not row.get("b64_json"):
                raise EngineFailed(
                    f"{self._server.what} answered with the address of an image, not the image itself; "
                    "set it to answer with b64_json"
                )
            try:
                images.append(base64.b64decode(row["b64_json"], validate=True))
            except (binascii.Error, ValueError):
                raise EngineFailed(f"{self._server.what} sent an image that is no base64") from None
        if not images:
            raise EngineFailed(f"{self._server.what} sent no image")
        return images

    async def count_tokens(self, text: str) -> int:
        """Tokens, by the /tokenize route that vLLM and llama.cpp have. Raises RequestRefused where there is none."""
        body = {"prompt": text, "content": text, "add_special_tokens": False, "add_special": False}
        for path in ("//tokenize", "tokenize"):
            try:
                answer = await self._ask(path, body)
            except NoSuchRoute:
                continue
            return int(answer["count"]) if "count" in answer else len(answer["tokens"])
        return await super().count_tokens(text)

    def alive(self) -> bool:
        """False once closed. Whether the server is there, only `health` knows."""
        return not self._closed

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when the server lists its models, or at least answers; else EngineFailed."""
        if self._closed:
            raise EngineFailed("the upstream was closed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._server.get("models")
        except TimeoutError:
            raise EngineFailed(f"{self._server.what} did not answer within {timeout_s:g} s") from None
        except RequestRefused:
            return  # it is there; not every server lists its models

    async def close(self) -> None:
        """Close the connections. May be called again."""
        self._closed = True
        await self._server.close()

    async def _answer(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        plain = "chat" not in self._kinds and "image2text" not in self._kinds
        if plain:
            self._must_be("completions")
            path, body = "completions", completion_body(self._model, messages, sampling)
        else:
            path, body = "chat/completions", chat_body(self._model, messages, sampling)
        finish: Finish = "stop"
        usage: Mapping[str, Any] = {}
        pieces = 0
        calls = Calls()
        async with self._slots:
            if self._closed:
                raise EngineFailed("the upstream was closed")
            async with aclosing(self._events(path, body)) as events:
                async for event in events:
                    usage = event.get("usage") or usage
                    for choice in event.get("choices") or ():
                        finish = FINISH.get(choice.get("finish_reason") or "", finish)
                        delta = choice.get("delta") or {}
                        text = choice.get("text") if plain else delta.get("content")
                        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
                        if text or thought:
                            pieces += 1
                            yield Delta(text or "", reasoning=thought)
                        for part in delta.get("tool_calls") or ():
                            calls.add(part)
        made = calls.whole()
        told = usage.get("prompt_tokens")
        yield Delta(
            "",
            "tool_calls" if made else finish,
            asked_tokens(messages) if told is None else int(told),
            int(usage.get("completion_tokens", pieces)),
            made,
        )

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The stream, asked again in other words when the server wants `max_tokens` under its newer name."""
        if self._newer and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        try:
            async with aclosing(self._server.stream(path, body)) as events:
                async for event in events:
                    yield event
            return
        except RequestRefused as refused:
            if "max_tokens" not in body or "max_completion_tokens" not in str(refused):
                raise
        self._newer = True
        async with aclosing(self._events(path, body)) as events:
            async for event in events:
                yield event

    async def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        async with self._slots:
            if self._closed:
                raise EngineFailed("the upstream was closed")
            return await self._server.post(path, {"model": self._model, **body})

    def _must_be(self, kind: str) -> None:
        if kind not in self._kinds:
            raise RequestRefused(
                f"this model is not of kind {kind!r}; name one that is, or add the kind to its row in the catalogue"
            )


class Calls:
    """Function calls of a stream, put together from their pieces."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, part: Mapping[str, Any]) -> None:
        """A piece of a call: its name comes first, its arguments bit by bit."""
        call = self._calls.setdefault(int(part.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = part.get("function") or {}
        call["id"] = part.get("id") or call["id"]
        call["name"] = function.get("name") or call["name"]
        call["arguments"] += function.get("arguments") or ""

    def whole(self) -> tuple[ToolCall, ...]:
        """The calls in order."""
        return tuple(
            ToolCall(call["id"] or f"call_{number}", call["name"], call["arguments"] or "{}")
            for number, call in sorted(self._calls.items())
            if call["name"]
        )


def _list(answer: Any, key: str) -> list[dict[str, Any]]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise EngineFailed(f"the upstream's answer has no list {key!r}")
    return found


def _tokens(answer: Any, otherwise: int) -> int:
    usage = (answer.get("usage") or {}) if isinstance(answer, dict) else {}
    told = usage.get("prompt_tokens", usage.get("total_tokens"))
    return otherwise if told is None else int(told)


def _unit(row: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    if not length or abs(length - 1.0) < 1e-4:
        return list(row)
    return [x / length for x in row]
