"""`qianfan models`: which names answer here, and what really stands behind them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qianfan.config import get_config
from qianfan.contract.models import table
from qianfan.contract.routes import V2_MODELS
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.caller import Manner, call, retry_of
from qianfan.transport.credentials import Keys

from . import options
from .output import emit, note, show_table

KINDS = ("chat", "completions", "embeddings", "reranker", "text2image", "image2text")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("models")(models)


def models(
    json: options.JsonObject = False,
    documented: Annotated[
        bool, typer.Option("--documented", help="The names that the SDK knows; asks nobody.")
    ] = False,
) -> None:
    """List the names that answer, by what really answers for them; a stand-in says so."""
    rows = _known() if documented else _answering()
    if json:
        emit({"object": "list", "data": rows})
        return
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["served_by"], row["stand_in"]), []).append(row["id"])
    show_table(
        ("kind", "answers", "names"),
        [
            (kind, f"{served} (stand-in)" if stand_in else served or "–", ", ".join(sorted(names)))
            for (kind, served, stand_in), names in groups.items()
        ],
    )
    for text in dict.fromkeys(_why(row) for row in rows if row["note"]):
        note(text)


def _why(row: dict[str, Any]) -> str:
    """What the note says of who answers, without the name that was asked for: many names share it."""
    _, mark, rest = str(row["note"]).partition(" is served by ")
    return rest if mark else str(row["note"])


def _answering() -> list[dict[str, Any]]:
    """The list of the server. The cloud's has no word of who serves what."""
    config = get_config()
    manner = Manner(
        base=config.CONSOLE_API_BASE_URL,
        signer=Keys.of({}, config).bearer_signer(config),
        retry=retry_of({}, config, "LLM"),
    )
    answer: Any = call(Call(V2_MODELS), manner)
    if not isinstance(answer.get("data"), list):
        raise InvalidArgumentError(
            "the server's list of models cannot be read", advice="qianfan models --documented asks nobody"
        )
    return [
        {
            "id": str(row.get("id", "")),
            "kind": row.get("kind") or "chat",
            "served_by": row.get("served_by") or row.get("owned_by") or "",
            "stand_in": bool(row.get("stand_in")),
            "note": row.get("note") or "",
        }
        for row in answer["data"]
    ]


def _known() -> list[dict[str, Any]]:
    return [
        {"id": name, "kind": kind, "served_by": "", "stand_in": False, "note": ""}
        for kind in KINDS
        for name in table(kind)
    ]
