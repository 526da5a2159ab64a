"""JSON schemas that callers send: small enough to be turned into a grammar, and plain enough to be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .members import refuse

MAX_NODES: Final = 1_000  # objects, lists and values in one schema
MAX_DEPTH: Final = 24
MAX_REPEATS: Final = 2_000  # of one part by its own bounds or pattern
MAX_NESTED: Final = 200_000  # of one part, counted through all repetitions around it
MAX_PATTERN: Final = 200  # characters
MAX_ENUM: Final = 500
_BOUNDS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_REPEAT: Final = re.compile(r"\{(\d*)(?:,(\d*))?\}")


def checked(schema: Any, name: str) -> Mapping[str, Any]:
    """`schema` itself. Raises Fault when it is no object, or would cost an engine more than an answer does.

    name: of the member that holds it, for the error."""
    if not isinstance(schema, dict):
        refuse(f"{name} must be a JSON schema, which is an object")
    for number, (value, depth, around) in enumerate(_walk(schema)):
        if number >= MAX_NODES:
            refuse(f"{name} has more than {MAX_NODES} parts", "send a smaller schema")
        if depth > MAX_DEPTH:
            refuse(f"{name} nests deeper than {MAX_DEPTH} levels", "send a flatter schema")
        if isinstance(value, dict):
            _plain(value, name)
            if (repeats := _repeats(value)) > MAX_REPEATS or repeats * around > MAX_NESTED:
                refuse(
                    f"{name} repeats a part up to {repeats * around} times",
                    f"keep minItems, maxItems, minLength, maxLength and {{n,m}} within {MAX_REPEATS}, "
                    f"and {MAX_NESTED} where one is inside another",
                )
    return schema


def _plain(part: Mapping[str, Any], name: str) -> None:
    pattern, target, choices = part.get("pattern"), part.get("$ref"), part.get("enum")
    if isinstance(pattern, str) and len(pattern) > MAX_PATTERN:
        refuse(f"{name} has a pattern of {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    if isinstance(target, str) and not target.startswith("#"):
        refuse(f"{name} refers to {target[:64]!r}", "a $ref may only point into the same schema")
    if isinstance(choices, list) and len(choices) > MAX_ENUM:
        refuse(f"{name} has an enum of {len(choices)} values; at most {MAX_ENUM} are allowed")


def _walk(schema: Any) -> Iterator[tuple[Any, int, int]]:
    """Every part of a schema, with its depth and how often what is around it may repeat it."""
    waiting: list[tuple[Any, int, int]] = [(schema, 0, 1)]
    while waiting:
        part, depth, around = waiting.pop()
        yield part, depth, around
        if isinstance(part, dict):
            inside = around * _repeats(part)
            waiting += [(value, depth + 1, inside) for value in part.values()]
        elif isinstance(part, list):
            waiting += [(value, depth + 1, around) for value in part]


def _repeats(part: Mapping[str, Any]) -> int:
    """How often a part repeats what is in it: the largest of its bounds, or those in its pattern multiplied."""
    found, pattern = 1, part.get("pattern")
    if isinstance(pattern, str):
        for low, high in _REPEAT.findall(pattern[:MAX_PATTERN]):
            found *= max(1, int((high or low or "1")[:12]))
    for name in _BOUNDS:
        bound = part.get(name)
        if isinstance(bound, int | float) and not isinstance(bound, bool) and bound > found:
            found = int(min(bound, 2**53))
    return found
