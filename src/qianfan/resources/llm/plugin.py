"""Plugin applications: a model that may use tools of the platform."""

from __future__ import annotations

from typing import Any, ClassVar

from qianfan.errors import ArgumentNotFoundError, InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import ModelClient, as_list
from .messages import Messages
from .parameters import with_options

Query = str | Messages | list[dict[str, Any]]


class Plugin(ModelClient):
    """Ask a plugin application: `endpoint=` is its address; without one, the model EBPlugin with `plugins=`."""

    kind: ClassVar[str] = "plugin"
    default_model: ClassVar[str] = "EBPlugin"

    batch_name: ClassVar[str] = "query_list"

    def do(
        self,
        query: Query | None = None,
        plugins: list[str] | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        prompt: Query | None = None,
        **kwargs: Any,
    ) -> QfResponse | Stream:
        """Ask and wait: the text is `resp["result"]`. `prompt` is another name of `query`.

        Options and further keywords as in `ChatCompletion.do`."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        asked = prompt if query is None else query
        return self._do(self._request(asked, plugins, model, endpoint, stream, request_id, kwargs), options)

    async def ado(
        self,
        query: Query | None = None,
        plugins: list[str] | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        prompt: Query | None = None,
        **kwargs: Any,
    ) -> QfResponse | AsyncStream:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        asked = prompt if query is None else query
        request = self._request(asked, plugins, model, endpoint, stream, request_id, kwargs)
        return await self._ado(request, options)

    def _request(
        self,
        query: Query | None,
        plugins: list[str] | None,
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        if query is None:
            raise ArgumentNotFoundError(
                "there is no query",
                advice="give query= (or prompt=, its older name)",
                advice_zh="请传入 query=（旧名 prompt=）",
            )
        route, row = self._target(model, endpoint)
        if self._chosen(model, endpoint)[1]:
            if not isinstance(query, str):
                raise InvalidArgumentError(
                    "a plugin application takes one text",
                    advice="give query as a text",
                    advice_zh="query 须为一段文本",
                )
            body: dict[str, Any] = {"plugins": plugins} if plugins else {}
            body["stream"] = bool(stream)
            return self._call(route, body, extra, request_id, last={"query": query})
        if not plugins:
            raise ArgumentNotFoundError(
                "the required key `plugins` is not provided",
                advice="give endpoint= of your application, or plugins= for the model EBPlugin",
                advice_zh="请传入应用的 endpoint=，或为 EBPlugin 传入 plugins=",
            )
        turns = [{"role": "user", "content": query}] if isinstance(query, str) else as_list(query)
        body = {"messages": turns, "plugins": plugins, "stream": bool(stream)}
        return self._call(route, body, extra, request_id, row=row)
