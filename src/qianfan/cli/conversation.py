"""A conversation from the command line: its turns, who answers, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qianfan.resources import ChatCompletion
from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream

from .options import named


@dataclass
class Conversation:
    """The turns so far and the options of the next question. V2 takes the system text as a turn."""

    model: str | None = None
    endpoint: str | None = None
    system: str = ""
    v2: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # temperature, top_p, max_tokens, request_timeout
    turns: list[dict[str, str]] = field(default_factory=list)

    @property
    def answering(self) -> str:
        """The name of who answers."""
        default = "ernie-lite-8k" if self.v2 else ChatCompletion.default_model
        return self.endpoint or self.model or default

    def check(self) -> None:
        """Raises InvalidArgumentError when there are no credentials for this interface."""
        self._client()

    def _client(self) -> ChatCompletion:
        return ChatCompletion(version="2") if self.v2 else ChatCompletion()

    async def ask(self, stream: bool) -> QfResponse | AsyncStream:
        """Send the turns so far; the answer is to be added with `answered`."""
        if self.v2:
            turns = [{"role": "system", "content": self.system}] if self.system else []
            usage = {"stream_options": {"include_usage": True}} if stream else {}
            return await self._send([*turns, *self.turns], stream, {"model": self.answering, **usage})
        options = {**self.options, **named(ChatCompletion, self.model, self.endpoint)}
        if "max_tokens" in options:
            options["max_output_tokens"] = options.pop("max_tokens")
        if self.system:
            options["system"] = self.system
        return await self._client().ado(messages=self.turns, stream=stream, **options)  # type: ignore[return-value]

    async def _send(
        self, turns: list[dict[str, str]], stream: bool, more: dict[str, Any]
    ) -> QfResponse | AsyncStream:
        return await self._client().ado(messages=turns, stream=stream, **{**self.options, **more})  # type: ignore[return-value]

    def asked(self, text: str) -> None:
        """Add a question."""
        self.turns.append({"role": "user", "content": text})

    def answered(self, text: str) -> None:
        """Add the answer; a question without one is forgotten, since turns must alternate."""
        if text.strip():
            self.turns.append({"role": "assistant", "content": text})
        elif self.turns:
            self.turns.pop()

    def save(self, path: Path) -> None:
        """Write the conversation: `.json` for programs, anything else as Markdown. Raises OSError."""
        if path.suffix == ".json":
            kept = {"model": self.answering, "system": self.system, "messages": self.turns}
            path.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")
            return
        parts = [f"# {self.answering}\n"]
        if self.system:
            parts.append(f"> {self.system}\n")
        parts += [f"**{turn['role']}**\n\n{turn['content']}\n" for turn in self.turns]
        path.write_text("\n".join(parts), encoding="utf-8")
