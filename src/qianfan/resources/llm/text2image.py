"""Texts to images."""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar, cast

from qianfan.errors import InvalidArgumentError, RequestError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .base import ModelClient
from .parameters import with_options


class Text2Image(ModelClient):
    """Have a model draw. The default is Stable-Diffusion-XL."""

    kind: ClassVar[str] = "text2image"
    default_model: ClassVar[str] = "Stable-Diffusion-XL"
    batch_name: ClassVar[str] = "prompt_list"

    def do(
        self,
        prompt: str,
        model: str | None = None,
        endpoint: str | None = None,
        with_decode: str | None = None,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """Images are at `resp["data"][i]["b64_image"]`; with_decode="base64" adds their bytes as `image`.

        Further keywords: negative_prompt, size ("1024x1024"), n (1 to 4), steps, seed, cfg_scale, style, …"""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(prompt, model, endpoint, with_decode, request_id, kwargs)
        return cast(QfResponse, self._do(request, options))

    async def ado(
        self,
        prompt: str,
        model: str | None = None,
        endpoint: str | None = None,
        with_decode: str | None = None,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """The same for asyncio."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(prompt, model, endpoint, with_decode, request_id, kwargs)
        return cast(QfResponse, await self._ado(request, options))

    def _request(
        self,
        prompt: str,
        model: str | None,
        endpoint: str | None,
        with_decode: str | None,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        if with_decode not in (None, "base64"):
            raise InvalidArgumentError(
                f"with_decode is {with_decode!r}",
                advice='give "base64" or None',
                advice_zh='请传入 "base64" 或 None',
            )
        route, row = self._target(model, endpoint)
        finish = _decoded if with_decode else None
        body = {"prompt": prompt}
        return self._call(route, body, extra, request_id, row=row, is_marked=False, finish=finish)


def _decoded(body: dict[str, Any]) -> dict[str, Any]:
    try:
        images = [
            {**image, "image": base64.b64decode(image["b64_image"], validate=True)} for image in body["data"]
        ]
    except (KeyError, TypeError, binascii.Error) as error:
        raise RequestError(
            "the answer holds no base64 images",
            cause=error,
            advice="leave with_decode out and look at the answer",
            advice_zh="请去掉 with_decode 后查看返回内容",
        ) from error
    return {**body, "data": images}
