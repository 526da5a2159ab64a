"""`qianfan rerank`: which texts answer a question best."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from . import options
from .options import given, lines_of, named
from .output import emit, show_table


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("rerank")(rerank)


def rerank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    documents: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; `-` or nothing: one a line, piped in.", show_default=False),
    ] = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Only the best.", show_default=False)
    ] = None,
    model: options.Model = None,
    endpoint: options.Endpoint = None,
    json: options.JsonObject = False,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Put texts in order by how well they fit a question, the best first.

    qianfan rerank "capital of France" "Paris is the capital." "Bread is baked." """
    from qianfan.resources import Reranker

    texts = lines_of(documents, "documents")
    client, who = Reranker(), named(Reranker, model, endpoint)
    more = given(top_n=top_n, request_timeout=timeout)

    async def ask() -> Any:
        return await client.ado(query=query, documents=texts, **who, **more)

    answer = asyncio.run(ask())
    rows = [
        {"index": row["index"], "score": row["relevance_score"], "document": texts[row["index"]]}
        for row in answer["results"]
    ]
    if json:
        usage = answer.get("usage") or {}
        emit({"model": endpoint or model or Reranker.default_model, "results": rows, "usage": usage})
        return
    show_table(
        ("score", "line", "document"),
        [(float(row["score"]), row["index"] + 1, row["document"]) for row in rows],
        numbers=("score", "line"),
    )
