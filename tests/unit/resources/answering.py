"""Answers in the shapes of the documents, for the loopback server: one function from a request to an answer."""

from __future__ import annotations

import json
from typing import Any

from loopback import Answer, Seen, stream

PREFIX = "/rpc/2.0/ai_custom/v1/wenxinworkshop"
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
WORDS = ("你好", ", ", "world")


def documented(seen: Seen) -> Answer:
    """What the platform answers: whole or as a stream, by the kind of the path."""
    if seen.path.startswith("/v2/"):
        return _v2(seen)
    kind = seen.path.removeprefix(f"{PREFIX}/").split("/")[0]
    body: dict[str, Any] = {"id": "as-1", "created": 1700000000}
    if kind == "embeddings":
        data = [
            {"object": "embedding", "embedding": [0.1, 0.2], "index": n}
            for n, _ in enumerate(seen.json["input"])
        ]
        return Answer({**body, "object": "embedding_list", "data": data, "usage": USAGE})
    if kind == "text2image":
        return Answer(
            {**body, "object": "image", "data": [{"object": "image", "b64_image": "UE5H", "index": 1}]}
        )
    if kind == "reranker":
        return Answer({**body, "object": "reranker_list", "results": _ranked(seen.json), "usage": USAGE})
    if kind == "tokenizer":
        return Answer({**body, "object": "tokenizer.erniebot", "usage": {"total_tokens": 9}})
    body["object"] = "completion" if kind == "completions" else "chat.completion"
    if not seen.json.get("stream"):
        return Answer({**body, "result": "".join(WORDS), "usage": USAGE})
    last = len(WORDS) - 1
    return stream(
        *({**body, "sentence_id": n, "result": word, "is_end": n == last} for n, word in enumerate(WORDS))
    )


def _ranked(asked: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {"document": text, "relevance_score": 1 / (n + 1), "index": n}
        for n, text in enumerate(asked["documents"])
    ]
    return rows[: asked.get("top_n")]


def _v2(seen: Seen) -> Answer:
    tail = seen.path.removeprefix("/v2/")
    if tail == "models":
        return Answer(
            {"object": "list", "data": [{"id": "ernie-lite-8k", "object": "model", "owned_by": "me"}]}
        )
    body: dict[str, Any] = {"id": "as-1", "created": 1700000000, "model": seen.json["model"], "usage": USAGE}
    if tail == "embeddings":
        data = [
            {"object": "embedding", "embedding": [0.5], "index": n} for n, _ in enumerate(seen.json["input"])
        ]
        return Answer({**body, "object": "embedding_list", "data": data})
    if tail == "images/generations":
        return Answer({**body, "object": "image", "data": [{"index": 0, "b64_json": "UE5H"}]})
    if tail == "rerankers":
        return Answer({**body, "object": "reranker_list", "results": _ranked(seen.json)})
    if not seen.json.get("stream"):
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(WORDS)},
            "finish_reason": "stop",
        }
        return Answer({**body, "object": "chat.completion", "choices": [choice]})
    body["object"] = "chat.completion.chunk"
    pieces = [
        {**body, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        for word in WORDS
    ]
    pieces[-1]["choices"][0]["finish_reason"] = "stop"
    return stream(*pieces, "[DONE]")


def ordered(seen: Seen) -> list[tuple[str, Any]]:
    """Members of the body in the order in which they were sent."""
    pairs: list[tuple[str, Any]] = list(json.loads(seen.body).items())
    return pairs
