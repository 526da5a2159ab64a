"""Caps for JSON schemas, before an engine makes a grammar of them.

A grammar is compiled and walked by native code that knows no limit: a small hostile schema can hold an engine
for minutes or bring it down. What is over a cap is refused here, in a millisecond, and says by what.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from qianfan_platform.engines.protocol import RequestRefused

MAX_BYTES: Final = 64 * 1024  # of all texts in the schema
MAX_DEPTH: Final = 64
MAX_NODES: Final = 4000
MAX_CHOICES: Final = 1000  # values of enums and branches of unions, all together
MAX_PROPERTIES: Final = 200  # of one object
MAX_REPEATS: Final = 1000  # a bound on items, characters or a quantifier
MAX_ALL_REPEATS: Final = 2000  # of those bounds together
MAX_MULTIPLE: Final = 1000  # the least common multiple of every multipleOf; a larger one takes half a minute
MAX_PATTERN: Final = 200  # characters
MAX_PATTERN_SIZE: Final = 1000  # positions of a pattern once its repeats are written out
BOUNDS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
UNIONS: Final = ("anyOf", "oneOf", "allOf", "enum")
QUANTIFIER: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")


def check(schema: Mapping[str, Any]) -> None:
    """Raise RequestRefused when a grammar of this schema could be too much for an engine."""
    size = choices = repeats = 0
    multiple = 1
    links: dict[str, list[str]] = {}
    for nodes, (node, depth, where) in enumerate(_nodes(schema), 1):
        if depth > MAX_DEPTH:
            raise _refused(f"it is nested deeper than {MAX_DEPTH} levels")
        if nodes > MAX_NODES:
            raise _refused(f"it has more than {MAX_NODES} parts")
        if isinstance(node, str):
            size += len(node)
        elif isinstance(node, Mapping):
            size += sum(map(len, map(str, node)))
            choices += sum(_length(node.get(key)) for key in UNIONS)
            repeats += _bounds(node)
            multiple = math.lcm(multiple, _multiple(node))
            _properties(node)
            _pattern(node)
            if found := _links(node, schema, where):
                links[where] = found
        if size > MAX_BYTES:
            raise _refused(f"its texts have more than {MAX_BYTES} characters")
        if choices > MAX_CHOICES:
            raise _refused(f"its enums and unions have more than {MAX_CHOICES} choices")
        if repeats > MAX_ALL_REPEATS:
            raise _refused(f"its bounds add up to more than {MAX_ALL_REPEATS}")
        if multiple > MAX_MULTIPLE:
            raise _refused(f"the numbers of its multipleOf have a common multiple above {MAX_MULTIPLE}")
    _no_circles(links)


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose objects have the members they name and no others, unless it says more about others.

    Small models go on inventing members. What fits the closed schema fits the open one as well."""
    open_ended = ("additionalProperties", "patternProperties", "unevaluatedProperties")

    def walked(node: Any, *, named: bool = False) -> Any:
        if isinstance(node, list):
            return [walked(one) for one in node]
        if not isinstance(node, Mapping):
            return node
        maps = () if named else ("properties", "$defs", "definitions", "patternProperties")
        values = () if named else ("const", "enum", "default", "examples")
        found = {
            key: value if key in values else walked(value, named=key in maps) for key, value in node.items()
        }
        members = not named and isinstance(node.get("properties"), Mapping) and node["properties"]
        if members and not any(key in node for key in open_ended):
            found["additionalProperties"] = False
        return found

    # Halves of an object must stay open for one another.
    return dict(schema) if '"allOf"' in json.dumps(schema) else walked(schema)


def _nodes(schema: Any) -> Iterator[tuple[Any, int, str]]:
    """Every value with its depth and its JSON pointer, without recursion: the schema may be deep."""
    stack = [(schema, 0, "#")]
    while stack:
        node, depth, where = stack.pop()
        yield node, depth, where
        if isinstance(node, Mapping):
            stack.extend((value, depth + 1, f"{where}/{key}") for key, value in node.items())
        elif isinstance(node, list):
            stack.extend((value, depth + 1, f"{where}/{n}") for n, value in enumerate(node))


