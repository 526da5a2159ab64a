"""Functions that a model may ask for, for models that only read and write text.

The functions go into the system text; the model answers with lines `Action:` and `Action Input:`, which become
the `function_call` of the answer. A server that answers with a `function_call` by itself is left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, ClassVar, cast

from qianfan.contract import models as presets
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .actions import ActionReader, parsed, rendered, spoken
from .base import ModelClient, as_list
from .messages import Messages
from .parameters import with_options


class Function(ModelClient):
    """Ask a model that may call functions. The default is ERNIE-Functions-8K."""

    kind: ClassVar[str] = "chat"
    default_model: ClassVar[str] = "ERNIE-Functions-8K"
    batch_name: ClassVar[str] = "messages_list"

    @classmethod
    def table(cls) -> dict[str, presets.PresetModel]:
        return presets.table("function")

    def do(
        self,
        messages: Messages | list[dict[str, Any]],
        functions: list[dict[str, Any]] | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse | Iterator[QfResponse]:
        """Ask and wait: `resp["function_call"]` has `name`, `arguments` (JSON text) and `thoughts` when the
        model wants a function called; `resp["result"]` is its text when it does not.

        functions: each with `name`, `description` and `parameters` (JSON Schema). Send the result of a call as
        a turn of role function: `Messages` does so by itself. With stream=True the call comes with the last
        piece. Options as in `ChatCompletion.do`. Raises InvalidArgumentError for a function without a name."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(messages, functions, model, endpoint, stream, request_id, kwargs)
        answer = self._do(request, options)
        return _pieces(cast(Stream, answer)) if stream and functions else answer

    async def ado(
        self,
        messages: Messages | list[dict[str, Any]],
        functions: list[dict[str, Any]] | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse | AsyncIterator[QfResponse]:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(messages, functions, model, endpoint, stream, request_id, kwargs)
        answer = await self._ado(request, options)
        return _apieces(cast(AsyncStream, answer)) if stream and functions else answer

    def _request(
        self,
        messages: Messages | list[dict[str, Any]],
        functions: list[dict[str, Any]] | None,
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        turns = [spoken(turn) for turn in as_list(messages)]
        finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        if functions:
            extra = {**extra, "system": _system(extra.get("system"), functions)}
            finish = None if stream else _with_call
        route, row = self._target(model, endpoint)
        body = {"messages": turns, "stream": bool(stream)}
        return self._call(route, body, extra, request_id, row=row, finish=finish)


def _system(own: Any, functions: list[dict[str, Any]]) -> str:
    for function in functions:
        if not isinstance(function, Mapping) or not str(function.get("name") or "").strip():
            raise InvalidArgumentError(
                f"a function has no name: {function!r}",
                advice="give each a name, a description and parameters (a JSON Schema)",
                advice_zh="每个函数都需要 name、description 与 parameters（JSON Schema）",
            )
    try:
        instruction = rendered(functions)
    except TypeError as error:
        raise InvalidArgumentError(
            f"the functions cannot be written as JSON: {error}",
            advice="parameters is a JSON Schema",
            advice_zh="parameters 须为 JSON Schema",
        ) from None
    return "\n\n".join(part for part in (str(own or ""), instruction) if part)


def _with_call(body: dict[str, Any]) -> dict[str, Any]:
    """An answer, with the function call that its text asks for."""
    if body.get("function_call"):
        return body
    call = parsed(str(body.get("result") or ""))
    if call is None:
        return body
    return {**body, "result": "", "function_call": call, "finish_reason": "function_call"}


def _shown(reader: ActionReader, answer: QfResponse) -> QfResponse | None:
    """A piece as the caller sees it, or None for one that is held back."""
    body = answer.body
    text = reader.feed(str(body.get("result") or ""))
    if not body.get("is_end"):
        answer.body = {**body, "result": text}
        return answer if text or body.get("function_call") else None
    rest, call = reader.close()
    answer.body = {**body, "result": text + rest}
    if call is not None and not body.get("function_call"):
        answer.body.update(function_call=call, finish_reason="function_call")
    return answer


def _pieces(stream: Stream) -> Iterator[QfResponse]:
    reader = ActionReader()
    with stream:
        for answer in stream:
            shown = _shown(reader, answer)
            if shown is not None:
                yield shown


async def _apieces(stream: AsyncStream) -> AsyncIterator[QfResponse]:
    reader = ActionReader()
    async with stream:
        async for answer in stream:
            shown = _shown(reader, answer)
            if shown is not None:
                yield shown
