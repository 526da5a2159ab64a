"""What an attacker sends to the routes of inference: each gets an error of its own, and the next one is served."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.echoing import Raw
from tests.contract.test_inference_v1 import code

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def still_serving(raw: Raw) -> Iterator[None]:
    """Whatever was sent, the next chat is answered."""
    yield
    assert raw.v1("chat/eb-instant", {"messages": HI}).json["result"] == "hi"


@pytest.mark.parametrize(
    "member",
    [
        {"max_output_tokens": -1},
        {"max_output_tokens": 0},
        {"max_output_tokens": 2**31},
        {"max_output_tokens": "many"},
        {"temperature": -0.1},
        {"temperature": 1e308},
        {"top_p": [0.5]},
        {"penalty_score": 0},
        {"frequency_penalty": 9},
        {"stop": [f"stop {number}" for number in range(10_000)]},
        {"stop": ["x" * 100_000]},
        {"n": 10**6},
        {"functions": [{"name": "f", "description": "d", "parameters": {"type": "object"}}] * 10_000},
    ],
    ids=lambda member: next(iter(member)),
)
def test_numbers_and_lists_beyond_all_bounds(raw: Raw, member: dict[str, Any]) -> None:
    """Hostile input 44: an error of the class 336003, whole and streamed."""
    for stream in (False, True):
        assert code(raw.v1("chat/eb-instant", {"messages": HI, "stream": stream, **member})) == 336003


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400])
def test_numbers_that_are_none(raw: Raw, number: str) -> None:
    """What JSON does not know, and what no computer holds."""
    body = f'{{"messages": [{{"role": "user", "content": "hi"}}], "temperature": {number}}}'.encode()
    assert code(raw.v1("chat/eb-instant", body)) in (336002, 336003)
    answer = raw.v2("chat/completions", b'{"model": "scripted", ' + body[1:])
    assert (answer.status, answer.json["error"]["code"]) in (
        (400, "malformed_json"),
        (400, "invalid_argument"),
    )


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"in": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(100),
        {"anyOf": [{"const": number} for number in range(5_000)]},
        {"type": "array", "maxItems": 10**9},
        {"type": "string", "pattern": "^(((((a{99}){99}){99}){99}){99})$"},
        {"type": "string", "pattern": "(a|a)*" * 1_000},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "http://169.254.169.254/"},
    ],
    ids=["deep", "wide", "long", "powers", "regex", "file", "remote"],
)
def test_schemas_that_explode(raw: Raw, schema: dict[str, Any]) -> None:
    """Hostile input 45: refused before any engine sees them, as an answer's form and as a function's."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert code(raw.v1("chat/eb-instant", {"messages": HI, "response_format": form})) == 336003
    function = {"name": "f", "description": "d", "parameters": schema}
    assert code(raw.v1("chat/eb-instant", {"messages": HI, "functions": [function]})) == 336003


def test_json_nested_without_end(raw: Raw) -> None:
    """A body that is all brackets."""
    body = b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert code(raw.v1("chat/eb-instant", body)) in (336002, 336006)


def test_messages_without_number(raw: Raw) -> None:
    """A hundred thousand turns fit no model; they are not even looked at."""
    turn = {"role": "user", "content": "x"}
    assert code(raw.v1("chat/eb-instant", {"messages": [turn] * 99_999})) == 336103
    answer = raw.v2("chat/completions", {"model": "scripted", "messages": [turn] * 99_999})
    assert answer.json["error"]["code"] == "tokens_too_long"


def images() -> Iterator[tuple[str, bytes]]:
    head = struct.pack(">IIBBBBB", 65_535, 65_535, 8, 6, 0, 0, 0)
    yield (
        "bomb",
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + b"\0" * 4 + b"IEND\xaeB`\x82",
    )
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "polyglot", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + b"\0\0\0\x20" * 2 + b"<html>"
    yield "zip", b"PK\x03\x04" + b"\0" * 40
    yield "jpeg", b"\xff\xd8\xff" + b"\xff" * 100_000


@pytest.mark.parametrize(("name", "image"), list(images()), ids=[name for name, _ in images()])
def test_images_that_are_bombs_or_something_else(raw: Raw, name: str, image: bytes) -> None:
    """Hostile input 46: the header alone decides; nothing is decoded."""
    coded = base64.b64encode(image).decode()
    assert code(raw.v1("image2text/fuyu_8b", {"prompt": "?", "image": coded})) == 336003
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded}"}}]
    answer = raw.v2(
        "chat/completions", {"model": "scripted", "messages": [{"role": "user", "content": content}]}
    )
    assert answer.status == 400
    assert json.loads(answer.raw)["error"]["message"].startswith("messages[0].image_url")


def test_an_address_is_not_fetched(raw: Raw) -> None:
    """An image given by its address would make the platform call wherever the caller likes."""
    content = [{"type": "image_url", "image_url": {"url": f"{raw.running.base_url}/health"}}]
    answer = raw.v2(
        "chat/completions", {"model": "scripted", "messages": [{"role": "user", "content": content}]}
    )
    assert "fetches no images" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "path", ["chat/..%2f..%2fservice%2flist", "chat/%00", "chat/a%0d%0aX-Evil:%201", "chat/" + "x" * 4_000, "chat/'; DROP TABLE service;--".replace(" ", "%20")]
)  # fmt: skip
def test_endpoints_that_are_no_names(raw: Raw, path: str) -> None:
    """Unknown like any other; nothing of them gets into a header."""
    answer = raw.v1(path, {"messages": HI})
    assert code(answer) == 3
    assert "X-Evil" not in answer.headers
    assert len(answer.raw) < 1_000


def test_half_a_character(raw: Raw) -> None:
    """A lone surrogate is no text; whoever sends one is told so."""
    body = b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'
    assert code(raw.v1("chat/eb-instant", body)) in (336002, 336006)
