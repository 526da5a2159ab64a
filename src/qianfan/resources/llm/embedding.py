"""Texts to vectors."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .base import ModelClient, with_options


class Embedding(ModelClient):
    """Turn texts into vectors. The default is Embedding-V1 (384 numbers, at most 16 texts a call)."""

    kind: ClassVar[str] = "embeddings"
    default_model: ClassVar[str] = "Embedding-V1"

    def do(
        self,
        texts: list[str],
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """Vectors are at `resp["data"][i]["embedding"]`, in the order of `texts`. stream must stay False."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        return cast(
            QfResponse, self._do(self._request(texts, model, endpoint, stream, request_id, kwargs), options)
        )

    async def ado(
        self,
        texts: list[str],
        model: str | None = None,
        endpoint: str | None = None,
        stream: bool = False,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """The same for asyncio."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(texts, model, endpoint, stream, request_id, kwargs)
        return cast(QfResponse, await self._ado(request, options))

    def _request(
        self,
        texts: list[str],
        model: str | None,
        endpoint: str | None,
        stream: bool,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        if stream:
            raise InvalidArgumentError("embeddings do not come as a stream", advice="leave stream=False")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError("texts must be a list of texts", advice='as in ["世界上最高的山"]')
        body = {"input": list(texts), "stream": False}
        return self._call(self._path(model, endpoint), body, {**extra, "request_id": request_id})
