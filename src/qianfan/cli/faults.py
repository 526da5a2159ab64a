"""`qianfan faults`: let an account ask for faults, to see how its clients take them."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from . import options
from .output import emit, note


class Switch(str, Enum):
    """On or off."""

    on = "on"
    off = "off"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("faults")(faults)


def faults(
    switch: Annotated[Switch, typer.Argument(help="on or off")], json: options.JsonObject = False
) -> None:
    """Let calls of this account ask for faults with the header X-Qianfan-Fault, to test clients; or stop it."""
    from qianfan.resources.console.account import Account

    enabled = Account.set_faults(switch is Switch.on)["result"]["enabled"]
    if json:
        emit({"enabled": enabled})
    else:
        note(f"faults are {'on' if enabled else 'off'}")
