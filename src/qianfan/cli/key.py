"""`qianfan key` and `qianfan account`: who may call the platform, and with what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from . import options
from .output import emit, note, show_table

keys = typer.Typer(help="Keys of this account: make, list, renew, delete.", no_args_is_help=True)
accounts = typer.Typer(
    help="Accounts of the platform; the first one looks after the others.", no_args_is_help=True
)
COLUMNS = ("id", "kind", "name", "key", "createTime")
VARIABLES = {
    "app": ("QIANFAN_AK", "QIANFAN_SK"),
    "access": ("QIANFAN_ACCESS_KEY", "QIANFAN_SECRET_KEY"),
    "bearer": ("QIANFAN_BEARER_TOKEN",),
}

AccountId = Annotated[
    int | None,
    typer.Option("--account", help="Another account; for the first account only.", show_default=False),
]
Ident = Annotated[str, typer.Argument(help="The id of a key, as `qianfan key list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(keys, name="key")
    app.add_typer(accounts, name="account")


@keys.command("create")
def create(
    kind: Annotated[
        Literal["app", "access", "bearer"],
        typer.Argument(help="app: API key and secret key; access: for signatures; bearer: one text."),
    ],
    name: Annotated[str | None, typer.Option(help="To tell keys apart.", show_default=False)] = None,
    account: AccountId = None,
    json: options.JsonObject = False,
) -> None:
    """Make a key and print it as the variables of the environment that clients read. It is shown only now.

    OPENAI_API_KEY=$(qianfan key create bearer --name laptop --json | jq -r .key)"""
    from qianfan.resources.console.account import Account

    made = Account.create_key(kind, name=name, account_id=account)["result"]
    if json:
        emit(made)
        return
    for variable, value in zip(VARIABLES[kind], (made["key"], made.get("secretKey")), strict=False):
        print(f"{variable}={value}")
    note(f"this is shown only now; `qianfan key delete {made['id']}` ends it")


@keys.command("list")
def list_keys(account: AccountId = None, json: options.JsonObject = False) -> None:
    """List the keys, without their secrets."""
    from qianfan.resources.console.account import Account

    result = Account.keys(account_id=account)["result"]
    if json:
        emit(result)
        return
    show_table(COLUMNS, [[row[name] for name in COLUMNS] for row in result["keys"]])


@keys.command("renew")
def renew(ident: Ident, account: AccountId = None, json: options.JsonObject = False) -> None:
    """Give an app a new secret key. The old one and all its tokens end at once."""
    from qianfan.resources.console.account import Account

    made = Account.renew_key(ident, account_id=account)["result"]
    if json:
        emit(made)
        return
    print(f"QIANFAN_AK={made['key']}\nQIANFAN_SK={made['secretKey']}")


@keys.command("delete")
def delete(ident: Ident, yes: Yes = False, account: AccountId = None) -> None:
    """Delete a key. Whatever uses it is refused from now on."""
    from qianfan.resources.console.account import Account

    if not yes:
        typer.confirm(f"Delete {ident}? Whatever uses it is refused from then on.", abort=True)
    Account.delete_key(ident, account_id=account)
    note(f"{ident} is deleted")


@accounts.command("create")
def create_account(
    name: Annotated[str, typer.Argument(help="1 to 64 characters.")], json: options.JsonObject = False
) -> None:
    """Make another account, and print its keys. They are shown only now."""
    from qianfan.resources.console.account import Account

    made: dict[str, Any] = Account.create(name)["result"]
    if json:
        emit(made)
        return
    for variable, member in (
        ("QIANFAN_AK", "ak"),
        ("QIANFAN_SK", "sk"),
        ("QIANFAN_ACCESS_KEY", "accessKey"),
        ("QIANFAN_SECRET_KEY", "secretKey"),
    ):
        print(f"{variable}={made[member]}")
    note(f"account {made['id']}; this is shown only now")


@accounts.command("list")
def list_accounts(json: options.JsonObject = False) -> None:
    """List all accounts."""
    from qianfan.resources.console.account import Account

    result = Account.list()["result"]
    if json:
        emit(result)
        return
    columns = ("id", "name", "userId", "createTime")
    show_table(columns, [[row[name] for name in columns] for row in result["accounts"]])
