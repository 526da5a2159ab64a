"""`qianfan kb`: knowledge bases, whose documents plugins answer from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .options import STDIN
from .output import emit, note, show_table

EXCERPT = 100

nouns = typer.Typer(help="Knowledge bases: documents that plugins answer from.", no_args_is_help=True)

Base = Annotated[str, typer.Argument(help="The knowledge base: its id.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="kb")


@nouns.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique in the account.")],
    description: Annotated[str | None, typer.Option(show_default=False)] = None,
    plugin: Annotated[
        str | None,
        typer.Option(help="Also make a plugin that asks it, under this address.", show_default=False),
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Make an empty knowledge base; prints its id.

    qianfan kb create handbook --plugin handbook"""
    from qianfan.resources import PluginManager

    made = dict(PluginManager.create_knowledge_base(name, description=description)["result"])
    if plugin:
        answer = PluginManager.create(name, uri=plugin, knowledge_bases=[made["knowledgeBaseId"]])
        made["plugin"] = answer["result"]
    if json:
        emit(made)
        return
    print(made["knowledgeBaseId"])
    if plugin:
        note(f'ask it: qianfan plugin --endpoint {plugin} "…"')


@nouns.command("add")
def add(
    base: Base,
    documents: Annotated[
        list[str], typer.Argument(help="Files, http(s) addresses, or `-` for a text that is piped in.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Of the text that is piped in.", show_default=False)
    ] = None,
    timeout: options.Timeout = 600.0,
    json: options.JsonObject = False,
) -> None:
    """Add documents, and wait until they can be found.

    qianfan kb add kb-… handbook.md https://example.com/terms.html"""
    from qianfan.resources import PluginManager

    for document in documents:  # before anything is sent
        if document != STDIN and "://" not in document and not Path(document).is_file():
            raise typer.BadParameter(f"there is no file {document}")
    begun = []
    for document in documents:
        if document == STDIN:
            answer = PluginManager.add_document(base, text=sys.stdin.read(), name=name or "standard input")
        elif "://" in document:
            answer = PluginManager.add_document(base, url=document)
        else:
            answer = PluginManager.upload_document(base, document)
        begun.append(answer["result"]["documentId"])
    rows = [PluginManager.wait_document(base, ident, timeout_s=timeout) for ident in begun]
    if json:
        emit({"documents": rows})
    else:
        _show_documents(rows)


@nouns.command("search")
def search(
    base: Base,
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    top_n: Annotated[int | None, typer.Option("--top-n", "-n", min=1, max=50, show_default=False)] = None,
    json: options.JsonObject = False,
) -> None:
    """Show the passages that fit a question best, without asking a model."""
    from qianfan.resources import PluginManager

    result = PluginManager.search(base, query, top_n=top_n)["result"]
    if json:
        emit(result)
        return
    show_table(
        ("score", "document", "passage"),
        [
            (float(row["score"]), row.get("docName", ""), _short(str(row.get("content", ""))))
            for row in result["responses"]
        ],
        numbers=("score",),
    )


@nouns.command("list")
def list_all(
    base: Annotated[
        str | None, typer.Argument(help="Show the documents of this one.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """List knowledge bases, or the documents of one."""
    from qianfan.resources import PluginManager

    if base is None:
        rows = _all("knowledgeBaseList", PluginManager.list_knowledge_bases)
        if json:
            emit({"knowledgeBases": rows})
        else:
            columns = ("knowledgeBaseId", "name", "documentCount", "chunkCount")
            show_table(columns, [[row.get(name) for name in columns] for row in rows], numbers=columns[2:])
        return
    rows = _all("documentList", lambda marker: PluginManager.list_documents(base, marker=marker))
    if json:
        emit({"documents": rows})
    else:
        _show_documents(rows)


def _all(name: str, page: Any) -> list[dict[str, Any]]:
    """Every row of a listing that comes in pages."""
    rows: list[dict[str, Any]] = []
    marker = None
    while True:
        result = page(marker=marker)["result"]
        rows += result[name]
        marker = (result.get("pageInfo") or {}).get("nextMarker")
        if not marker:
            return rows


def _show_documents(rows: list[dict[str, Any]]) -> None:
    columns = ("documentId", "name", "status", "chunkCount")
    show_table(columns, [[row.get(name) for name in columns] for row in rows], numbers=columns[3:])


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT else flat[: EXCERPT - 1] + "…"