def _bounds(node: Mapping[str, Any]) -> int:
    total = 0
    for key in BOUNDS:
        bound = node.get(key)
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            continue
        if not 0 <= bound <= MAX_REPEATS:
            raise _refused(f"{key} is {bound:g}; at most {MAX_REPEATS} can be held to")
        total += int(bound)
    return total


def _multiple(node: Mapping[str, Any]) -> int:
    value = node.get("multipleOf")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < abs(value) <= MAX_MULTIPLE:
        return 1 if value is None or not isinstance(value, int | float) else MAX_MULTIPLE + 1
    exact = Fraction(str(abs(value)))
    return exact.numerator * exact.denominator


def _properties(node: Mapping[str, Any]) -> None:
    members = node.get("properties")
    if isinstance(members, Mapping) and len(members) > MAX_PROPERTIES:
        raise _refused(f"an object has {len(members)} properties; at most {MAX_PROPERTIES} can be held to")


def _pattern(node: Mapping[str, Any]) -> None:
    pattern = node.get("pattern")
    if not isinstance(pattern, str):
        return
    if len(pattern) > MAX_PATTERN:
        raise _refused(f"a pattern has {len(pattern)} characters; at most {MAX_PATTERN} can be held to")
    if _written_out(pattern) > MAX_PATTERN_SIZE:
        raise _refused(f"the repeats of the pattern {pattern!r} are more than {MAX_PATTERN_SIZE} together")


def _written_out(pattern: str) -> int:
    """Positions of a pattern when `x{3}` is written as `xxx`: an upper bound, nested groups multiply."""
    totals, last = [0], [0]
    place = 0
    while place < len(pattern):
        sign = pattern[place]
        if sign == "\\":
            place += 2
            size = 1
        elif sign == "[":
            end = pattern.find("]", place + 2)
            place = len(pattern) if end < 0 else end + 1
            size = 1
        elif sign == "(":
            totals.append(0)
            last.append(0)
            place += 1
            continue
        elif sign == ")" and len(totals) > 1:
            size = totals.pop()
            last.pop()
            place += 1
        elif sign == "{" and (found := QUANTIFIER.match(pattern, place)):
            most = max(int(found[1] or 0), int(found[3] or 0))
            totals[-1] += last[-1] * max(0, most - 1)
            last[-1] *= max(1, most)
            place = found.end()
            if totals[-1] > MAX_PATTERN_SIZE:
                return totals[-1]
            continue
        else:
            place += 1
            size = 0 if sign in "|?*+^$" else 1
            if not size:
                continue
        totals[-1] += size
        last[-1] = size
    return sum(totals)


def _links(node: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> list[str]:
    """The places that this one stands for without writing anything down itself."""
    found = [f"{where}/{key}/{n}" for key in UNIONS[:3] for n in range(_length(node.get(key)))]
    target = node.get("$ref")
    if not isinstance(target, str):
        return found
    if not target.startswith("#"):
        raise _refused(f"the reference {target[:80]!r} leads outside of it; put what it needs under $defs")
    here: Any = schema
    for part in [part for part in target[1:].split("/") if part]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, Mapping) and name in here:
            here = here[name]
        elif isinstance(here, list) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        else:
            raise _refused(f"the reference {target[:80]!r} leads nowhere")
    return [*found, target.rstrip("/")]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _no_circles(links: Mapping[str, list[str]]) -> None:
    """A reference may lead back to where it stands only through something that is written down in between."""
    done: set[str] = set()
    for start in links:
        path: list[str] = []
        stack = [(start, False)]
        while stack:
            here, leaving = stack.pop()
            if leaving:
                path.pop()
                done.add(here)
            elif here in path:
                raise _refused(f"the reference to {here!r} leads back to itself")
            elif here not in done:
                path.append(here)
                stack.append((here, True))
                stack.extend((target, False) for target in links.get(here, ()))


def _refused(why: str) -> RequestRefused:
    return RequestRefused(f"the JSON schema cannot be followed: {why}. Make it smaller")
