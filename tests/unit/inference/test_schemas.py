"""Schemas that would cost more than an answer are refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.inference import schemas


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"in": schema}}
    return schema


def test_an_ordinary_schema_passes_as_it_is() -> None:
    """Objects in lists in objects, references into itself, bounds and patterns."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 200, "pattern": "^[a-z]{1,20}$"},
            "parts": {"type": "array", "maxItems": 50, "items": {"$ref": "#/$defs/part"}},
            "kind": {"enum": ["a", "b"]},
            "maxItems": {"type": "integer"},
        },
        "$defs": {"part": {"type": "object", "properties": {"weight": {"type": "number"}}}},
        "required": ["name"],
    }
    assert schemas.checked(schema, "x") is schema


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("text", "must be a JSON schema"),
        (nested(60), "nests deeper"),
        ({"anyOf": [{"type": "string"}] * 3_000}, "parts"),
        ({"type": "array", "minItems": 10**6, "items": {"type": "string"}}, "repeats"),
        ({"type": "array", "maxItems": 1e300}, "repeats"),
        ({"type": "array", "maxItems": 1000, "items": {"type": "array", "maxItems": 1000}}, "repeats"),
        ({"type": "string", "pattern": "^((a{100}){100}){100}$"}, "repeats"),
        ({"type": "string", "pattern": "a" * 500}, "pattern"),
        ({"$ref": "http://127.0.0.1/schema.json"}, "refers"),
        ({"enum": list(range(1_000))}, "enum"),
    ],
)
def test_a_bomb_is_refused_at_once(schema: Any, says: str) -> None:
    """The error names the member and the limit; finding it takes no time worth speaking of."""
    started = time.perf_counter()
    with pytest.raises(Fault, match=says) as refused:
        schemas.checked(schema, "response_format")
    assert "response_format" in refused.value.text
    assert time.perf_counter() - started < 0.5
