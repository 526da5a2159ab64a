"""OpenAPI documents as tools: what is read, what is refused, what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qianfan.contract.errors import Fault
from qianfan_platform.plugins import openapi, schema


def a_document(operation: dict[str, Any], path: str = "/items/{id}", **more: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://api.example/v1/"}],
        "paths": {path: {"get": operation}},
        **more,
    }


ITEM = {
    "operationId": "get item",
    "summary": "One item.",
    "parameters": [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
        {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
        {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
    ],
}


def test_an_operation_becomes_a_tool() -> None:
    """Its arguments are one object; headers that are ours are not among them."""
    document = openapi.document_of(a_document(ITEM))
    [found] = openapi.operations_of(document)
    assert (found.name, found.description, found.method) == ("get_item", "One item.", "GET")
    assert found.places == {"id": "path", "tags": "query", "X-Trace": "header"}
    assert found.parameters["required"] == ["id"]
    assert openapi.server_of(document) == "https://api.example/v1"
    assert openapi.Operation(**json.loads(json.dumps(found.as_json()))) == found


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({"id": "a b"}, "/items/a%20b"),
        ({"id": "../../admin"}, "/items/..%2F..%2Fadmin"),
        ({"id": "x?y=1#z"}, "/items/x%3Fy%3D1%23z"),
        ({"id": "x\r\nHost: evil"}, "/items/x%0D%0AHost%3A%20evil"),
        ({"id": "{tags}", "tags": ["t"]}, "/items/%7Btags%7D?tags=t"),
        ({"id": "中"}, "/items/%E4%B8%AD"),
        ({"id": "1", "tags": ["a&b=c", "d"]}, "/items/1?tags=a%26b%3Dc&tags=d"),
        ({"id": "@evil.example/"}, "/items/%40evil.example%2F"),
    ],
)
def test_arguments_stay_inside_their_place(arguments: dict[str, Any], url: str) -> None:
    """None of them makes another path, host, query or header."""
    [operation] = openapi.operations_of(a_document(ITEM))
    assert openapi.url_and_body("https://api.example", operation, arguments)[0] == f"https://api.example{url}"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "must have id"), ({"id": ".."}, "'..'"), ({"id": "."}, "'.'"), ({"id": ""}, "''"),
        ({"id": 5}, "id must be of the type string"), ({"id": "x", "host": "evil"}, "must not have host"),
        ({"id": "x", "X-Trace": "a\r\nX: b"}, "printable ASCII"), ({"id": "x", "tags": [1]}, r"tags\[0\] must be"),
        ({"id": "x", "Authorization": "x"}, "must not have Authorization"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], why: str) -> None:
    """With the member and what it must be."""
    [operation] = openapi.operations_of(a_document(ITEM))
    with pytest.raises(Fault, match=why):
        openapi.url_and_body("https://api.example", operation, arguments)


def loop(depth: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": loop(depth - 1)}} if depth else {"type": "string"}


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"openapi": "3.0.0"}, "it has no paths"),
        (a_document({"parameters": [{"$ref": "#/a"}]}, a={"$ref": "#/b"}, b={"$ref": "#/a"}), "in a circle"),
        (a_document({"parameters": [{"$ref": "http://evil.example/x"}]}), "only references inside the document"),
        (a_document({"parameters": [{"$ref": "#/nowhere"}]}), "leads nowhere"),
        (a_document({}), "the path parameter 'id' is not described"),
        (a_document({"parameters": [{"name": "id", "in": "cookie"}]}), "in 'cookie' cannot be sent"),
        (a_document({"parameters": [{"name": "a b", "in": "query"}]}), "with the name 'a b'"),
        (a_document({"requestBody": {"content": {"text/xml": {}}}}, "/x"), "only a body of application/json"),
        (a_document({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/s"}}}}}, "/x",
                    s={"type": "object", "properties": {"again": {"$ref": "#/s"}}}), "refers to itself"),
        (a_document({"requestBody": {"content": {"application/json": {"schema": loop(40)}}}}, "/x"), "too deeply"),
        (a_document({}, "no-slash"), "must begin with /"),
    ],
)  # fmt: skip
def test_documents_that_cannot_be_called_are_refused(document: dict[str, Any], why: str) -> None:
    """Each with its reason."""
    with pytest.raises(Fault, match=why):
        openapi.operations_of(openapi.document_of(document))


def test_yaml_is_read_where_there_is_a_reader_but_never_with_aliases() -> None:
    """A few lines of aliases can stand for gigabytes; tags that make objects are refused as well."""
    pytest.importorskip("yaml")
    assert openapi.document_of("openapi: 3.0.0\npaths: {}\n")["openapi"] == "3.0.0"
    bomb = "a: &a [x,x]\nb: &b [*a,*a]\nopenapi: 3.0.0\n"
    with pytest.raises(Fault, match="aliases"):
        openapi.document_of(bomb)
    for evil in ("!!python/object/apply:os.system [id]", "[" * 5000, "a: b: c", ""):
        with pytest.raises(Fault, match="invalid"):
            openapi.document_of(evil)


@pytest.mark.parametrize(
    ("value", "shape", "why"),
    [
        (1, {"type": "integer"}, None), (1.0, {"type": "integer"}, None), (True, {"type": "integer"}, "type integer"),
        (None, {"type": "string", "nullable": True}, None), ("a", {"enum": ["a", "b"]}, None),
        ("c", {"enum": ["a", "b"]}, "one of 'a', 'b'"), (5, {"type": ["string", "number"]}, None),
        (5, {"maximum": 4}, "at most 4"), (5, {"exclusiveMinimum": 5}, "above 5"), ("ab", {"minLength": 3}, "at least 3 long"),
        ([1, "x"], {"items": {"type": "number"}}, r"\[1\] must be"), ({"a": {}}, {"properties": {"a": {"required": ["b"]}}}, "a must have b"),
        ({"x": 1}, {"additionalProperties": {"type": "string"}}, "x must be"), (3, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "none of the 2"),
        (3, {"allOf": [{"minimum": 1}, {"maximum": 2}]}, "at most 2"), ("x", {"const": "y"}, "must be 'y'"), ("x", {"unheard": 1}, None),
    ],
)  # fmt: skip
def test_values_are_checked_against_their_schema(value: Any, shape: dict[str, Any], why: str | None) -> None:
    """Types, enums, bounds, members; keywords that are not known are passed over."""
    found = schema.problem(value, shape)
    if why is None:
        assert found is None
    else:
        import re

        assert found is not None
        assert re.search(why, found)
