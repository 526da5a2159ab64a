"""Answers of a llama.cpp server: the request, and its events as pieces of the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal

import orjson

from qianfan_platform.engines.llamacpp.control import Control, as_text
from qianfan_platform.engines.llamacpp.grammar import grammar
from qianfan_platform.engines.llamacpp.http import Upstream
from qianfan_platform.engines.protocol import Delta, EngineFailed, Message, Sampling

Finish = Literal["stop", "length"]


def answer(
    http: Upstream,
    messages: Sequence[Message],
    sampling: Sampling,
    lora: Mapping[str, Any],
    control: Control,
    *,
    lenient: bool,
) -> AsyncGenerator[Delta, None]:
    """Pieces of an answer; empty ones are signs of life. Messages hold texts only. lenient: see `grammar`."""
    if (sampling.json_schema is None and sampling.min_tokens) or control.named(messages):
        return _of_tokens(http, messages, sampling, lora, control, lenient)
    return _answer(http, messages, sampling, lora, lenient)


async def _answer(
    http: Upstream, messages: Sequence[Message], sampling: Sampling, lora: Mapping[str, Any], lenient: bool
) -> AsyncGenerator[Delta, None]:
    body = {
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # long prompts: a sign of life for each batch
        "stop": list(sampling.stop) or None,
        "max_tokens": sampling.max_tokens,
        **_sampling(sampling),
        **lora,
    }
    held: list[str] | None = None
    if sampling.json_schema is not None:
        body["grammar"] = grammar(sampling.json_schema, lenient=lenient)
        held = []
    finish: Finish = "stop"
    usage: dict[str, int] = {}
    prompt_tokens: int | None = None
    async with aclosing(http.events("v1/chat/completions", _without_none(body))) as events:
        async for event in events:
            if choices := event.get("choices"):
                choice = choices[0]
                if choice["finish_reason"]:
                    finish = "length" if choice["finish_reason"] == "length" else "stop"
                if text := choice["delta"].get("content"):
                    if held is not None:
                        held.append(text)
                    yield Delta(text, prompt_tokens=prompt_tokens)
                elif "prompt_progress" in event:
                    prompt_tokens = event["prompt_progress"]["total"]
                    yield Delta()
            usage = event.get("usage") or usage
    if held is not None and finish == "stop" and not sampling.stop:
        _check("".join(held))
    yield Delta("", finish, usage.get("prompt_tokens"), usage.get("completion_tokens"))


async def _of_tokens(
    http: Upstream,
    messages: Sequence[Message],
    sampling: Sampling,
    lora: Mapping[str, Any],
    control: Control,
    lenient: bool,
) -> AsyncGenerator[Delta, None]:
    """The same from a prompt in tokens. With `min_tokens` first without an end, from there on as any other."""
    most = sampling.max_tokens
    rounds: list[dict[str, Any]] = []
    common = {"stream": True, "return_progress": True, **_sampling(sampling), **lora}
    if sampling.json_schema is not None:
        common["grammar"] = grammar(sampling.json_schema, lenient=lenient)
    elif sampling.min_tokens:
        least = sampling.min_tokens if most is None else min(sampling.min_tokens, most)
        rounds.append({"n_predict": least, "ignore_eos": True})
        most = None if most is None else most - least
    if most is None or most > 0 or not rounds:
        rounds.append({"n_predict": most, "stop": list(sampling.stop) or None})
    ids = await control.prompt(messages, http)
    made, said = 0, ""
    finish: Finish = "length"
    for limits in rounds:
        prompt = [*ids, *await as_text(said, http)] if said else ids
        body = _without_none({"prompt": prompt, **common, **limits})
        async with aclosing(http.events("completion", body, last="stop")) as events:
            async for event in events:
                text = event.get("content") or ""
                said += text
                if event.get("stop"):
                    made += event["tokens_predicted"]
                    finish = "length" if event.get("stop_type") == "limit" else "stop"
                yield Delta(text, prompt_tokens=len(ids))
    if sampling.json_schema is not None and finish == "stop" and not sampling.stop:
        _check(said)
    yield Delta("", finish, len(ids), made)


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """How to pick tokens; what is None is left to the engine."""
    return _without_none(
        {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "min_p": 0.0,  # llama.cpp's own 0.05 would cut more than top_p says
            "top_k": sampling.top_k,
            "repeat_penalty": sampling.penalty_score,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "seed": sampling.seed,
        }
    )


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _check(text: str) -> None:
    """llama.cpp says nothing when it has lost a grammar: an answer that is no JSON must not pass for one."""
    try:
        orjson.loads(text)
    except ValueError:
        raise EngineFailed("the engine did not hold its answer to the JSON schema") from None
