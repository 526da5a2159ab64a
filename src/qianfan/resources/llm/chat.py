"""Conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, cast

from qianfan.config import get_config
from qianfan.contract.routes import V2_CHAT
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.caller import Manner
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from . import continuation
from .base import ModelClient, as_list, with_options
from .messages import Messages

V2_DEFAULT = "ernie-lite-8k"


class ChatCompletion(ModelClient):
    """Ask a chat model. The default is ERNIE-Bot-turbo.

    version="2" speaks the OpenAI-shaped interface, with a bearer token or IAM keys; the text is then at
    `resp["choices"][0]["message"]["content"]`."""

    kind: ClassVar[str] = "chat"
    default_model: ClassVar[str] = "ERNIE-Bot-turbo"

    def __init__(self, model: str | None = None, endpoint: str | None = None, **kwargs: Any) -> None:
        self._version = str(kwargs.pop("version", None) or "1")
        if self._version not in ("1", "2"):
            raise InvalidArgumentError(f"there is no version {self._version!r}", advice='give "1" or "2"')
        super().__init__(model, endpoint, **kwargs)

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
        **kwargs: Any,
    ) -> QfResponse | Iterator[QfResponse]:
        """Ask and wait: the text is `resp["result"]`. With stream=True, iterate over the pieces.

        messages: turns, user and assistant in turn, an odd number. An endpoint beats a model.
        retry_count: attempts in total, default 1. request_timeout: seconds, default 60; of a stream, between
        two pieces. backoff_factor: seconds before the second attempt. auto_concat_truncate: ask on, with
        truncated_continue_prompt, while the length limit cuts the answer. Further keywords go into the body:
        temperature (0, 1], top_p [0, 1], penalty_score [1, 2], system, stop, functions, user_id, …"""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(messages, model, endpoint, stream, request_id, kwargs)
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
        **kwargs: Any,
    ) -> QfResponse | AsyncIterator[QfResponse]:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(messages, model, endpoint, stream, request_id, kwargs)
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
        messages: Messages | list[dict[str, Any]],
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        body: dict[str, Any] = {"messages": as_list(messages), "stream": bool(stream)}
        extra = {**extra, "request_id": request_id}
        if self._version == "2":
            name = endpoint or model or self._endpoint or self._model or V2_DEFAULT
            return self._call(V2_CHAT, {"model": name, **body}, extra)
        return self._call(self._path(model, endpoint), body, extra)

    def _manner(self, options: Mapping[str, Any]) -> Manner:
        if self._version == "1":
            return super()._manner(options)
        config = get_config()
        return self._manner_of(options, config.CONSOLE_API_BASE_URL, self._keys.bearer_signer(config))
