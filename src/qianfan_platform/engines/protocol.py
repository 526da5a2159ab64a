"""What an engine is: it answers prompts. What only one engine has stays in that engine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

FOLDERS: Final = re.compile(r"(?<![\w.:/])/(?:[^/\s'\"]+/)+")

# role: system | user | assistant | tool. content: str, or for engines that see images the parts
# {"type": "text", "text"} and {"type": "image_url", "image_url": {"url": "data:image/…;base64,…"}}.
# An assistant's call is `tool_calls` (dictionaries as in the OpenAI interface); its result has `tool_call_id`.
Message = Mapping[str, Any]


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask to be called. parameters: JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ToolCall:
    """The model asks for a function. arguments: a JSON object as text."""

    id: str
    name: str
    arguments: str
    thoughts: str = ""


@dataclass(frozen=True)
class Sampling:
    """How to pick tokens. None means the engine's default."""

    temperature: float | None = None  # 0 picks the likeliest token
    top_p: float | None = None  # (0, 1]
    top_k: int | None = None
    penalty_score: float | None = None  # repeat penalty, 1–2
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    seed: int | None = None
    json_schema: Mapping[str, Any] | None = None  # the answer is JSON of this schema; {} is any object
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"  # auto | none | required | the name of a tool
    frequency_penalty: float | None = None  # -2 to 2
    presence_penalty: float | None = None  # -2 to 2
    min_tokens: int | None = None  # the answer does not end before


@dataclass(slots=True)  # not frozen: that makes making one four times as slow, and every token is one
class Delta:
    """A piece of an answer. The last one has `finish_reason` and the token counts.

    tool_calls: whole calls, on the last piece or the one before. reasoning: thoughts, apart from the answer."""

    text: str = ""
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True)
class Vectors:
    """Embeddings in the order of the texts, each of length 1; `tokens` is what they cost."""

    rows: list[list[float]]
    tokens: int


@dataclass(frozen=True)
class Scores:
    """Relevance of each document to the query, 0 to 1, in the order given; `tokens` is what it cost."""

    values: list[float]
    tokens: int


@dataclass(frozen=True)
class ImageWish:
    """An image to make. size: (width, height) in pixels. None means the engine's default."""

    prompt: str
    negative_prompt: str = ""
    size: tuple[int, int] = (1024, 1024)
    count: int = 1
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None  # cfg scale
    sampler: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in the engine's own format."""

    name: str
    path: Path


@dataclass(frozen=True)
class EngineSpec:
    """What to start. Two equal specs are the same engine."""

    kind: Literal["llamacpp", "echo", "encoder", "upstream", "pictures"]
    model: Path | None = None  # GGUF for llamacpp, a folder for pictures, None for the others
    adapters: tuple[Adapter, ...] = ()
    context: int = 2048  # tokens of one sequence
    parallel: int = 4  # sequences at once
    threads: int | None = None  # None: cores − 1, at least 1
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def places(self) -> int:
        """Requests that may be inside at once. llama.cpp gets twice as many as it has sequences: those that end,
        often all together, find the next ones waiting, where they would idle until those had come and were read."""
        return 2 * self.parallel if self.kind == "llamacpp" else self.parallel


class EngineFailed(Exception):
    """The engine could not start, died, or hung. The text says which and why."""

    @property
    def told(self) -> str:
        """The text for callers: files by their names, for where they lie is this machine's business."""
        return FOLDERS.sub("", str(self))


class RequestRefused(Exception):
    """The engine is well, but cannot do what this request asks: an unknown adapter, a schema it cannot
    follow, messages that its chat template does not take. The text says which and why."""


class PromptTooLong(Exception):
    """The prompt does not fit the context. `tokens` and `limit` count tokens."""

    def __init__(self, tokens: int | None, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(f"the prompt has {tokens or 'more than ' + str(limit)} tokens; at most {limit} fit")


class Engine(Protocol):
    """A running engine. Leaving `generate`'s iterator (aclose) stops the work and frees the slot."""

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: str | None = None,
        whole: bool = False,
    ) -> AsyncIterator[Delta]:
        """Pieces of an answer. whole: nobody looks at it before its end, so several may come as one."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts. Raises RequestRefused when this engine does not embed."""
        ...

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        """Relevance of documents. Raises RequestRefused when this engine cannot."""
        ...

    async def paint(self, wish: ImageWish) -> list[bytes]:
        """Images, as the bytes of PNG or JPEG files. Raises RequestRefused when this engine cannot."""
        ...

    async def count_tokens(self, text: str) -> int:
        """Tokens of a text, without any template. Raises RequestRefused when this engine cannot."""
        ...

    def alive(self) -> bool:
        """False when its process has ended. Cheap; says nothing of a hung engine."""
        ...

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when a token came out just now; raise EngineFailed when none does in `timeout_s`."""
        ...

    async def stirs(self, timeout_s: float) -> None:
        """Return when the engine shows within `timeout_s` that it works: it answers, or it computes.

        Raises EngineFailed when it does neither: it hangs. Costs nearly nothing and waits behind no request."""
        ...

    def on_end(self, told: Callable[[], None]) -> None:
        """Have `told` called when its process ends, at once, from any thread."""
        ...

    def kill(self) -> None:
        """End it without waiting, be it hung; what it was answering ends with EngineFailed. `close` is still due."""
        ...

    async def close(self) -> None: ...
