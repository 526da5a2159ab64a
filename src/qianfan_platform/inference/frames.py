"""Answers as they go over the wire: whole, and frame by frame. What stays the same is written once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from qianfan_platform.engines.protocol import Delta, ToolCall

from .tools import call_of_v1, calls_of_v2

DONE: Final = b"data: [DONE]\n\n"  # V2 only
LONGEST: Final = (
    8_000  # characters of one frame: with escapes it stays within the 64 KiB that Go's client reads
)
_ids = random.Random()  # ids tell answers apart; nobody may do anything by knowing one
_V1_REASONS: Final = {"stop": "normal", "length": "length", "tool_calls": "function_call"}


def new_id() -> str:
    """The id of an answer, such as `as-4h2kz81mvq`."""
    return f"as-{_ids.getrandbits(40):010x}"


def clean(text: str) -> str:
    """The text; halves of a character, which no UTF-8 can hold, become question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def quoted(text: str) -> bytes:
    """A text as JSON."""
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError:
        return orjson.dumps(clean(text))


class Whole:
    """An answer being gathered."""

    __slots__ = ("calls", "completion_tokens", "finish_reason", "prompt_tokens", "reasoning", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self.finish_reason = "stop"
        self.prompt_tokens = self.completion_tokens = 0

    def add(self, delta: Delta) -> None:
        if delta.text:
            self.texts.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.tool_calls:
            self.calls += delta.tool_calls
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        self.count(delta)

    def clear(self) -> None:
        """Forget everything: another engine begins anew."""
        for gathered in (self.texts, self.reasoning, self.calls):
            gathered.clear()
        self.finish_reason, self.prompt_tokens, self.completion_tokens = "stop", 0, 0

    def count(self, delta: Delta) -> None:
        """The tokens so far: the engine's own count, or one for each piece until it tells."""
        if delta.prompt_tokens:
            self.prompt_tokens = delta.prompt_tokens
        if delta.completion_tokens is not None:
            self.completion_tokens = delta.completion_tokens
        elif delta.text or delta.reasoning:
            self.completion_tokens += 1

    @property
    def text(self) -> str:
        return clean("".join(self.texts))

    @property
    def usage(self) -> dict[str, int]:
        return usage(self.prompt_tokens, self.completion_tokens)


def usage(prompt: int, completion: int | None = None) -> dict[str, int]:
    """`usage` of an answer; without `completion_tokens` where nothing is written."""
    if completion is None:
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class V1:
    """One answer on the V1 interface.

    kind: `chat.completion` or `completion`. safe: it says `is_safe`, as completions and images do, instead of
    `is_truncated` and `need_clear_history`."""

    def __init__(self, kind: str, *, safe: bool = False) -> None:
        self._kind, self._safe = kind, safe
        self._id, self._created = new_id(), int(time.time())
        self.whole = Whole()
        self._number = 0
        self._form = self._head = b""

    def frame(self, delta: Delta) -> bytes:
        """The frame of a piece; nothing for one that says nothing here: calls wait for the end, and thoughts
        have no place on V1."""
        whole, text = self.whole, delta.text
        if delta.finish_reason is None and not delta.tool_calls:
            whole.count(delta)
            if len(text) <= LONGEST:
                return self._piece(text) if text else b""
            return self._pieces(text)
        whole.add(delta)
        if delta.finish_reason is None:
            return self._pieces(text)
        before = b""
        if len(text) > LONGEST:
            before, text = self._pieces(text), ""
        place = {"sentence_id": self._number, "is_end": True}
        return before + b"data: " + orjson.dumps(self._body(clean(text), place)) + b"\n\n"

    def _piece(self, text: str) -> bytes:
        number = self._number
        self._number = number + 1
        if not number:
            self._write_once()
        prompt, completion = self.whole.prompt_tokens, self.whole.completion_tokens
        return self._form % (
            self._head, number, quoted(text), prompt, completion, prompt + completion,
        )  # fmt: skip

    def _write_once(self) -> None:
        """What all frames but the last have in common."""
        head = f'data: {{"id":"{self._id}","object":"{self._kind}","created":{self._created},"sentence_id":'
        self._head = head.encode()
        end = b'"is_safe":1' if self._safe else b'"is_truncated":false,"need_clear_history":false'
        self._form = (
            b'%b%d,"is_end":false,"result":%b,' + end
            + b',"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}\n\n'
        )  # fmt: skip

    def _pieces(self, text: str) -> bytes:
        return b"".join(self._piece(text[start : start + LONGEST]) for start in range(0, len(text), LONGEST))

    def answer(self) -> dict[str, Any]:
        """The whole answer as one object, once all of it was added to `whole`."""
        return self._body(self.whole.text, {})

    def _body(self, text: str, place: dict[str, Any]) -> dict[str, Any]:
        whole = self.whole
        body = {"id": self._id, "object": self._kind, "created": self._created, **place, "result": text}
        if self._safe:
            return {**body, "is_safe": 1, "usage": whole.usage}
        reason = _V1_REASONS[whole.finish_reason]
        if whole.calls:
            body["function_call"] = call_of_v1(whole.calls[0], text)
            body["result"], reason = "", "function_call"
        return {
            **body,
            "is_truncated": whole.finish_reason == "length",
            "need_clear_history": False,
            "finish_reason": reason,
            "usage": whole.usage,
        }


class V2:
    """One answer on the V2 interface.

    with_usage: a last chunk without choices holds the usage. one_call: only the first call is handed on."""

    def __init__(self, model: str, *, with_usage: bool = False, one_call: bool = False) -> None:
        self._most_calls = 1 if one_call else None
        self._head = {"id": new_id(), "object": "chat.completion.chunk", "created": int(time.time())}
        self._model, self._with_usage = model, with_usage
        self.whole = Whole()
        self._start = self._form = b""

    def _write_once(self) -> None:
        """What all chunks have in common."""
        head = orjson.dumps({**self._head, "model": self._model})[:-1]
        self._start = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._form = self._start.replace(b"%", b"%%") + b'{"content":%b},"finish_reason":null}]}\n\n'

    def frame(self, delta: Delta) -> bytes:
        """The chunk of a piece, or the last of an answer."""
        if not self._start or delta.finish_reason is not None or delta.tool_calls or delta.reasoning:
            return self._rare(delta)
        text = delta.text
        if not text or delta.completion_tokens is not None or delta.prompt_tokens:
            self.whole.count(delta)
        else:  # the same, without a call
            self.whole.completion_tokens += 1
        return self._form % quoted(text) if text else b""

    def _rare(self, delta: Delta) -> bytes:
        whole = self.whole
        before = len(whole.calls)
        whole.add(delta)
        content: dict[str, Any] = {}
        if not self._start:
            self._write_once()
            content["role"] = "assistant"
        if delta.reasoning:
            content["reasoning_content"] = clean(delta.reasoning)
        if calls := whole.calls[before : self._most_calls]:
            rows = enumerate(calls_of_v2(calls), before)
            content["tool_calls"] = [{"index": place, **row} for place, row in rows]
        if delta.text or not content.keys() - {"role"}:
            content["content"] = clean(delta.text)
        start = self._start + orjson.dumps(content)
        if delta.finish_reason is None:
            return start + b',"finish_reason":null}]}\n\n'
        reason = "tool_calls" if whole.calls else delta.finish_reason
        last = start + b',"finish_reason":' + orjson.dumps(reason) + b"}]"
        counts = b',"usage":' + orjson.dumps(whole.usage) + b"}\n\n"
        if not self._with_usage:
            return last + counts
        head = orjson.dumps({**self._head, "model": self._model, "choices": []})[:-1]
        return last + b"}\n\ndata: " + head + counts

    def answer(self) -> dict[str, Any]:
        """The whole answer as one object, once all of it was added to `whole`."""
        whole = self.whole
        text = whole.text
        message: dict[str, Any] = {"role": "assistant", "content": None if whole.calls and not text else text}
        if whole.reasoning:
            message["reasoning_content"] = clean("".join(whole.reasoning))
        if whole.calls:
            message["tool_calls"] = calls_of_v2(whole.calls[: self._most_calls])
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "tool_calls" if whole.calls else whole.finish_reason,
            "flag": 0,
            "ban_round": 0,
            "need_clear_history": False,
        }
        head = {**self._head, "object": "chat.completion", "model": self._model}
        return {**head, "choices": [choice], "usage": whole.usage}


def listed(
    kind: str, rows: Sequence[Any], tokens: int, *, name: str = "data", model: str = ""
) -> dict[str, Any]:
    """An answer that is a list: embeddings, images, ranked documents."""
    head: dict[str, Any] = {"id": new_id(), "object": kind, "created": int(time.time())}
    if model:
        head["model"] = model
    return {**head, name: rows, "usage": usage(tokens)}
