"""A client shaped like OpenAI's, for the V2 interface: `Qianfan().chat.completions.create(...)`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast, overload

from qianfan.contract.routes import V2_IMAGES, V2_MODELS, Route
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream, Stream

from .base import V2, ModelClient
from .chat import ChatCompletion
from .embedding import Embedding
from .messages import Messages
from .openai_shapes import ChatAnswer, ChatChunk, EmbeddingAnswer, ImageAnswer, ModelList, RerankAnswer, Shape
from .parameters import with_options
from .reranker import Reranker

Turns = Messages | list[dict[str, Any]]
ShapeT = TypeVar("ShapeT", bound=Shape)


class Qianfan:
    """The OpenAI-shaped client.

    api_key: a bearer token (`bce-v3/…`), used as it is. access_key, secret_key: IAM keys to fetch one with.
    app_id: sent along. Without any, the settings: QIANFAN_BEARER_TOKEN, or QIANFAN_ACCESS_KEY and
    QIANFAN_SECRET_KEY. The server is QIANFAN_CONSOLE_API_BASE_URL. Further keywords as in `ChatCompletion`:
    query_per_second, ssl. Raises InvalidArgumentError when no credentials are found.

    Members: chat.completions, embeddings, rerankers with `create`, images with `generate`, models with `list`;
    the same names with an `a` before them are for asyncio."""

    def __init__(
        self,
        api_key: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        app_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        shared = {
            **kwargs,
            "version": "2",
            "bearer_token": api_key or kwargs.get("bearer_token"),
            "access_key": access_key,
            "secret_key": secret_key,
            "app_id": app_id,
        }
        self.chat = Chat(ChatCompletion(**shared))
        self.embeddings = Embeddings(Embedding(**shared))
        self.rerankers = Rerankers(Reranker(**shared))
        self.images = Images(_Other(**shared))
        self.models = Models(_Other(**shared))


class Chat:
    """`client.chat.completions`."""

    def __init__(self, client: ChatCompletion) -> None:
        self.completions = Completions(client)


class Completions:
    """Chats."""

    def __init__(self, client: ChatCompletion) -> None:
        self._client = client

    @overload
    def create(
        self, messages: Turns, model: str | None = None, stream: Literal[False] = False, **kwargs: Any
    ) -> ChatAnswer: ...
    @overload
    def create(
        self, messages: Turns, model: str | None = None, *, stream: Literal[True], **kwargs: Any
    ) -> Chunks[ChatChunk]: ...
    def create(
        self, messages: Turns, model: str | None = None, stream: bool = False, **kwargs: Any
    ) -> ChatAnswer | Chunks[ChatChunk]:
        """Ask and wait: the text is `answer.choices[0].message.content`. With stream=True, iterate over pieces.

        model: default ernie-lite-8k; a service of your own by its endpoint. Keywords go into the body
        (temperature, top_p, max_completion_tokens, tools, response_format, …), but for those that steer the
        call: retry_count, request_timeout or timeout (seconds), headers or extra_headers, extra_body."""
        answer = self._client.do(messages, model=model, stream=stream, **_keywords(kwargs))
        return Chunks(cast(Stream, answer), ChatChunk) if stream else ChatAnswer(_body(answer))

    @overload
    async def acreate(
        self, messages: Turns, model: str | None = None, stream: Literal[False] = False, **kwargs: Any
    ) -> ChatAnswer: ...
    @overload
    async def acreate(
        self, messages: Turns, model: str | None = None, *, stream: Literal[True], **kwargs: Any
    ) -> AsyncChunks[ChatChunk]: ...
    async def acreate(
        self, messages: Turns, model: str | None = None, stream: bool = False, **kwargs: Any
    ) -> ChatAnswer | AsyncChunks[ChatChunk]:
        """The same for asyncio; with stream=True, `async for` over what it returns."""
        answer = await self._client.ado(messages, model=model, stream=stream, **_keywords(kwargs))
        return AsyncChunks(cast(AsyncStream, answer), ChatChunk) if stream else ChatAnswer(_body(answer))


class Embeddings:
    """Texts to vectors."""

    def __init__(self, client: Embedding) -> None:
        self._client = client

    def create(self, input: str | list[str], model: str | None = None, **kwargs: Any) -> EmbeddingAnswer:
        """Vectors are at `answer.data[i].embedding`. model: default embedding-v1. input: a text or a list."""
        return EmbeddingAnswer(_body(self._client.do(_texts(input), model=model, **_keywords(kwargs))))

    async def acreate(
        self, input: str | list[str], model: str | None = None, **kwargs: Any
    ) -> EmbeddingAnswer:
        """The same for asyncio."""
        return EmbeddingAnswer(_body(await self._client.ado(_texts(input), model=model, **_keywords(kwargs))))


class Rerankers:
    """Documents by relevance."""

    def __init__(self, client: Reranker) -> None:
        self._client = client

    def create(
        self,
        query: str,
        documents: list[str],
        model: str | None = None,
        top_n: int | None = None,
        **kwargs: Any,
    ) -> RerankAnswer:
        """Best first at `answer.results`. model: default bce-reranker-base_v1."""
        answer = self._client.do(query, documents, top_n, model=model, **_keywords(kwargs))
        return RerankAnswer(_body(answer))

    async def acreate(
        self,
        query: str,
        documents: list[str],
        model: str | None = None,
        top_n: int | None = None,
        **kwargs: Any,
    ) -> RerankAnswer:
        """The same for asyncio."""
        answer = await self._client.ado(query, documents, top_n, model=model, **_keywords(kwargs))
        return RerankAnswer(_body(answer))


class Images:
    """Texts to images."""

    def __init__(self, client: _Other) -> None:
        self._client = client

    def generate(self, prompt: str, model: str = "Stable-Diffusion-XL", **kwargs: Any) -> ImageAnswer:
        """Images are at `answer.data[i].b64_json`, as base64 text. Keywords: n, size, steps, seed, …"""
        return ImageAnswer(_body(self._client.ask(V2_IMAGES, {"model": model, "prompt": prompt}, kwargs)))

    async def agenerate(self, prompt: str, model: str = "Stable-Diffusion-XL", **kwargs: Any) -> ImageAnswer:
        """The same for asyncio."""
        return ImageAnswer(
            _body(await self._client.aask(V2_IMAGES, {"model": model, "prompt": prompt}, kwargs))
        )


class Models:
    """Models that the server has."""

    def __init__(self, client: _Other) -> None:
        self._client = client

    def list(self, **kwargs: Any) -> ModelList:
        """Names are at `answer.data[i].id`. Of this platform; the cloud may not have the route."""
        return ModelList(_body(self._client.ask(V2_MODELS, {}, kwargs)))

    async def alist(self, **kwargs: Any) -> ModelList:
        """The same for asyncio."""
        return ModelList(_body(await self._client.aask(V2_MODELS, {}, kwargs)))


class _Other(ModelClient):
    """Routes of V2 that no class of the V1 interface has."""

    kind: ClassVar[str] = "openai"
    default_model: ClassVar[str] = ""
    v2: ClassVar[V2 | None] = V2("CHAT_V2_API_ROUTE", "")

    def ask(self, route: Route, body: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return self._do(*self._asked(route, body, _keywords(kwargs)))

    async def aask(self, route: Route, body: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        return await self._ado(*self._asked(route, body, _keywords(kwargs)))

    def _asked(
        self, route: Route, body: dict[str, Any], keywords: dict[str, Any]
    ) -> tuple[Call, dict[str, Any]]:
        options = with_options(keywords, None, None, None)
        return self._call(route, body, keywords, keywords.get("request_id"), is_marked=False), options


class Chunks(Generic[ShapeT]):
    """Pieces of a stream. `close()`, or leaving a `with`, hangs up."""

    def __init__(self, stream: Stream, shape: type[ShapeT]) -> None:
        self._stream = stream
        self._shape = shape

    def __iter__(self) -> Iterator[ShapeT]:
        return self

    def __next__(self) -> ShapeT:
        return self._shape(next(self._stream).body)

    def close(self) -> None:
        """Hang up. The server stops writing when the reader leaves."""
        self._stream.close()

    def __enter__(self) -> Chunks[ShapeT]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncChunks(Generic[ShapeT]):
    """The same for `async for`. `aclose()`, or leaving an `async with`, hangs up."""

    def __init__(self, stream: AsyncStream, shape: type[ShapeT]) -> None:
        self._stream = stream
        self._shape = shape

    def __aiter__(self) -> AsyncIterator[ShapeT]:
        return self

    async def __anext__(self) -> ShapeT:
        return self._shape((await anext(self._stream)).body)

    async def aclose(self) -> None:
        """Hang up. The server stops writing when the reader leaves."""
        await self._stream.aclose()

    async def __aenter__(self) -> AsyncChunks[ShapeT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _body(answer: Any) -> dict[str, Any]:
    return cast(QfResponse, answer).body


def _texts(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _keywords(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keywords of OpenAI's client as ours: timeout, extra_headers, extra_query, extra_body."""
    if not kwargs:
        return kwargs
    for theirs, ours in (
        ("timeout", "request_timeout"),
        ("extra_headers", "headers"),
        ("extra_query", "query"),
    ):
        if theirs in kwargs:
            value = kwargs.pop(theirs)
            kwargs.setdefault(ours, value)
    extra = kwargs.pop("extra_body", None) or {}
    if not isinstance(extra, Mapping):
        raise InvalidArgumentError(
            f"extra_body must be a dictionary, not {type(extra).__name__}",
            advice="its members go into the body",
            advice_zh="其成员会放入请求体",
        )
    return {**kwargs, **extra}
