"""Schemas are checked at the door, whatever engine will answer; the caps themselves are the engines'."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.inference import schemas


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
        ({"type": "array", "minItems": 10**6, "items": {"type": "string"}}, "minItems"),
        ({"$ref": "http://127.0.0.1/schema.json"}, "leads outside"),
    ],
)
def test_what_is_refused_names_the_member(schema: Any, says: str) -> None:
    """The error says which member of the body, and what is wrong with it."""
    with pytest.raises(Fault, match=says) as refused:
        schemas.checked(schema, "response_format")
    assert "response_format" in refused.value.text
