"""One answer as it comes: its pieces shown, its text, tokens and times kept.

The calls are made on an event loop, since a thread that waits for the network does not hear Ctrl-C.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console

from qianfan.transport.response import QfResponse
from qianfan.transport.streams import AsyncStream

from .markdown import Rendered
from .output import emit

Ask = Callable[[], Awaitable[Any]]  # what it returns is an answer, or a stream of pieces


class Show(Protocol):
    """Shows the pieces of an answer."""

    def piece(self, text: str) -> None: ...

    def end(self) -> None: ...


class Nothing:
    """Shows nothing."""

    def piece(self, text: str) -> None:
        pass

    def end(self) -> None:
        pass


class Plain:
    """Writes the pieces as they come, and one line end."""

    def __init__(self, to: TextIO) -> None:
        self._to, self._open = to, False

    def piece(self, text: str) -> None:
        self._open = True
        self._to.write(text)
        self._to.flush()

    def end(self) -> None:
        if self._open:
            self.piece("\n")
        self._open = False


class Lines:
    """Writes each piece as a line of JSON: `{"delta": …}`."""

    def piece(self, text: str) -> None:
        if text:
            emit({"delta": text})

    def end(self) -> None:
        pass


@dataclass
class Answer:
    """What was answered. `seconds` in total and until the first piece; `stopped`: by Ctrl-C."""

    text: str = ""
    finish_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    served_by: str = ""
    request_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)  # members of plugins
    seconds: float = 0.0
    first_piece_seconds: float = 0.0
    stopped: bool = False
    _began: float = field(default_factory=time.monotonic, repr=False)

    def note(self, answer: QfResponse) -> str:
        """Take in a whole answer or a piece; returns its text."""
        body = answer.body
        if self.first_piece_seconds == 0.0:
            self.first_piece_seconds = time.monotonic() - self._began
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self.served_by = headers.get("x-qianfan-served-by", self.served_by)
        self.request_id = headers.get("x-baidu-request-id") or str(body.get("id") or self.request_id)
        text = body.get("result") or ""
        self.finish_reason = body.get("finish_reason") or self.finish_reason
        for choice in body.get("choices") or ():
            turn = choice.get("delta") or choice.get("message") or {}
            text += turn.get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if body.get("is_truncated"):
            self.finish_reason = "length"
        self.usage = body.get("usage") or self.usage
        for name in ("meta_info", "plugin_info", "function_call"):
            if body.get(name):
                self.details[name] = body[name]
        self.text += text
        self.seconds = time.monotonic() - self._began
        return text

    def as_json(self, **more: Any) -> dict[str, Any]:
        """The stable shape of `--json`."""
        return {
            "text": self.text,
            **more,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "served_by": self.served_by,
            "request_id": self.request_id,
            "seconds": round(self.seconds, 3),
            "first_piece_seconds": round(self.first_piece_seconds, 3),
            **self.details,
        }

    def summary(self) -> str:
        """Tokens, times and who answered, in one line."""
        parts = []
        if self.usage:
            parts.append(
                f"{self.usage.get('prompt_tokens', 0)} + {self.usage.get('completion_tokens', 0)} tokens"
            )
        parts.append(f"{self.seconds:.1f} s, first after {self.first_piece_seconds:.1f} s")
        if self.stopped:
            parts.append("stopped")
        elif self.finish_reason == "length":
            parts.append("cut at the longest length")
        if self.served_by:
            parts.append(self.served_by)
        return " · ".join(parts)


def shower(*, json: bool, streamed: bool) -> Show:
    """How an answer is shown here: JSON, Markdown on a terminal, plain text in a pipe."""
    if json:
        return Lines() if streamed else Nothing()
    return Rendered(Console()) if sys.stdout.isatty() else Plain(sys.stdout)


def receive(runner: asyncio.Runner, ask: Ask, show: Show, *, may_stop: bool = False) -> Answer:
    """Ask, and show the answer. may_stop: Ctrl-C ends the answer only, and what came is kept."""
    answer = Answer()
    try:
        runner.run(_receive(ask, show, answer))
    except KeyboardInterrupt:
        if not may_stop:
            raise
        answer.stopped = True
        answer.seconds = time.monotonic() - answer._began
    finally:
        show.end()
    return answer


async def _receive(ask: Ask, show: Show, answer: Answer) -> None:
    got = await ask()
    if isinstance(got, QfResponse):
        show.piece(answer.note(got))
        return
    if isinstance(got, AsyncStream):
        async with got:
            async for piece in got:
                show.piece(answer.note(piece))
        return
    async for piece in got:
        show.piece(answer.note(piece))
