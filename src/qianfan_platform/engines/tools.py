"""Calling functions with a model that was never taught to: asked in words, held to a shape by a schema, read here.

Pure functions and one reader. The model writes one JSON object: {"answer": "…"} or {"name": …, "arguments": …}.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qianfan_platform.engines.protocol import Message, RequestRefused, Tool, ToolCall

MAX_TOOLS: Final = 64
ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
ANSWER: Final = re.compile(r'\s*\{\s*"answer"\s*:\s*"')


def chosen(tools: Sequence[Tool], choice: str) -> tuple[Tool, ...]:
    """The functions that may be called under a `tool_choice`. Raises RequestRefused for a name that is not there."""
    if len(tools) > MAX_TOOLS:
        raise RequestRefused(
            f"{len(tools)} tools are more than this model can choose from; give {MAX_TOOLS} at most"
        )
    if choice == "none":
        return ()
    if choice in ("auto", "required", ""):
        return tuple(tools)
    named = tuple(tool for tool in tools if tool.name == choice)
    if not named:
        known = ", ".join(tool.name for tool in tools) or "none"
        raise RequestRefused(f"tool_choice names {choice!r}, which is not among the tools: {known}")
    return named


def schema(tools: Sequence[Tool], choice: str = "auto") -> dict[str, Any]:
    """The JSON schema of what the model may write. `auto` lets it answer in words as well."""
    shapes: list[dict[str, Any]] = [] if choice not in ("auto", "") else [_object(answer={"type": "string"})]
    definitions: dict[str, Any] = {}
    for number, tool in enumerate(tools):
        parameters, own = _own_names(tool.parameters, f"t{number}_")
        definitions.update(own)
        shapes.append(_object(name={"const": tool.name}, arguments=parameters))
    found: dict[str, Any] = {"anyOf": shapes} if len(shapes) > 1 else shapes[0]
    return {**found, "$defs": definitions} if definitions else found


def with_tools(
    messages: Sequence[Message], tools: Sequence[Tool], choice: str = "auto"
) -> list[dict[str, str]]:
    """The conversation in plain texts: what can be called in the system message, calls and results in words."""
    turns = flat(messages)
    if not tools:
        return turns
    lines = [
        "You can call these functions. Each line is one function with the JSON schema of its arguments:",
        *(
            json.dumps(
                {"name": t.name, "description": t.description, "arguments": dict(t.parameters)},
                ensure_ascii=False,
            )
            for t in tools
        ),
        'To call a function, write only {"name": "…", "arguments": {…}}.',
    ]
    if choice in ("auto", ""):
        lines.append('When no function is needed, write only {"answer": "…"} with your answer to the user.')
    section = "\n".join(lines)
    if turns and turns[0]["role"] == "system":
        section = f"{turns[0]['content']}\n\n{section}"
        turns = turns[1:]
    return [{"role": "system", "content": section}, *turns]


def flat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Every message as a plain text, for chat templates that know no tools.

    Results of functions become words of the user, joined with the user's own: templates want roles to alternate.

    Raises RequestRefused when a message holds an image."""
    turns: list[dict[str, str]] = []
    names: dict[str, str] = {}
    after_result = False
    for message in messages:
        role, content = str(message["role"]), text_of(message)
        result = role == "tool"
        if role == "assistant" and message.get("tool_calls"):
            calls = []
            for call in message["tool_calls"]:
                function = call.get("function") or {}
                names[str(call.get("id"))] = str(function.get("name"))
                arguments = _loaded(function.get("arguments"))
                calls.append(
                    json.dumps({"name": function.get("name"), "arguments": arguments}, ensure_ascii=False)
                )
            content = "\n".join([content, *calls] if content else calls)
        elif result:
            name = message.get("name") or names.get(str(message.get("tool_call_id"))) or "the function"
            role, content = "user", f"Result of {name}: {content}"
        if turns and turns[-1]["role"] == role == "user" and (result or after_result):
            turns[-1]["content"] += f"\n{content}"
        else:
            turns.append({"role": role, "content": content})
        after_result = result
    return turns


