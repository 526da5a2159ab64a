"""So much of Go's text/template as a Modelfile of ours uses: range, if/else, eq, ne, strings, assignment."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

STRING = r'"(?:[^"\\]|\\.)*"'


def render(template: str, messages: Sequence[dict[str, str]]) -> str:
    """What Ollama would send to the model. Raises ValueError for what Go would not take either."""
    parts = list(_parts(template))
    tree, rest = _tree(parts)
    if rest:
        raise ValueError(f"{rest[0]!r} ends nothing")
    out: list[str] = []
    _run(tree, {"Messages": [dict(m) for m in messages]}, {}, out)
    return "".join(out)


def _parts(template: str) -> Any:
    """("text", …) and ("do", …) in turn; a dash eats the space beside it."""
    at, trim = 0, False
    for found in _actions(template):
        start, end, left, body, right = found
        text = template[at:start]
        if trim:
            text = text.lstrip()
        if left:
            text = text.rstrip()
        if text:
            yield "text", text
        yield "do", body
        at, trim = end, right
    text = template[at:]
    if text := text.lstrip() if trim else text:
        yield "text", text


def _actions(template: str) -> Any:
    """Actions with quoted strings kept whole: they may hold braces."""
    at = 0
    while (start := template.find("{{", at)) >= 0:
        end = start + 2
        while not template.startswith("}}", end):
            quoted = re.match(STRING, template[end:])
            end += quoted.end() if quoted else 1
            if end > len(template):
                raise ValueError("an action is not closed")
        inner = template[start + 2 : end]
        left, right = inner.startswith("- "), inner.endswith(" -")
        yield start, end + 2, left, inner[2 if left else 0 : -2 if right else None].strip(), right
        at = end + 2


def _tree(parts: list[Any]) -> tuple[list[Any], list[Any]]:
    found: list[Any] = []
    while parts:
        kind, body = parts[0]
        word = body.split(" ")[0] if kind == "do" else ""
        if word in ("else", "end"):
            return found, parts
        parts = parts[1:]
        if word == "range":
            inner, parts = _tree(parts)
            found.append(("range", body[6:], inner))
            parts = _after_end(parts)
        elif word == "if":
            branches, parts = _branches(body[3:], parts)
            found.append(("if", branches))
        else:
            found.append((kind, body))
    return found, parts


def _branches(condition: str, parts: list[Any]) -> tuple[list[Any], list[Any]]:
    branches = []
    while True:
        inner, parts = _tree(parts)
        branches.append((condition, inner))
        body = parts[0][1]
        parts = parts[1:]
        if body == "end":
            return branches, parts
        condition = body[8:] if body.startswith("else if ") else "true"


def _after_end(parts: list[Any]) -> list[Any]:
    if not parts or parts[0][1] != "end":
        raise ValueError("a block is not ended")
    return parts[1:]


def _run(tree: list[Any], dot: Any, names: dict[str, Any], out: list[str]) -> None:
    for node in tree:
        if node[0] == "text":
            out.append(node[1])
        elif node[0] == "range":
            for item in _value(node[1], dot, names):
                _run(node[2], item, names, out)
        elif node[0] == "if":
            taken = next((inner for test, inner in node[1] if _true(test, dot, names)), [])
            _run(taken, dot, names, out)
        elif found := re.fullmatch(r"(\$\w+) :?= (.+)", node[1]):
            names[found[1]] = _value(found[2], dot, names)
        else:
            out.append(str(_value(node[1], dot, names)))


def _true(test: str, dot: Any, names: dict[str, Any]) -> bool:
    if test == "true":
        return True
    found = re.fullmatch(rf"(eq|ne) (\S+) ({STRING}|\S+)", test)
    if found is None:
        raise ValueError(f"{test!r} is no condition that is known here")
    same = _value(found[2], dot, names) == _value(found[3], dot, names)
    return same if found[1] == "eq" else not same


def _value(text: str, dot: Any, names: dict[str, Any]) -> Any:
    if text.startswith("."):
        key = text[1:]
        return dot[key] if key == "Messages" else dot[key.lower()]
    if text.startswith("$"):
        return names[text]
    if re.fullmatch(STRING, text):
        return json.loads(text)
    raise ValueError(f"{text!r} is no value that is known here")
