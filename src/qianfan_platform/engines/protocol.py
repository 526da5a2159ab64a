"""What an engine is: it answers prompts. What only one engine has stays in that engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Message = Mapping[str, Any]  # role: system | user | assistant; content: str


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
    json_schema: Mapping[str, Any] | None = None  # the answer is JSON of this schema


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The last one has `finish_reason` and the token counts."""

    text: str = ""
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in the engine's own format."""

    name: str
    path: Path


@dataclass(frozen=True)
class EngineSpec:
    """What to start. Two equal specs are the same engine."""

    kind: Literal["llamacpp", "echo"]
    model: Path | None = None  # GGUF for llamacpp
    adapters: tuple[Adapter, ...] = ()
    context: int = 2048  # tokens of one sequence
    parallel: int = 4  # sequences at once
    threads: int | None = None  # None: cores − 1, at least 1
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


class EngineFailed(Exception):
    """The engine could not start, died, or hung. The text says which and why."""


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
        self, messages: Sequence[Message], sampling: Sampling, *, adapter: str | None = None
    ) -> AsyncIterator[Delta]: ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]: ...

    def alive(self) -> bool:
        """False when its process has ended. Cheap; says nothing of a hung engine."""
        ...

    async def health(self, timeout_s: float = 10.0) -> None:
        """Return when a token came out just now; raise EngineFailed when none does in `timeout_s`."""
        ...

    async def close(self) -> None: ...
