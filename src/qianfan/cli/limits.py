"""`qianfan limits`: how fast an account or an app may go."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .options import given
from .output import emit, show_table

nouns = typer.Typer(help="How fast an account or an app may go; 0 is no limit.", no_args_is_help=True)

App = Annotated[str | None, typer.Option(help="An app; without it the account.", show_default=False)]
AccountId = Annotated[
    int | None,
    typer.Option("--account", help="Another account; for the first account only.", show_default=False),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="limits")


@nouns.command("show")
def show(app: App = None, account: AccountId = None, json: options.JsonObject = False) -> None:
    """Show the limits that hold."""
    from qianfan.resources.console.account import Account

    result = Account.limits(app=app, account_id=account)["result"]
    if json:
        emit(result)
        return
    rows = [(name, value or "no limit") for name, value in result.items() if name not in ("accountId", "app")]
    show_table(("limit", "value"), rows, numbers=("value",))


@nouns.command("set")
def set_limits(
    requests_per_second: Annotated[float | None, typer.Option(min=0, show_default=False)] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    requests_per_day: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    total_tokens: Annotated[int | None, typer.Option(min=0, show_default=False)] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the server's own limits first.")] = False,
    app: App = None,
    account: AccountId = None,
    json: options.JsonObject = False,
) -> None:
    """Set limits; those that are not given stay as they are.

    qianfan limits set --requests-per-minute 60 --tokens-per-minute 20000"""
    from qianfan.resources.console.account import Account

    wanted = given(
        requests_per_second=requests_per_second,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        requests_per_day=requests_per_day,
        total_tokens=total_tokens,
    )
    if not wanted and not reset:
        raise typer.BadParameter("say which limit, as in --requests-per-minute 60, or --reset")
    Account.set_limits(**wanted, reset=reset, app=app, account_id=account)
    show(app=app, account=account, json=json)
