"""Images to texts."""

from __future__ import annotations

from typing import Any, ClassVar

from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import ModelClient
from .parameters import with_options


class Image2Text(ModelClient):
    """Have a model say what is in an image. There is no default: give model= (Fuyu-8B) or endpoint=."""

    kind: ClassVar[str] = "image2text"
    default_model: ClassVar[str] = ""
    batch_name: ClassVar[str] = "input_list"
    pairs: ClassVar[bool] = True

    def do(
        self,
        prompt: str,
        image: str,
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

        image: the file (png, jpg, bmp; at most 4 MB) as base64 text, without a `data:` header. Options and
        keywords as in `ChatCompletion.do`."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return self._do(self._request(prompt, image, model, endpoint, stream, request_id, kwargs), options)

    async def ado(
        self,
        prompt: str,
        image: str,
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
        request = self._request(prompt, image, model, endpoint, stream, request_id, kwargs)
        return await self._ado(request, options)

    def _request(
        self,
        prompt: str,
        image: str,
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        if not any(self._chosen(model, endpoint)):
            raise InvalidArgumentError(
                "neither a model nor an endpoint is given, and there is no default",
                advice='give endpoint= of your service, or model="Fuyu-8B"',
                advice_zh='请传入服务的 endpoint=，或 model="Fuyu-8B"',
            )
        if not isinstance(image, str):
            raise InvalidArgumentError(
                f"image must be a base64 text, not {type(image).__name__}",
                advice="as in base64.b64encode(path.read_bytes()).decode()",
                advice_zh="例如 base64.b64encode(path.read_bytes()).decode()",
            )
        route, row = self._target(model, endpoint)
        body: dict[str, Any] = {"prompt": prompt, "image": image}
        if stream:
            body["stream"] = True
        return self._call(route, body, extra, request_id, row=row, is_marked=False)
