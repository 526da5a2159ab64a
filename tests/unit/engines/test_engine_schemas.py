"""Caps for JSON schemas: what real programs send passes, what could hold an engine up does not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from qianfan_platform.engines.llamacpp.grammar import grammar
from qianfan_platform.engines.protocol import RequestRefused
from qianfan_platform.engines.schemas import check, closed


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def repeated(levels: int, most: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema, "maxItems": most}
    return schema


NODE = {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}

GOOD = {
    "any object": {},
    "nested": deep(20),
    "an enum": {"enum": [f"value {n}" for n in range(500)]},
    "a list": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "a tree": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
    "a pattern": {"type": "string", "pattern": r"^\d{3}-[a-z]{2,20}$"},
    "formats and bounds": {
        "type": "object",
        "properties": {
            "mail": {"type": "string", "format": "email"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 5},
        },
        "required": ["mail", "age"],
        "additionalProperties": False,
    },
    "cents": {"type": "number", "multipleOf": 0.01, "minimum": 0},
    "a union": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
}

BOMBS = {
    "depth": (deep(2000), "nested deeper than 64"),
    "a megabyte": ({"enum": ["x" * 1_000_000]}, "more than 65536 characters"),
    "a huge enum": ({"enum": list(range(100_000))}, "more than 1000 choices"),
    "many parts": (
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}] * 900},
        "more than 4000 parts",
    ),
    "many properties": ({"properties": {f"p{n}": {} for n in range(300)}}, "300 properties"),
    "a huge bound": ({"type": "string", "maxLength": 10**9}, r"maxLength is 1e\+09"),
    "bounds in bounds": (repeated(6, 1000), "add up to more than 2000"),
    "a multiple": ({"type": "integer", "multipleOf": 999983}, "common multiple above 1000"),
    "multiples": (
        {"allOf": [{"type": "integer", "multipleOf": 97}, {"multipleOf": 89}]},
        "common multiple above 1000",
    ),
    "a fine multiple": ({"type": "number", "multipleOf": 1e-9}, "common multiple above 1000"),
    "a pattern in powers": ({"pattern": "^((a{1,100}){1,100}){1,100}$"}, "repeats of the pattern"),
    "a long pattern": ({"pattern": "a" * 5000}, "5000 characters"),
    "itself": ({"$ref": "#"}, "leads back to itself"),
    "a circle": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "back to itself",
    ),
    "a circle in a union": (
        {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {}]}}, "$ref": "#/$defs/a"},
        "back to itself",
    ),
    "a page of the web": ({"$ref": "https://example.com/schema.json"}, "leads outside"),
    "nowhere": ({"$ref": "#/$defs/none"}, "leads nowhere"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_programs_send_is_followed(name: str) -> None:
    """It passes the caps and compiles."""
    check(GOOD[name])
    assert grammar(GOOD[name]).startswith("%llguidance")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    """In less than a tenth of a second, with the reason."""
    schema, why = BOMBS[name]
    began = time.perf_counter()
    with pytest.raises(RequestRefused, match=why):
        check(schema)
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"not": {"type": "string"}}, r'\["not"\], which an answer cannot be held to'),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "^(a"}, "unclosed group"),
        ({"type": "string", "pattern": "^(?=a)b$"}, "look-around"),
        ({"type": "nonsense"}, "Invalid type: nonsense"),
        ({"properties": []}, "properties must be an object"),
        ({"const": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_not_ignored(schema: dict[str, Any], why: str) -> None:
    """The reason is in the library's words, without the grammar around it."""
    with pytest.raises(RequestRefused, match=why) as caught:
        grammar(schema)
    assert "llguidance" not in str(caught.value)


def test_what_a_function_asks_beyond_that_is_left_out() -> None:
    """A model's arguments are a guess anyway: lenient."""
    assert grammar({"type": "array", "uniqueItems": True, "items": {"type": "integer"}}, lenient=True)


def test_every_schema_within_the_caps_compiles_quickly() -> None:
    """The widest that pass: less than a second in the same library that the engine has."""
    widest = [
        {"enum": [f"a choice of some length, number {n}" for n in range(1000)]},
        {"type": "object", "properties": {f"property_{n}": {"type": "string"} for n in range(200)}},
        repeated(2, 1000),
        {"type": "integer", "multipleOf": 997},
        {"type": "string", "minLength": 1000},
        deep(31),
    ]
    for schema in widest:
        check(schema)
        began = time.perf_counter()
        grammar(schema)
        assert time.perf_counter() - began < 1.0


def test_objects_are_closed_where_they_name_their_members() -> None:
    """Not where they say something of others, are a value, or are half of one."""
    named = {"type": "object", "properties": {"a": {"properties": {"b": {}}}}}
    assert closed(named)["additionalProperties"] is False
    assert closed(named)["properties"]["a"]["additionalProperties"] is False
    for schema in (
        {"type": "object"},
        {"properties": {"a": {}}, "additionalProperties": True},
        {"const": {"properties": {"a": 1}}},
        {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
    ):
        assert closed(schema) == schema
    members = closed({"properties": {"properties": {"type": "string"}}})
    assert members["properties"] == {"properties": {"type": "string"}}
