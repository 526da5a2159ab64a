"""Answers of the OpenAI-shaped interface: dictionaries whose members are attributes, too.

Members that a shape names are None when the server left them out; others are there as they came."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

Parts: TypeAlias = "dict[str, type[Shape]]"


class Shape(dict[str, Any]):
    """A JSON object: `answer["id"]` and `answer.id` are the same. AttributeError for what is not there."""

    parts: ClassVar[Parts] = {}  # members that are shapes, or lists of shapes
    names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        cls.names = frozenset(cls.__annotations__) - {"parts"} | cls.names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return _seen(self[name], self.parts.get(name, Shape))
        except KeyError:
            if name in self.names:
                return None
            raise AttributeError(
                f"the answer has no {name!r}; it has {', '.join(self) or 'no members'}"
            ) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.names, *self})

    def to_dict(self) -> dict[str, Any]:
        """The answer as a plain dictionary."""
        return dict(self)

    model_dump = to_dict  # the name that users of OpenAI's client know

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict.__repr__(self)})"


def _seen(value: Any, part: type[Shape]) -> Any:
    if isinstance(value, dict):
        return part(value)
    if isinstance(value, list):
        return [part(item) if isinstance(item, dict) else item for item in value]
    return value


class Usage(Shape):
    """Tokens of a call."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CalledFunction(Shape):
    """A function that the model wants called. arguments: JSON text."""

    name: str
    arguments: str


class ToolCall(Shape):
    """A tool that the model wants called."""

    index: int | None
    id: str
    type: str
    function: CalledFunction
    parts: ClassVar[Parts] = {"function": CalledFunction}


class ChatMessage(Shape):
    """What the model says, or in a stream the increment of it."""

    role: str
    content: str | None
    reasoning_content: str | None
    tool_calls: list[ToolCall] | None
    parts: ClassVar[Parts] = {"tool_calls": ToolCall}


class Choice(Shape):
    """One answer of a chat. finish_reason: stop, length, content_filter or tool_calls."""

    index: int
    message: ChatMessage
    finish_reason: str | None
    flag: int | None
    ban_round: int | None
    need_clear_history: bool | None
    parts: ClassVar[Parts] = {"message": ChatMessage}


class ChatAnswer(Shape):
    """Answer of `chat.completions.create`: the text is `choices[0].message.content`."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None
    parts: ClassVar[Parts] = {"choices": Choice, "usage": Usage}


class ChunkChoice(Shape):
    """One answer of a chat, in pieces."""

    index: int
    delta: ChatMessage
    finish_reason: str | None
    parts: ClassVar[Parts] = {"delta": ChatMessage}


class ChatChunk(Shape):
    """Piece of a stream: the increment is `choices[0].delta.content`. The last one may have no choices."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None
    parts: ClassVar[Parts] = {"choices": ChunkChoice, "usage": Usage}


class EmbeddingItem(Shape):
    """The vector of one text."""

    object: str
    embedding: list[float]
    index: int


class EmbeddingAnswer(Shape):
    """Answer of `embeddings.create`: vectors are at `data[i].embedding`."""

    object: str
    model: str
    data: list[EmbeddingItem]
    usage: Usage | None
    parts: ClassVar[Parts] = {"data": EmbeddingItem, "usage": Usage}


class RankedDocument(Shape):
    """A document and its relevance. index: its place in what was given."""

    document: str
    relevance_score: float
    index: int


class RerankAnswer(Shape):
    """Answer of `rerankers.create`: best first at `results`."""

    id: str
    object: str
    model: str
    results: list[RankedDocument]
    usage: Usage | None
    parts: ClassVar[Parts] = {"results": RankedDocument, "usage": Usage}


class Image(Shape):
    """An image: base64 text, or where it is."""

    index: int
    b64_json: str | None
    url: str | None


class ImageAnswer(Shape):
    """Answer of `images.generate`: images are at `data`."""

    id: str
    created: int
    model: str
    data: list[Image]
    usage: Usage | None
    parts: ClassVar[Parts] = {"data": Image, "usage": Usage}


class ModelCard(Shape):
    """A model that answers."""

    id: str
    object: str
    created: int
    owned_by: str


class ModelList(Shape):
    """Answer of `models.list`."""

    object: str
    data: list[ModelCard]
    parts: ClassVar[Parts] = {"data": ModelCard}