def text_of(message: Message) -> str:
    """The text of a message. Raises RequestRefused when it holds an image."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.get("type") != "text":
            raise RequestRefused(
                f"this model reads no parts of type {part.get('type')!r}; send text, or name a model that sees images"
            )
    return "".join(str(part.get("text", "")) for part in content)


class Reader:
    """Reads what a model held to `schema` writes: the words of an answer as they come, a call when it is whole."""

    def __init__(self) -> None:
        self._text = ""
        self._place = -1  # of what comes next in the answer's string; -1: it has not begun
        self._ended = False

    def feed(self, piece: str) -> str:
        """New words of the answer; "" while there are none, or a call is written."""
        self._text += piece
        if self._place < 0:
            begun = ANSWER.match(self._text)
            if begun is None:
                return ""
            self._place = begun.end()
        return self._words()

    def call(self) -> ToolCall | None:
        """The call that was written; None when it was an answer, or was cut before its end."""
        if self._place >= 0:
            return None
        return read_call(self._text)

    def unread(self) -> str:
        """What was written, when it is neither an answer nor a call: an engine that could not be held to the shape."""
        return self._text if self._place < 0 else ""

    def _words(self) -> str:
        said: list[str] = []
        text, place = self._text, self._place
        while not self._ended and place < len(text):
            sign = text[place]
            if sign == '"':
                self._ended = True
            elif sign != "\\":
                said.append(sign)
                place += 1
            else:
                found = _escape(text, place)
                if found is None:
                    break
                letter, place = found
                said.append(letter)
        self._place = place
        return "".join(said)


def read_call(text: str) -> ToolCall | None:
    """The call in a JSON object {"name": …, "arguments": {…}}; None when the text is none."""
    found = _loaded(text)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = json.dumps(found.get("arguments") or {}, ensure_ascii=False)
    return ToolCall(f"call_{secrets.token_hex(8)}", found["name"], arguments)


def _escape(text: str, place: int) -> tuple[str, int] | None:
    """The letter that a backslash at `place` begins, and where the next one is; None while it is not whole."""
    if place + 1 >= len(text):
        return None
    kind = text[place + 1]
    if kind != "u":
        return ESCAPES.get(kind, kind), place + 2
    if place + 6 > len(text):
        return None
    code = int(text[place + 2 : place + 6], 16)
    if not 0xD800 <= code < 0xDC00:
        return (chr(code) if not 0xDC00 <= code < 0xE000 else "\ufffd"), place + 6
    if place + 12 > len(text):
        return None
    low = int(text[place + 8 : place + 12], 16) if text[place + 6 : place + 8] == "\\u" else 0
    if not 0xDC00 <= low < 0xE000:
        return "\ufffd", place + 6
    return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), place + 12


def _object(**members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _own_names(parameters: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters whose definitions are lifted out under names of their own: each tool has its own `$defs`."""
    plain = dict(parameters) or {"type": "object"}
    plain.setdefault("type", "object")
    definitions: dict[str, Any] = {}
    for place in ("$defs", "definitions"):
        for name, shape in dict(plain.pop(place, None) or {}).items():
            definitions[f"{prefix}{name}"] = shape

    def renamed(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            found = {key: renamed(value) for key, value in shape.items()}
            target = shape.get("$ref")
            if isinstance(target, str):
                for place in ("#/$defs/", "#/definitions/"):
                    if target.startswith(place):
                        found["$ref"] = f"#/$defs/{prefix}{target.removeprefix(place)}"
            return found
        if isinstance(shape, list):
            return [renamed(one) for one in shape]
        return shape

    return renamed(plain), {name: renamed(shape) for name, shape in definitions.items()}


def _loaded(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
