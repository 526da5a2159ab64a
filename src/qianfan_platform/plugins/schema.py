"""Whether a value fits a JSON schema: types, enums, bounds, members. What a service checks itself is left to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def problem(value: Any, schema: Mapping[str, Any], where: str = "") -> str | None:
    """What is wrong with `value`, or None. Keywords that are not known here are passed over."""
    name = where or "the arguments"
    if value is None and schema.get("nullable") is True:
        return None
    for one in schema.get("allOf") or ():
        if wrong := problem(value, one, where):
            return wrong
    for word in ("anyOf", "oneOf"):
        choices = schema.get(word)
        if choices and all(problem(value, one, where) for one in choices):
            return f"{name} fits none of the {len(choices)} shapes allowed"
    if "const" in schema and value != schema["const"]:
        return f"{name} must be {schema['const']!r}"
    if isinstance(schema.get("enum"), list) and value not in schema["enum"]:
        return f"{name} must be one of {', '.join(map(repr, schema['enum'][:10]))}"
    return _type(value, schema, name) or _bounds(value, schema, name) or _inside(value, schema, where, name)


def _type(value: Any, schema: Mapping[str, Any], name: str) -> str | None:
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    allowed = [kind for kind in kinds if kind in _TYPES]
    if allowed and not any(_is(value, kind) for kind in allowed):
        return f"{name} must be of the type {' or '.join(allowed)}"
    return None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _bounds(value: Any, schema: Mapping[str, Any], name: str) -> str | None:
    sizes: list[tuple[str, str, Any]] = []
    if isinstance(value, int | float) and not isinstance(value, bool):
        sizes = [("minimum", "maximum", value)]
        low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
        if _number(low) and value <= low:
            return f"{name} must be above {low:g}"
        if _number(high) and value >= high:
            return f"{name} must be below {high:g}"
    elif isinstance(value, str):
        sizes = [("minLength", "maxLength", len(value))]
    elif isinstance(value, list):
        sizes = [("minItems", "maxItems", len(value))]
    for low_word, high_word, size in sizes:
        low, high = schema.get(low_word), schema.get(high_word)
        what = "" if low_word == "minimum" else " long"
        if _number(low) and size < low:
            return f"{name} must be at least {low:g}{what}"
        if _number(high) and size > high:
            return f"{name} must be at most {high:g}{what}"
    return None


def _number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _inside(value: Any, schema: Mapping[str, Any], where: str, name: str) -> str | None:
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for number, one in enumerate(value):
            if wrong := problem(one, schema["items"], f"{where}[{number}]"):
                return wrong
    if not isinstance(value, Mapping):
        return None
    properties = schema.get("properties") or {}
    for key in schema.get("required") or ():
        if key not in value:
            return f"{name} must have {key}"
    others = schema.get("additionalProperties", True)
    for key, one in value.items():
        inner = properties.get(key, others)
        if inner is False:
            return f"{name} must not have {key[:60]}; known: {', '.join(properties) or 'none'}"
        if isinstance(inner, Mapping) and (wrong := problem(one, inner, f"{where}.{key}" if where else key)):
            return wrong
    return None
