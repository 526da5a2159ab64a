"""Bodies of plugins and knowledge bases."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from .bodies import Id, Name, Text


class ToolCredential(TypedDict):
    """What a plugin's HTTP tool is called with. kind: bearer · basic (value `user:password`) · header · query.

    name: of the header or the query parameter."""

    kind: Literal["bearer", "basic", "header", "query"]
    value: Annotated[str, Len(1, 4096)]
    name: NotRequired[Annotated[str, Len(1, 100)]]


class PluginToolSpec(TypedDict):
    """openapi: an OpenAPI 3 document, as an object or as its text. operations: only those, by operationId."""

    name: Name
    openapi: dict[str, Any] | Annotated[str, Len(1, 512 * 1024)]
    server: NotRequired[Annotated[str, Len(1, 2000)]]
    operations: NotRequired[Annotated[list[str], Len(1, 50)]]
    credential: NotRequired[ToolCredential]


class CreatePlugin(TypedDict):
    """CreatePlugin. uri: what `endpoint=` takes. score: 0–1, sources below it are not used."""

    name: Name
    uri: NotRequired[Annotated[str, Len(1, 64)]]
    description: NotRequired[Text]
    model: NotRequired[Annotated[str, Len(1, 200)]]
    system: NotRequired[Annotated[str, Len(0, 4000)]]
    knowledgeBaseIds: NotRequired[Annotated[list[Id], Len(0, 20)]]
    builtins: NotRequired[list[Literal["clock", "calculator"]]]
    tools: NotRequired[Annotated[list[PluginToolSpec], Len(0, 10)]]
    topN: NotRequired[Annotated[int, Ge(1), Le(20)]]
    score: NotRequired[Annotated[float, Ge(0), Le(1)]]


class PluginRef(TypedDict):
    pluginId: Id


class CreateKnowledgeBase(TypedDict):
    name: Name
    description: NotRequired[Text]


class KnowledgeBaseRef(TypedDict):
    knowledgeBaseId: Id


class AddDocument(TypedDict):
    """AddDocument: one of `text`, `path` (`bos:/local/<file id>`) and `url`."""

    knowledgeBaseId: Id
    name: NotRequired[Annotated[str, Len(1, 200)]]
    format: NotRequired[Literal["text", "markdown", "html"]]
    text: NotRequired[Annotated[str, Len(1)]]
    path: NotRequired[Annotated[str, Len(1, 200)]]
    url: NotRequired[Annotated[str, Len(1, 8192)]]


class ListDocuments(TypedDict):
    """documentId: only that one. A marker names the first item of the page."""

    knowledgeBaseId: Id
    documentId: NotRequired[Id]
    marker: NotRequired[str]
    maxKeys: NotRequired[Annotated[int, Ge(1)]]


class DocumentRef(TypedDict):
    documentId: Id


class SearchKnowledge(TypedDict):
    """score: 0–1, what is below is left out."""

    knowledgeBaseId: Id
    query: Annotated[str, Len(1, 1000)]
    topN: NotRequired[Annotated[int, Ge(1), Le(50)]]
    score: NotRequired[Annotated[float, Ge(0), Le(1)]]
