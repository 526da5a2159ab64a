"""Conversations."""

from __future__ import annotations

from typing import Any, ClassVar

from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import ModelClient, as_list, with_options
from .messages import Messages


class ChatCompletion(ModelClient):
    """Ask a chat model. The default is ERNIE-Bot-turbo."""

    kind: ClassVar[str] = "chat"
    default_model: ClassVar[str] = "ERNIE-Bot-turbo"

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
        **kwargs: Any,
    ) -> QfResponse | Stream:
        """Ask and wait: the text is `resp["result"]`. With stream=True, iterate over the pieces.

        messages: turns, user and assistant in turn, an odd number. An endpoint beats a model.
        retry_count: attempts in total, default 1. request_timeout: seconds, default 60; of a stream, between
        two pieces. backoff_factor: seconds before the second attempt. Further keywords go into the body:
        temperature (0, 1], top_p [0, 1], penalty_score [1, 2], system, stop, functions, user_id, …"""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return self._do(self._request(messages, model, endpoint, stream, request_id, kwargs), options)

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
        **kwargs: Any,
    ) -> QfResponse | AsyncStream:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return await self._ado(self._request(messages, model, endpoint, stream, request_id, kwargs), options)

    def _request(
        self,
        messages: Messages | list[dict[str, Any]],
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        body = {"messages": as_list(messages), "stream": bool(stream)}
        return self._call(self._path(model, endpoint), body, {**extra, "request_id": request_id})
