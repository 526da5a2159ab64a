"""The bodies of requests to an OpenAI-compatible server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qianfan_platform.engines import tools
from qianfan_platform.engines.protocol import Message, Sampling

WORD: Final = re.compile(r"[一-鿿]|[^\W一-鿿]+")


def chat_body(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """Of /chat/completions. What is None is left to the server."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in messages],
        **_sampling(sampling),
    }
    if sampling.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters) or {"type": "object", "properties": {}},
                },
            }
            for tool in sampling.tools
        ]
        named = sampling.tool_choice not in ("auto", "none", "required")
        body["tool_choice"] = (
            {"type": "function", "function": {"name": sampling.tool_choice}}
            if named
            else sampling.tool_choice
        )
    return body


def completion_body(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """Of /completions: the texts of the messages, one after the other, are the prompt."""
    prompt = "\n".join(tools.text_of(message) for message in messages)
    return {"model": model, "prompt": prompt, **_sampling(sampling)}


def asked_tokens(messages: Sequence[Message]) -> int:
    """`estimate` of the texts of a conversation; images are not counted."""
    contents = [message.get("content") or "" for message in messages]
    texts = [content if isinstance(content, str) else _texts(content) for content in contents]
    return sum(map(estimate, texts))


def _texts(parts: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(str(part["text"]) for part in parts if part.get("type") == "text")


def estimate(text: str) -> int:
    """About how many tokens a text has, for servers that do not count: Chinese characters and words."""
    return len(WORD.findall(text))


def _sampling(sampling: Sampling) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.penalty_score,  # as vLLM and SGLang call it
        "repeat_penalty": sampling.penalty_score,  # as llama.cpp and Ollama call it
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stop": list(sampling.stop) or None,
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,
        "seed": sampling.seed,
        "response_format": _format(sampling.json_schema),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    if not schema:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}
