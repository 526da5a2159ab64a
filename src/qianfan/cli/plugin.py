"""`qianfan plugin`: ask a plugin application."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from . import options
from .answer import receive, shower
from .options import text_of
from .output import emit, note, show_table

BUILT_IN: Final = "assistant"
EXCERPT: Final = 60


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("plugin")(plugin)


def plugin(
    query: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask; `-` or nothing: what is piped in.", show_default=False),
    ] = None,
    endpoint: Annotated[
        str, typer.Option("--endpoint", "-e", help="The application: its address.")
    ] = BUILT_IN,
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", help="Only these of its tools; may be repeated.", show_default=False),
    ] = None,
    stream: options.Streamed = None,
    json: options.Json = False,
    timeout: options.Timeout = options.TIMEOUT_S,
) -> None:
    """Ask a plugin application: a model with tools, such as a knowledge base. Its sources are told.

    qianfan plugin "What time is it?" """
    from qianfan.resources import Plugin

    text = text_of(query, "query")
    client, streamed = Plugin(), not json if stream is None else stream
    with asyncio.Runner() as runner:
        answer = receive(
            runner,
            lambda: client.ado(
                text, plugins=tool, endpoint=endpoint, stream=streamed, verbose=True, request_timeout=timeout
            ),
            shower(json=json, streamed=streamed),
        )
    if json:
        emit(answer.as_json(model=endpoint))
        return
    found = list(sources(answer.details.get("meta_info")))
    if found:
        show_table(("source", "score", "text"), found, numbers=("score",))
    if sys.stderr.isatty():
        note(answer.summary())


def sources(meta: Any) -> Iterator[tuple[str, float | None, str]]:
    """Name, score and beginning of each passage that a knowledge base gave."""
    place: Any = meta
    for name in ("response", "result", "responses"):
        place = place.get(name) if isinstance(place, Mapping) else None
    for row in place if isinstance(place, list) else ():
        if isinstance(row, Mapping):
            text = " ".join(str(row.get("content") or "").split())
            excerpt = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
            yield str(row.get("docName") or row.get("docId") or ""), row.get("score"), excerpt
