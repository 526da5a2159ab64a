"""Going on with a text."""

from __future__ import annotations

from typing import Any, ClassVar

from qianfan.contract import models as presets
from qianfan.contract.routes import inference_path
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import ModelClient, with_options


class Completion(ModelClient):
    """Have a model go on with a prompt. The default is ERNIE-Bot-turbo; chat models get it as one user turn."""

    kind: ClassVar[str] = "completions"
    default_model: ClassVar[str] = "ERNIE-Bot-turbo"

    @classmethod
    def table(cls) -> dict[str, presets.PresetModel]:
        return {**presets.table("chat"), **presets.table("completions")}

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
        if model is None and endpoint is None:
            model, endpoint = self._model, self._endpoint
        name = model or self.default_model
        in_chat = name in presets.table("chat") and (model is not None or endpoint is None)
        if endpoint:
            path = inference_path("chat" if in_chat else "completions", endpoint.strip("/"))
        else:
            path = inference_path("chat" if in_chat else "completions", self.get_model_info(name).path)
        body: dict[str, Any] = (
            {"messages": [{"role": "user", "content": prompt}]} if in_chat else {"prompt": prompt}
        )
        extra = {**extra, "request_id": request_id}
        return self._call(path, {**body, "stream": bool(stream)}, extra, finish=_as_completion)


def _as_completion(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "object": "completion"} if "object" in body else body
