"""Functions that a model may ask for, and its asking, between the two interfaces and the engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qianfan_platform.engines.protocol import Tool, ToolCall

from .members import Body, refuse
from .schemas import checked

MAX_TOOLS: Final = 128
MAX_NAME: Final = 64
MAX_DESCRIPTION: Final = 4_096
_TOOLED: Final = frozenset(("functions", "tools", "tool_choice"))
NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


def of_v1(body: Body) -> tuple[tuple[Tool, ...], str]:
    """Tools and the choice of a V1 body: `functions`, or `tools` as on V2."""
    if _TOOLED.isdisjoint(body):
        return (), "auto"
    functions = body.get("functions")
    if functions is None:
        return of_v2(body)
    if not isinstance(functions, list) or len(functions) > MAX_TOOLS:
        refuse(f"functions must be a list of at most {MAX_TOOLS} functions")
    tools = tuple(_tool(one, f"functions[{place}]") for place, one in enumerate(functions))
    return tools, _choice(body, tools)


def of_v2(body: Body) -> tuple[tuple[Tool, ...], str]:
    """Tools and the choice of a V2 body. Tools of the cloud's own, such as its web search, are left out."""
    if _TOOLED.isdisjoint(body):
        return (), "auto"
    rows = body.get("tools")
    if rows is None:
        rows = []
    if not isinstance(rows, list) or len(rows) > MAX_TOOLS:
        refuse(f"tools must be a list of at most {MAX_TOOLS} tools")
    found = []
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("type", "function"), str):
            refuse(f"tools[{place}] must be an object with type and function")
        if row.get("type", "function") == "function":
            found.append(_tool(row.get("function"), f"tools[{place}].function"))
    return tuple(found), _choice(body, found)


def _tool(row: Any, where: str) -> Tool:
    if not isinstance(row, dict):
        refuse(f"{where} must be an object with name, description and parameters")
    name, description = row.get("name"), row.get("description")
    if not isinstance(name, str) or not name.strip():
        refuse(f"{where}: the function's name can't be blank")
    if len(name) > MAX_NAME:
        refuse(f"{where}: the function's name has {len(name)} characters; at most {MAX_NAME} are allowed")
    if not isinstance(description, str | None) or len(description or "") > MAX_DESCRIPTION:
        refuse(f"{where}: the description must be a text of at most {MAX_DESCRIPTION} characters")
    parameters = row.get("parameters")
    schema = NO_PARAMETERS if not parameters else checked(parameters, f"{where}.parameters")
    return Tool(name, description or "", schema)


def _choice(body: Body, tools: Sequence[Tool]) -> str:
    """auto, none, required, or the name of the one tool that must be called."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type", "function") != "function":
            return "auto"  # one of the cloud's own tools
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, dict) else None
        if not isinstance(choice, str) or choice not in [tool.name for tool in tools]:
            refuse("tool_choice names no function of this request")
        return choice
    if choice not in (None, "auto", "none", "required"):
        refuse('tool_choice must be auto, none, required or {"type": "function", "function": {"name": …}}')
    if choice == "required" and not tools:
        refuse("tool_choice is required, but the request has no tools")
    return choice or "auto"


def call_of_v1(call: ToolCall, said: str = "") -> dict[str, str]:
    """`function_call` of a V1 answer. said: what the model said before it, when it named no thoughts."""
    return {"name": call.name, "thoughts": call.thoughts or said.strip(), "arguments": call.arguments}


def calls_of_v2(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """`tool_calls` of a V2 answer; pieces of a stream have an `index` besides."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
