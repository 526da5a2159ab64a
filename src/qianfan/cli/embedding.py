"""`qianfan embedding`: texts as vectors, and how alike they are."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from . import options
from .options import lines_of, named
from .output import emit, show_table

AT_ONCE: Final = 16  # texts that one call may have
SHOWN_VALUES: Final = 4
SHOWN_TEXTS: Final = 12  # more make a table that nobody reads
LABEL: Final = 40


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("embedding")(embedding)


def embedding(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; `-` or nothing: one a line, piped in.", show_default=False),
    ] = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    json: options.JsonObject = False,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Turn texts into vectors; several texts are also compared with one another.

    qianfan embedding 世界上最高的山 "the highest mountain" "a recipe for noodles" """
    from qianfan.resources import Embedding

    asked = lines_of(texts, "texts")
    client, who = Embedding(), named(Embedding, model, endpoint)

    async def ask() -> tuple[list[list[float]], dict[str, int]]:
        vectors: list[list[float]] = []
        usage: dict[str, int] = {}
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            answer = await client.ado(texts=part, request_timeout=timeout, **who)
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors += [row["embedding"] for row in rows]
            for name, count in (answer.get("usage") or {}).items():
                if isinstance(count, int):
                    usage[name] = usage.get(name, 0) + count
        return vectors, usage

    vectors, usage = asyncio.run(ask())
    alike = [[cosine(one, other) for other in vectors] for one in vectors] if len(vectors) > 1 else []
    if json:
        data = [
            {"index": number, "text": text, "embedding": vector}
            for number, (text, vector) in enumerate(zip(asked, vectors, strict=True))
        ]
        emit(
            {
                "model": endpoint or model or Embedding.default_model,
                "dimensions": len(vectors[0]),
                "data": data,
                "similarity": alike,
                "usage": usage,
            }
        )
        return
    show_table(
        ("", "text", "dimensions", "first values"),
        [
            (number, _short(text), len(vector), ", ".join(f"{value:+.4f}" for value in vector[:SHOWN_VALUES]))
            for number, (text, vector) in enumerate(zip(asked, vectors, strict=True), start=1)
        ],
        numbers=("", "dimensions"),
    )
    if 1 < len(vectors) <= SHOWN_TEXTS:
        _show_alike(alike)


def _show_alike(alike: Sequence[Sequence[float]]) -> None:
    names = [str(number) for number in range(1, len(alike) + 1)]
    rows: list[list[Any]] = [
        [name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, alike, strict=True)
    ]
    show_table(["", *names], rows, numbers=["", *names], title="\nhow alike (cosine, 1 is the same)")


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """How alike two vectors are, from -1 to 1; 0 when one of them has no length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    product = sum(left * right for left, right in zip(one, other, strict=True))
    return product / lengths if lengths else 0.0


def _short(text: str) -> str:
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"
