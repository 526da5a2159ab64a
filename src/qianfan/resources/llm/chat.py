"""Conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, cast

from qianfan.config import get_config
from qianfan.contract import models as presets
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from . import continuation, downgrade
from .base import V2, ModelClient, as_list
from .conversation import from_openai, shortened
from .messages import Messages
from .parameters import with_options


class ChatCompletion(ModelClient):
    """Ask a chat model. The default is ERNIE-Bot-turbo.

    version="2" speaks the OpenAI-shaped interface, with a bearer token or IAM keys; the text is then at
    `resp["choices"][0]["message"]["content"]`."""

    kind: ClassVar[str] = "chat"
    default_model: ClassVar[str] = "ERNIE-Bot-turbo"
    v2: ClassVar[V2 | None] = V2("CHAT_V2_API_ROUTE", "ernie-lite-8k")
    batch_name: ClassVar[str] = "messages_list"

    def do(
        self,
        messages: Messages | list[dict[str, Any]],
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        auto_concat_truncate: bool = False,
        truncated_continue_prompt: str = continuation.CONTINUE,
        truncate_overlong_msgs: bool = False,
        adapt_openai_message_format: bool = False,
        **kwargs: Any,
    ) -> QfResponse | Iterator[QfResponse]:
        """Ask and wait: the text is `resp["result"]`. With stream=True, iterate over the pieces.

        messages: turns, user and assistant in turn, an odd number. An endpoint beats a model.
        retry_count: attempts in total, default 1. request_timeout: seconds, default 60; of a stream, between
        two pieces. backoff_factor: seconds before the second attempt. auto_concat_truncate: ask on, with
        truncated_continue_prompt, while the length limit cuts the answer. truncate_overlong_msgs: leave out the
        oldest turns where a preset model is documented to take less. adapt_openai_message_format: take messages
        as OpenAI's clients write them, with system, tool and neighbours of one side. Further keywords go into
        the body: temperature (0, 1], top_p [0, 1], penalty_score [1, 2], system, stop, functions, user_id, …"""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        turns = as_list(messages)
        if adapt_openai_message_format and not self._speaks_v2():
            turns = _adapted(turns, kwargs)
        if truncate_overlong_msgs:
            turns = self._shortened(turns, model, endpoint, kwargs)
        request = self._request(turns, model, endpoint, stream, request_id, kwargs)
        if not auto_concat_truncate:
            return self._do(request, options)
        if stream:
            return continuation.pieces(
                lambda call: cast(Stream, self._do(call, options)), request, truncated_continue_prompt
            )
        return continuation.whole(
            lambda call: cast(QfResponse, self._do(call, options)), request, truncated_continue_prompt
        )

    async def ado(
        self,
        messages: Messages | list[dict[str, Any]],
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        auto_concat_truncate: bool = False,
        truncated_continue_prompt: str = continuation.CONTINUE,
        truncate_overlong_msgs: bool = False,
        adapt_openai_message_format: bool = False,
        **kwargs: Any,
    ) -> QfResponse | AsyncIterator[QfResponse]:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        turns = as_list(messages)
        if adapt_openai_message_format and not self._speaks_v2():
            turns = _adapted(turns, kwargs)
        if truncate_overlong_msgs:
            turns = self._shortened(turns, model, endpoint, kwargs)
        request = self._request(turns, model, endpoint, stream, request_id, kwargs)
        if not auto_concat_truncate:
            return await self._ado(request, options)

        async def ask_stream(call: Call) -> AsyncStream:
            return cast(AsyncStream, await self._ado(call, options))

        async def ask(call: Call) -> QfResponse:
            return cast(QfResponse, await self._ado(call, options))

        if stream:
            return continuation.apieces(ask_stream, request, truncated_continue_prompt)
        return await continuation.awhole(ask, request, truncated_continue_prompt)

    def _request(
        self,
        turns: list[Any],
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        body: dict[str, Any] = {"messages": turns, "stream": bool(stream)}
        if self._version == "1":
            route, row = self._target(model, endpoint)
            return self._call(route, body, extra, request_id, row=row)
        v2_route, name = self._v2_target(model, endpoint)
        if self._speaks_v2():
            return self._call(v2_route, {"model": name, **body}, extra, request_id)
        row = presets.find(self.table(), name)
        route = self._target(name, None)[0] if row else self._route_of(self.kind, name)
        extra = downgrade.body_of(turns, extra)
        body["messages"] = extra.pop("messages")
        finish = downgrade.answers(name, bool(stream))
        return self._call(route, body, extra, request_id, finish=finish)

    def _speaks_v2(self) -> bool:
        return self._version == "2" and not get_config().V2_INFER_API_DOWNGRADE

    def _shortened(
        self, turns: list[Any], model: str | None, endpoint: str | None, extra: dict[str, Any]
    ) -> list[Any]:
        model, endpoint = self._chosen(model, endpoint)
        name = model if model or endpoint else self.default_model
        if self._version == "2":
            name = endpoint or model or cast(V2, self.v2).default_model
        row = presets.find(self.table(), name) if name else None
        return shortened(turns, str(extra.get("system") or ""), row)


def _adapted(turns: list[Any], extra: dict[str, Any]) -> list[Any]:
    """V1 turns of OpenAI's; their system text joins the one in `extra`."""
    system, turns = from_openai(turns)
    if system:
        extra["system"] = "\n".join(part for part in (extra.get("system"), system) if part)
    return turns
