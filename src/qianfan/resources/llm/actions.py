"""Function calls as text: how functions and their results are written for a model, and how it asks for one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

_MARKS: Final = ("Thought:", "Thought：", "Action:", "Action：")
_CALL: Final = re.compile(r"^[ \t]*Action[:：](?P<name>[^\n]*)\n\s*Action Input[:：]", re.MULTILINE)
_THOUGHT: Final = re.compile(r"^[ \t]*Thought[:：][ \t]*", re.MULTILINE)

_INSTRUCTION: Final = """You may call the functions below. Each line is one of them, as JSON.

{functions}

To call one, answer with these three lines and nothing else:

Thought: why you call it
Action: the name of one of {names}
Action Input: its arguments, as one JSON object

The result follows as a line that begins with "Observation:". Call no function when you can answer without."""


def rendered(functions: Sequence[Mapping[str, Any]]) -> str:
    """The instruction that tells a model of its functions."""
    lines = "\n".join(
        _json({key: function[key] for key in ("name", "description", "parameters") if key in function})
        for function in functions
    )
    names = ", ".join(str(function["name"]) for function in functions)
    return _INSTRUCTION.format(functions=lines, names=names)


def spoken(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn in words alone: a call as the model writes it, a result as the observation that follows."""
    call = turn.get("function_call")
    if turn.get("role") == "function":
        return {"role": "user", "content": f"Observation: {turn.get('content', '')}"}
    if not isinstance(call, Mapping):
        return dict(turn)
    thoughts = call.get("thoughts") or turn.get("content") or ""
    lines = [f"Thought: {thoughts}"] if thoughts else []
    lines += [f"Action: {call.get('name', '')}", f"Action Input: {call.get('arguments', '{}')}"]
    return {"role": "assistant", "content": "\n".join(lines)}


def parsed(text: str) -> dict[str, str] | None:
    """The function call that a text asks for: name, arguments (JSON text), thoughts; None when for none."""
    found = _CALL.search(text)
    if found is None:
        return None
    arguments = _first_object(text[found.end() :])
    if arguments is None:
        return None
    thoughts = _THOUGHT.sub("", text[: found.start()]).strip()
    return {"name": found["name"].strip("`\"' \t\r"), "arguments": arguments, "thoughts": thoughts}


def _first_object(text: str) -> str | None:
    """The JSON object that a text begins with, as text; what stands after it does not count."""
    text = text.strip().removeprefix("```json").removeprefix("```").strip()
    if not text.startswith("{"):
        return None
    depth, is_text, is_escaped = 0, False, False
    for place, char in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif is_text:
            is_escaped, is_text = char == "\\", char != '"'
        elif char == '"':
            is_text = True
        elif char in "{}":
            depth += 1 if char == "{" else -1
            if depth == 0:
                whole = text[: place + 1]
                return whole if _is_object(whole) else None
    return None


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


class ActionReader:
    """Reads an answer piece by piece: lets text through, and holds back what may be a call until its end."""

    def __init__(self) -> None:
        self._held = ""
        self._is_line_start = True

    def feed(self, piece: str) -> str:
        """The text that surely is no part of a call."""
        self._held += piece
        shown = ""
        while self._held:
            if self._is_line_start:
                line = self._held.lstrip(" \t\n")
                if not line or any(line.startswith(mark) or mark.startswith(line) for mark in _MARKS):
                    break
            before, newline, after = self._held.partition("\n")
            shown += before + newline
            self._held, self._is_line_start = after, bool(newline)
        return shown

    def close(self) -> tuple[str, dict[str, str] | None]:
        """At the end: the text that was held back in vain, or the call."""
        call = parsed(self._held)
        held, self._held = self._held, ""
        return ("", call) if call else (held, None)
