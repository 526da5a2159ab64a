"""The V2 interface on the wire, in the shape of the OpenAI one."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.contract.echoing import Answer, Raw
from tests.contract.test_inference_v1 import png

HI = [{"role": "user", "content": "one two"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {}}}


def refused(answer: Answer, status: int, code: str) -> str:
    assert answer.status == status
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["type"]
    assert answer.json["id"].startswith("as-")
    return str(answer.json["error"]["message"])


def test_a_chat_has_the_members_of_both_documentations(raw: Raw) -> None:
    """OpenAI's, and those that the cloud adds to each choice."""
    body = raw.v2("chat/completions", {"model": "ernie-speed-8k", "messages": HI}).json
    assert body["object"] == "chat.completion"
    assert body["model"] == "ernie-speed-8k"
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    assert body["choices"] == [
        {
            "index": 0, "message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop",
            "flag": 0, "ban_round": 0, "need_clear_history": False,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream_ends_with_its_mark(raw: Raw, with_usage: bool) -> None:
    """Chunks, the reason, the usage where it was asked for, `[DONE]`."""
    body = {
        "model": "ernie-speed-8k",
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": with_usage},
    }
    answer = raw.v2("chat/completions", body)
    assert answer.raw.endswith(b"\n\ndata: [DONE]\n\n")
    chunks = answer.events
    told = [one["choices"][0] for one in chunks if one["choices"]]
    assert "".join(one["delta"].get("content", "") for one in told) == "one two"
    assert told[0]["delta"]["role"] == "assistant"
    assert [one["finish_reason"] for one in told] == [None, None, "stop"]
    assert chunks[-1]["usage"]["total_tokens"] == 4
    assert (chunks[-1]["choices"] == []) is with_usage


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_answered(raw: Raw, stream: bool) -> None:
    """Whole or in a chunk; the id ties the two together."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "weather?"}]
    body = {"model": "ernie-3.5-8k", "messages": messages, "tools": [TOOL], "stream": stream}
    answer = raw.v2("chat/completions", body)
    choices = [one["choices"][0] for one in (answer.events if stream else [answer.json])]
    said = next(one for one in (c.get("delta") or c["message"] for c in choices) if one.get("tool_calls"))
    call = said["tool_calls"][0]
    assert choices[-1]["finish_reason"] == "tool_calls"
    assert call["function"] == {"name": "weather", "arguments": '{"city": "北京"}'}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "20 degrees"},
    ]
    again = raw.v2("chat/completions", {**body, "messages": messages, "stream": False}).json
    assert again["choices"][0]["message"]["content"] == "20 degrees"
    none = raw.v2(
        "chat/completions", {**body, "messages": messages[:1], "tool_choice": "none", "stream": False}
    )
    assert none.json["choices"][0]["finish_reason"] == "stop"


def test_embeddings_come_as_numbers_or_as_bytes(raw: Raw) -> None:
    """The `openai` client asks for base64 by itself."""
    body = {"model": "embedding-v1", "input": "a b"}
    plain = raw.v2("embeddings", body).json
    assert (plain["object"], plain["model"]) == ("list", "embedding-v1")
    row = plain["data"][0]["embedding"]
    coded = raw.v2("embeddings", {**body, "encoding_format": "base64"}).json["data"][0]["embedding"]
    numbers = struct.unpack(f"<{len(row)}f", base64.b64decode(coded))
    assert numbers == pytest.approx(row)
    assert raw.v2("embeddings", {**body, "dimensions": len(row)}).status == 200
    assert "64" in refused(raw.v2("embeddings", {**body, "dimensions": 7}), 400, "invalid_argument")
    assert "token ids" in refused(raw.v2("embeddings", {**body, "input": [1, 2]}), 400, "invalid_argument")


def test_documents_are_ranked(raw: Raw) -> None:
    """As on V1, with the model's name."""
    asked = {"model": "bce-reranker-base", "query": "red", "documents": ["blue", "red"]}
    body = raw.v2("rerankers", asked).json
    assert [one["index"] for one in body["results"]] == [1, 0]
    assert body["model"] == "bce-reranker-base"


def test_images_are_made(raw: Raw) -> None:
    """In base64; there are no links to them."""
    asked = {"model": "scripted", "prompt": "a cat", "size": "768x768"}
    (image,) = raw.v2("images/generations", asked).json["data"]
    assert base64.b64decode(image["b64_json"]).startswith(b"\x89PNG")
    refused(raw.v2("images/generations", {**asked, "response_format": "url"}), 400, "invalid_argument")


def test_a_model_that_sees_is_shown_images_and_another_says_no(raw: Raw) -> None:
    """What a model sees is written in the catalogue."""
    content = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png()}"}},
    ]
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}]}
    answer = raw.v2("chat/completions", body)
    assert answer.json["choices"][0]["message"]["content"] == "what is it?"
    says = refused(raw.v2("chat/completions", {**body, "model": "blind"}), 400, "invalid_argument")
    assert "reads no images" in says


