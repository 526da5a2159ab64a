"""The hot routes: chat and completion, V1 and V2. Plain Starlette, no transaction, nothing read twice."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qianfan.contract import errors, sse
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.routes import INFERENCE_PREFIX, Family
from qianfan_platform.engines.protocol import Delta
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.web import hot
from qianfan_platform.web.call import Authenticate
from qianfan_platform.web.envelopes import Json

from . import operations
from .operations import Finder, Prompt

DONE = b"data: [DONE]\n\n"
SERVED_BY = "X-Qianfan-Served-By"


def hot_routes(platform: Platform, authenticate: Authenticate) -> list[Route]:
    """The routes, ready to go before those of the console."""
    handlers = _Handlers(platform, authenticate)
    v1 = f"{INFERENCE_PREFIX}/{{kind}}/{{endpoint}}"
    return [
        Route(v1.replace("{kind}", "chat"), handlers.guard("inference", handlers.chat), methods=["POST"]),
        Route(
            v1.replace("{kind}", "completions"),
            handlers.guard("inference", handlers.completion),
            methods=["POST"],
        ),
        Route("/v2/chat/completions", handlers.guard("openai", handlers.v2_chat), methods=["POST"]),
        Route("/v2/models", handlers.guard("openai", handlers.v2_models), methods=["GET"]),
    ]


class _Handlers:
    def __init__(self, platform: Platform, authenticate: Authenticate) -> None:
        self._platform, self._authenticate = platform, authenticate
        self._finder = Finder(platform)

    def guard(
        self, family: Family, handler: Callable[[Request, int], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Authenticate first; any failure answers in the family's shape."""

        async def guarded(request: Request) -> Response:
            hot.note(request, route=request.scope["path"])
            try:
                caller = await self._authenticate(request, family)
                hot.note(request, route=request.scope["path"], owner=caller.owner, app=caller.app)
                return await handler(request, caller.owner)
            except hot.Left:
                return Response(status_code=499)
            except Exception as error:
                return hot.failed(request, family, error)

        return guarded

    async def chat(self, request: Request, owner: int) -> Response:
        body = await hot.read_object(request)
        prompt = operations.v1_prompt(body)
        answering = await self._finder.find(owner, request.path_params["endpoint"])
        return await self._v1(request, body, prompt, answering, "chat.completion")

    async def completion(self, request: Request, owner: int) -> Response:
        body = await hot.read_object(request)
        prompt = operations.completion_prompt(body)
        answering = await self._finder.find(owner, request.path_params["endpoint"])
        return await self._v1(request, body, prompt, answering, "completion")

    async def _v1(
        self, request: Request, body: dict[str, Any], prompt: Prompt, answering: Answering, kind: str
    ) -> Response:
        head = {"id": f"as-{random_word(10)}", "object": kind, "created": int(time.time())}
        headers = _served_by(answering)
        if body.get("stream") is True:
            frames = self._v1_frames(head, prompt, answering)
            return hot.EventStream(frames, "inference", headers=headers)
        text, last = await hot.unless_left(request, self._whole(prompt, answering))
        answer = {**head, "result": text, **_v1_end(kind, last), "usage": _usage(last)}
        if kind == "chat.completion":
            answer["finish_reason"] = "length" if last.finish_reason == "length" else "normal"
        return Json(answer, headers=headers)

    async def _v1_frames(
        self, head: dict[str, Any], prompt: Prompt, answering: Answering
    ) -> AsyncGenerator[bytes]:
        """Frames of a V1 stream: increments, cumulative usage, `is_end` on the last."""
        number, tokens = 0, 0
        async with operations.answer(self._platform, answering, prompt) as pieces:
            async for delta in pieces:
                over = delta.finish_reason is not None
                if not over and not delta.text:
                    continue
                tokens = delta.completion_tokens or tokens + 1
                so_far = Delta(
                    finish_reason=delta.finish_reason,
                    prompt_tokens=delta.prompt_tokens,
                    completion_tokens=tokens,
                )
                frame = {
                    **head,
                    "sentence_id": number,
                    "is_end": over,
                    "result": delta.text,
                    **_v1_end(head["object"], delta),
                    "usage": _usage(so_far),
                }
                if over and head["object"] == "chat.completion":
                    frame["finish_reason"] = "length" if delta.finish_reason == "length" else "normal"
                yield sse.encode(orjson.dumps(frame))
                number += 1

    async def _whole(self, prompt: Prompt, answering: Answering) -> tuple[str, Delta]:
        parts: list[str] = []
        last = Delta()
        async with operations.answer(self._platform, answering, prompt) as pieces:
            async for delta in pieces:
                parts.append(delta.text)
                last = delta
        return "".join(parts), last

    async def v2_chat(self, request: Request, owner: int) -> Response:
        body = await hot.read_object(request)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Fault(errors.UNSUPPORTED_METHOD, "model is empty", "name a model of GET /v2/models")
        prompt = operations.v2_prompt(body)
        answering = await self._finder.find(owner, model)
        head = {"id": f"as-{random_word(10)}", "created": int(time.time()), "model": model}
        if body.get("stream") is True:
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            frames = self._v2_frames(head, prompt, answering, usage)
            return hot.EventStream(frames, "openai", headers=_served_by(answering), tail=DONE)
        text, last = await hot.unless_left(request, self._whole(prompt, answering))
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": last.finish_reason or "stop",
            "flag": 0,
            "ban_round": 0,
            "need_clear_history": False,
        }
        answer = {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(last)}
        return Json(answer, headers=_served_by(answering))

    async def _v2_frames(
        self, head: dict[str, Any], prompt: Prompt, answering: Answering, usage: bool
    ) -> AsyncGenerator[bytes]:
        head = {**head, "object": "chat.completion.chunk"}
        first = True
        async with operations.answer(self._platform, answering, prompt) as pieces:
            async for delta in pieces:
                content: dict[str, Any] = {"content": delta.text}
                if first:
                    content, first = {"role": "assistant", **content}, False
                choice = {"index": 0, "delta": content, "finish_reason": delta.finish_reason}
                yield sse.encode(orjson.dumps({**head, "choices": [choice]}))
                if delta.finish_reason is not None and usage:
                    yield sse.encode(orjson.dumps({**head, "choices": [], "usage": _usage(delta)}))

    async def v2_models(self, request: Request, owner: int) -> Response:
        """Every name that answers; a stand-in says so."""
        rows = []
        for served in self._platform.catalogue.names("chat"):
            rows.append(
                {
                    "id": served.name,
                    "object": "model",
                    "created": 0,
                    "owned_by": "platform",
                    "served_by": served.entry.name,
                    "stand_in": served.stand_in,
                    "note": served.note,
                }
            )
        return Json({"object": "list", "data": rows})


def _served_by(answering: Answering) -> dict[str, str]:
    served = answering.served
    if served is None:
        return {}
    return {SERVED_BY: f"{served.entry.name}; stand-in" if served.stand_in else served.entry.name}


def _v1_end(kind: str, delta: Delta) -> dict[str, Any]:
    if kind == "completion":
        return {"is_safe": 1}
    return {"is_truncated": delta.finish_reason == "length", "need_clear_history": False}


def _usage(delta: Delta) -> dict[str, int]:
    prompt, completion = delta.prompt_tokens or 0, delta.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
