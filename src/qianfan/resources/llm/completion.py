"""Going on with a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from qianfan.contract import models as presets
from qianfan.contract.routes import Route
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import ModelClient
from .parameters import with_options
from .paths import preset_route
from .service_list import Services


class Completion(ModelClient):
    """Have a model go on with a prompt. The default is ERNIE-Bot-turbo; chat models get it as one user turn."""

    kind: ClassVar[str] = "completions"
    default_model: ClassVar[str] = "ERNIE-Bot-turbo"
    batch_name: ClassVar[str] = "prompt_list"

    @classmethod
    def table(cls) -> dict[str, presets.PresetModel]:
        return presets.completing()

    @classmethod
    def _kinds(cls) -> tuple[str, ...]:
        return ("completions", "chat")

    def do(
        self,
        prompt: str,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse | Stream:
        """Ask and wait: the text is `resp["result"]`. Options and keywords as in `ChatCompletion.do`."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return self._do(self._request(prompt, model, endpoint, stream, request_id, kwargs), options)

    async def ado(
        self,
        prompt: str,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse | AsyncStream:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return await self._ado(self._request(prompt, model, endpoint, stream, request_id, kwargs), options)

    def _request(
        self,
        prompt: str,
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        route, row = self._target(model, endpoint)
        member = _as_turn(prompt) if row is not None and "messages" in row.required else {"prompt": prompt}
        body = {**member, "stream": bool(stream)}
        return self._call(route, body, extra, request_id, row=row, finish=_as_completion)

    def _target(self, model: str | None, endpoint: str | None) -> tuple[Route, presets.PresetModel | None]:
        """An endpoint is asked as `/completions/`, or as `/chat/` beside the name of a chat model."""
        route, row = super()._target(model, endpoint)
        endpoint = self._chosen(model, endpoint)[1]
        if row is not None and "messages" in row.required:
            route = self._route_of("chat", endpoint) if endpoint else preset_route("chat", row.path)
        return route, row

    def _found(self, request: Call, model: str, services: Services) -> Call:
        found = super()._found(request, model, services)
        if "/chat/" not in found.route.path:
            return found
        body = dict(found.body)
        turn = _as_turn(body.pop("prompt"))
        return replace(found, body={**turn, **body})


def _as_turn(prompt: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}]}


def _as_completion(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "object": "completion"} if "object" in body else body