def test_models_are_listed_and_looked_up(raw: Raw) -> None:
    """Each says what really serves it."""
    listed = raw.v2("models", method="GET").json
    assert listed["object"] == "list"
    rows = {row["id"]: row for row in listed["data"]}
    assert rows["scripted"]["stand_in"] is False
    assert rows["ERNIE-Speed-8K"]["served_by"] == "scripted"
    assert "stand-in" in rows["ERNIE-Speed-8K"]["note"]
    assert raw.v2("models/scripted", method="GET").json == rows["scripted"]
    assert raw.v2("models/ernie-speed-8k", method="GET").json["id"] == "ernie-speed-8k"
    refused(raw.v2("models/no/such", method="GET"), 404, "invalid_model")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        ({"messages": HI}, 400, "invalid_model"),
        ({"model": "no_such", "messages": HI}, 400, "invalid_model"),
        ({"model": "embedding-v1", "messages": HI}, 400, "invalid_model"),
        ({"model": "scripted", "messages": []}, 400, "invalid_messages"),
        ({"model": "scripted", "messages": [{"role": "robot"}]}, 400, "invalid_messages"),
        ({"model": "scripted", "messages": HI, "temperature": 3}, 400, "invalid_argument"),
        ({"model": "scripted", "messages": HI, "n": 2}, 400, "invalid_argument"),
        ({"model": "scripted", "messages": HI, "logprobs": True}, 400, "invalid_argument"),
        ({"model": "scripted", "messages": [{"role": "user", "content": "x" * 50_000}]}, 400,
         "characters_too_long"),
        ({"model": "scripted", "messages": [{"role": "user", "content": "x " * 5_000}]}, 400, "tokens_too_long"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_their_documented_codes(
    raw: Raw, body: Any, status: int, code: str, stream: bool
) -> None:
    """With the HTTP status, also when a stream was asked for."""
    asked = {**body, "stream": stream} if isinstance(body, dict) else body
    refused(raw.v2("chat/completions", asked), status, code)


def test_another_method_is_refused(raw: Raw) -> None:
    """405, in the family's shape."""
    refused(raw.v2("chat/completions", method="GET"), 405, "method_not_supported")


def test_an_answer_in_json_is_asked_for_by_schema(raw: Raw) -> None:
    """A schema arrives at the engine or is refused; the echo engine takes any."""
    schema = {
        "name": "city",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    }
    body = {
        "model": "scripted",
        "messages": HI,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert raw.v2("chat/completions", body).status == 200
    bomb = {"type": "array", "minItems": 10**9, "items": {"type": "string"}}
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": bomb}}
    assert "minItems" in refused(raw.v2("chat/completions", body), 400, "invalid_argument")
    assert json.loads(raw.v2("models", method="GET").raw)
