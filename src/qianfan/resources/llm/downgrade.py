"""Calls of the OpenAI-shaped interface, asked through the V1 one (QIANFAN_V2_INFER_API_DOWNGRADE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .conversation import from_openai

# member on V2 → on V1
_RENAMED: Final = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "user": "user_id",
}
_V2_ONLY: Final = frozenset({"stream_options", "parallel_tool_calls", "seed", "tools"})
_REASONS: Final = {"normal": "stop", "function_call": "tool_calls"}


def body_of(turns: list[dict[str, Any]], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Members of the V1 body that ask the same: messages first, without those V1 does not know."""
    system, spoken = from_openai(turns)
    body: dict[str, Any] = {}
    for name, value in extra.items():
        if name == "stop" and isinstance(value, str):
            body["stop"] = [value]
        elif name == "response_format" and isinstance(value, Mapping):
            body["response_format"] = value.get("type")
        elif name == "web_search" and isinstance(value, Mapping):
            body["disable_search"] = not value.get("enable", False)
            body.update({key: value[key] for key in ("enable_citation", "enable_trace") if key in value})
        elif name not in _V2_ONLY:
            body[_RENAMED.get(name, name)] = value
    functions = [tool["function"] for tool in extra.get("tools") or () if tool.get("type") == "function"]
    if functions:
        body["functions"] = functions
    if system:
        body["system"] = "\n".join(part for part in (body.get("system"), system) if part)
    return {**body, "messages": spoken}


def answers(model: str, is_stream: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What makes a V2 answer of each V1 answer, or a V2 piece of each V1 piece."""

    has_called = False  # in this piece, or in one before it

    def converted(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal has_called
        call = body.get("function_call")
        has_called = has_called or bool(call)
        said: dict[str, Any] = {"role": "assistant", "content": body.get("result") or ""}
        if call:
            function = {"name": call.get("name", ""), "arguments": call.get("arguments", "{}")}
            tool = {"id": f"call_{body.get('id', '')}", "type": "function", "function": function}
            said["tool_calls"] = [{"index": 0, **tool} if is_stream else tool]
        choice = {
            "index": 0,
            "delta" if is_stream else "message": said,
            "finish_reason": _reason(body, has_called, is_stream),
        }
        choice.update(
            {name: body[name] for name in ("flag", "ban_round", "need_clear_history") if name in body}
        )
        kept: dict[str, Any] = {name: body[name] for name in ("id", "created", "usage") if name in body}
        return {
            **kept,
            "object": "chat.completion.chunk" if is_stream else "chat.completion",
            "model": model,
            "choices": [choice],
        }

    return converted


def _reason(body: Mapping[str, Any], has_call: bool, is_stream: bool) -> str | None:
    if is_stream and not body.get("is_end"):
        return None
    if has_call:
        return "tool_calls"
    if body.get("is_truncated"):
        return "length"
    reason = str(body.get("finish_reason") or "stop")
    return _REASONS.get(reason, reason)
