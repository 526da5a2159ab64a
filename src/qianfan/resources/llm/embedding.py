"""Texts to vectors."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .base import V2, ModelClient
from .parameters import with_options


class Embedding(ModelClient):
    """Turn texts into vectors. The default is Embedding-V1 (384 numbers, at most 16 texts a call).

    version="2" speaks the OpenAI-shaped interface, with a bearer token or IAM keys."""

    kind: ClassVar[str] = "embeddings"
    default_model: ClassVar[str] = "Embedding-V1"
    v2: ClassVar[V2 | None] = V2("EMBEDDING_V2_API_ROUTE", "embedding-v1")
    batch_name: ClassVar[str] = "texts_list"

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
            raise InvalidArgumentError(
                "embeddings do not come as a stream",
                advice="leave stream=False",
                advice_zh="请保持 stream=False",
            )
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError(
                "texts must be a list of texts",
                advice='as in ["世界上最高的山"]',
                advice_zh='例如 ["世界上最高的山"]',
            )
        if self._speaks_v2():
            v2_route, name = self._v2_target(model, endpoint)
            return self._call(
                v2_route, {"model": name, "input": list(texts)}, extra, request_id, is_marked=False
            )
        route, row = self._target(model, endpoint)
        return self._call(route, {"input": list(texts), "stream": False}, extra, request_id, row=row)
