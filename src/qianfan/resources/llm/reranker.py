"""Documents in the order of what they have to do with a question."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse

from .base import V2, ModelClient
from .parameters import with_options


class Reranker(ModelClient):
    """Sort documents by relevance to a query. The default is bce-reranker-base_v1.

    version="2" speaks the OpenAI-shaped interface, with a bearer token or IAM keys."""

    kind: ClassVar[str] = "reranker"
    default_model: ClassVar[str] = "bce-reranker-base_v1"
    v2: ClassVar[V2 | None] = V2("RERANKER_V2_API_ROUTE", "bce-reranker-base_v1")
    pairs: ClassVar[bool] = True

    def do(
        self,
        query: str,
        documents: list[str],
        top_n: int | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """`resp["results"]` has `document`, `relevance_score` and `index` (place in `documents`), best first.

        documents: at most 64 texts. top_n: how many to answer, default all. Options as in `ChatCompletion.do`."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(query, documents, top_n, model, endpoint, request_id, kwargs)
        return cast(QfResponse, self._do(request, options))

    async def ado(
        self,
        query: str,
        documents: list[str],
        top_n: int | None = None,
        model: str | None = None,
        endpoint: str | None = None,
        retry_count: int | None = None,
        request_timeout: float | None = None,
        request_id: str | None = None,
        backoff_factor: float | None = None,
        **kwargs: Any,
    ) -> QfResponse:
        """The same for asyncio."""
        options = with_options(kwargs, retry_count, request_timeout, backoff_factor)
        request = self._request(query, documents, top_n, model, endpoint, request_id, kwargs)
        return cast(QfResponse, await self._ado(request, options))

    def _request(
        self,
        query: str,
        documents: list[str],
        top_n: int | None,
        model: str | None,
        endpoint: str | None,
        request_id: str | None,
        extra: dict[str, Any],
    ) -> Call:
        if extra.get("stream"):
            raise InvalidArgumentError(
                "rankings do not come as a stream",
                advice="leave stream=False",
                advice_zh="请保持 stream=False",
            )
        if isinstance(documents, str) or not all(isinstance(text, str) for text in documents):
            raise InvalidArgumentError(
                "documents must be a list of texts",
                advice='as in ["one", "two"]',
                advice_zh='例如 ["一", "二"]',
            )
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InvalidArgumentError(
                f"top_n is {top_n!r}",
                advice="it is a number of documents: 1 or more",
                advice_zh="它是返回的文档数，须不小于 1",
            )
        body: dict[str, Any] = {"query": query, "documents": list(documents)}
        if top_n is not None:
            body["top_n"] = top_n
        if self._speaks_v2():
            v2_route, name = self._v2_target(model, endpoint)
            return self._call(v2_route, {"model": name, **body}, extra, request_id, is_marked=False)
        route, row = self._target(model, endpoint)
        return self._call(route, {**body, "stream": False}, extra, request_id, row=row)
