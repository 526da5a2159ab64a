"""Inference with the real engines: llama.cpp with the tiny model, the sentence encoder."""

from __future__ import annotations

import json
import math

import pytest

from qianfan.embedded import Embedded
from tests.contract.echoing import Raw

HI = [{"role": "user", "content": "hi"}]
CITY = {
    "type": "object",
    "properties": {"big": {"type": "boolean"}, "size": {"enum": ["s", "m", "l"]}},
    "required": ["big", "size"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "of a city", "parameters": CITY}


@pytest.fixture(scope="module")
def real(platform: Embedded) -> Raw:
    return Raw(platform)


def dot(left: list[float], right: list[float]) -> float:
    return sum(map(float.__mul__, left, right))


def test_an_answer_has_the_form_that_was_asked_for(real: Raw) -> None:
    """Whatever a model that knows nothing would rather say."""
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    body = {"messages": HI, "response_format": form, "max_output_tokens": 200}
    said = json.loads(real.v1("chat/tiny", body).json["result"])
    assert set(said) == {"big", "size"}
    frames = real.v1("chat/tiny", {**body, "stream": True}).events
    assert set(json.loads("".join(one["result"] for one in frames))) == {"big", "size"}
    v2 = real.v2(
        "chat/completions", {"model": "tiny", "messages": HI, "response_format": form, "max_tokens": 200}
    )
    assert set(json.loads(v2.json["choices"][0]["message"]["content"])) == {"big", "size"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_that_must_be_called_is(real: Raw, stream: bool) -> None:
    """With arguments of its schema, by the model's own engine."""
    body = {
        "messages": HI,
        "functions": [FUNCTION],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "max_output_tokens": 200,
        "stream": stream,
    }
    answer = real.v1("chat/tiny", body)
    last = answer.events[-1] if stream else answer.json
    assert last["finish_reason"] == "function_call"
    assert set(json.loads(last["function_call"]["arguments"])) == {"big", "size"}


def test_tokens_are_counted_by_the_model_that_serves(real: Raw) -> None:
    """The tiny model counts bytes."""
    body = real.v1("tokenizer/erniebot", {"prompt": "hello", "model": "tiny"}).json
    assert body["usage"]["total_tokens"] == 5


def test_texts_that_mean_the_same_are_near(real: Raw) -> None:
    """Chinese and English, with the stand-in that needs no network."""
    texts = ["我想退货", "I want to return my purchase", "今天天气很好"]
    answer = real.v1("embeddings/bge_large_zh", {"input": texts})
    assert "stand-in" in answer.headers["X-Qianfan-Served-By"]
    same, english, other = (row["embedding"] for row in answer.json["data"])
    assert math.hypot(*same) == pytest.approx(1, abs=1e-3)
    assert dot(same, english) > dot(same, other)
    ranked = real.v1(
        "reranker/bce_reranker_base", {"query": texts[0], "documents": texts[1:], "top_n": 1}
    ).json
    assert ranked["results"][0]["document"] == texts[1]


def test_without_an_image_model_the_error_says_how_to_add_one(real: Raw) -> None:
    """On both interfaces."""
    v1 = real.v1("text2image/sd_xl", {"prompt": "a cat"}).json
    assert v1["error_code"] == 3
    assert 'kinds = ["text2image"]' in v1["error_msg"]
    assert "docs/guides/catalogue.md" in v1["error_msg"]
    v2 = real.v2("images/generations", {"model": "Stable-Diffusion-XL", "prompt": "a cat"})
    assert (v2.status, v2.json["error"]["code"]) == (400, "invalid_model")
