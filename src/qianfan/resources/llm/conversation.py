"""Conversations as older and other clients write them, and conversations that are too long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qianfan.contract.models import PresetModel
from qianfan.errors import InvalidArgumentError
from qianfan.utils.logging import logger

from .counting import estimated_tokens

Turn = dict[str, Any]


def shortened(turns: list[Turn], system: str, model: PresetModel | None) -> list[Turn]:
    """The newest turns that fit into the model's limits of characters and tokens; `system` counts, too.

    Turns go in pairs, oldest first, so that a user still begins and the number stays odd. System turns of V2 at
    the start stay, and so does the last turn: whether it is too long alone is for the server to say. Without
    known limits nothing goes."""
    if model is None or (model.chars is None and model.tokens is None):
        return turns
    first = _first_spoken(turns)
    head = turns[:first]
    sizes = [_size(_text(turn)) for turn in turns]
    own = _size(system)
    chars, tokens = own[0] + sum(size[0] for size in sizes), own[1] + sum(size[1] for size in sizes)

    def too_long() -> bool:
        return (model.chars is not None and chars > model.chars) or (
            model.tokens is not None and tokens > model.tokens
        )

    last = len(turns) - 1
    while first < last and (too_long() or turns[first].get("role") in ("function", "tool")):
        # a function's result says nothing without the call before it, so it goes with that
        behind = min(first + 2, last)
        chars -= sum(size[0] for size in sizes[first:behind])
        tokens -= sum(size[1] for size in sizes[first:behind])
        first = behind
    if too_long():
        logger.warning("the last message alone is longer than what %s is documented to take", model.name)
    return head + turns[first:]


def _first_spoken(turns: list[Turn]) -> int:
    """Place of the first turn that is no system text."""
    return next((n for n, turn in enumerate(turns) if turn.get("role") not in ("system", "developer")), 0)


def _size(text: str) -> tuple[int, int]:
    """Characters and estimated tokens."""
    return len(text), estimated_tokens(text)


def _text(turn: Turn) -> str:
    content = turn.get("content")
    return content if isinstance(content, str) else str(content or "")


def from_openai(turns: list[Turn]) -> tuple[str, list[Turn]]:
    """System text and V1 turns of a conversation as OpenAI's clients write it.

    system and developer → the system text; tool → function, with the name of the call it answers; tool_calls →
    one function_call a turn, each followed by its result; neighbours of one side are joined by a line break.
    Raises InvalidArgumentError for a content that is no text: V1 takes none."""
    system: list[str] = []
    spoken: list[Turn] = []
    open_calls: list[Turn] = []  # of the last turn of the assistant; each goes just before its result
    for turn in turns:
        role, text = turn.get("role"), content_text(turn.get("content"))
        if role in ("system", "developer"):
            system.append(text)
            continue
        if role == "tool":
            call = _taken(open_calls, str(turn.get("tool_call_id") or ""))
            name = turn.get("name") or (call or {}).get("function_call", {}).get("name", "")
            spoken += [call] if call else []
            spoken.append({"role": "function", "name": name, "content": text})
            continue
        spoken += _without_ids(open_calls)
        open_calls = _calls(turn["tool_calls"], text) if turn.get("tool_calls") else []
        if not open_calls:
            kept = {key: turn[key] for key in ("function_call", "name") if turn.get(key)}
            spoken.append({"role": role, "content": text, **kept})
    spoken += _without_ids(open_calls)
    return "\n".join(part for part in system if part), _joined(spoken)


def _calls(tool_calls: list[Any], text: str) -> list[Turn]:
    """One turn a call; what was said beside them stands in the first."""
    turns = []
    for number, call in enumerate(tool_calls):
        function = call.get("function") or {}
        said = {"name": function.get("name", ""), "arguments": function.get("arguments") or "{}"}
        content = "" if number else text
        turns.append(
            {"role": "assistant", "content": content, "function_call": said, "id": str(call.get("id") or "")}
        )
    return turns


def _taken(open_calls: list[Turn], call_id: str) -> Turn | None:
    """The call that a result answers, taken out of those that wait."""
    called = next((call for call in open_calls if call["id"] == call_id), None)
    if called is not None:
        open_calls.remove(called)
        return _without_ids([called])[0]
    return None


def _without_ids(calls: list[Turn]) -> list[Turn]:
    return [{key: value for key, value in call.items() if key != "id"} for call in calls]


def content_text(content: Any) -> str:
    """The text of a content: itself, or its parts of type `text`."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = []
    for part in content if isinstance(content, (list, tuple)) else [content]:
        if not isinstance(part, Mapping) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise InvalidArgumentError(
                f"a message holds {kind!r}, and the V1 interface takes texts alone",
                advice='ask with version="2", or leave that part out',
                advice_zh='请使用 version="2"，或去掉这一部分',
            )
        parts.append(str(part.get("text", "")))
    return "".join(parts)


def _joined(turns: list[Turn]) -> list[Turn]:
    """Neighbours of one side as one turn, so that both sides take turns."""
    joined: list[Turn] = []
    for turn in turns:
        before = joined[-1] if joined else None
        same_side = before is not None and (before["role"] == "assistant") == (turn["role"] == "assistant")
        if before is None or not same_side or "function_call" in before:
            joined.append(turn)
            continue
        content = "\n".join(part for part in (before["content"], turn["content"]) if part)
        joined[-1] = {**before, **turn, "role": before["role"], "content": content}
    return joined
