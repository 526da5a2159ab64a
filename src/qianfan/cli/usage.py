"""`qianfan usage`: what was asked and answered, by app, model and day."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from . import options
from .options import given
from .output import emit, show_table

GROUPS: Final = ("day", "app", "model", "kind")
COUNTS: Final = ("requests", "failed", "cut", "promptTokens", "completionTokens", "totalTokens")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("usage")(usage)


def usage(
    start: Annotated[
        str | None, typer.Option("--from", help="First day, as 2026-01-31 (UTC).", show_default=False)
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last day.", show_default=False)] = None,
    app: Annotated[str | None, typer.Option(help="Only this app.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", show_default=False)] = None,
    by: Annotated[str, typer.Option(help="Some of day,app,model,kind; the rest is added up.")] = ",".join(
        GROUPS
    ),
    json: options.JsonObject = False,
) -> None:
    """Show what this account used. `cut`: the reader left before the end; those tokens count, too."""
    from qianfan.resources.console.account import Account

    groups = [name.strip() for name in by.split(",") if name.strip()]
    if unknown := [name for name in groups if name not in GROUPS]:
        raise typer.BadParameter(f"--by knows {', '.join(GROUPS)}, not {', '.join(unknown)}")
    asked = given(start=start, end=end, app=app, model=model)
    result = Account.usage(group=groups, **asked)["result"]
    if json:
        emit(result)
        return
    rows = [[row.get(name, "") for name in (*groups, *COUNTS)] for row in result["usage"]]
    total = result["total"]
    rows.append(["total", *[""] * (len(groups) - 1), *(total.get(name, "") for name in COUNTS)])
    show_table((*groups, *COUNTS), rows, numbers=COUNTS)
