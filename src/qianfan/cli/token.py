"""`qianfan token`: a bearer token, which other programs take as their API key."""

from __future__ import annotations

from typing import Annotated

import typer

from qianfan.transport import bearer

from . import options
from .output import emit

DAY_S = 24 * 3600


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("token")(token)


def token(
    lasts: Annotated[
        int, typer.Option("--lasts", min=60, max=30 * DAY_S, help="Seconds; at most 30 days.")
    ] = DAY_S,
    json: options.JsonObject = False,
) -> None:
    """Print a bearer token, made with the access key: what OpenAI-shaped clients take as their API key.

    OPENAI_API_KEY=$(qianfan token) OPENAI_BASE_URL=http://127.0.0.1:8866/v2 python app.py"""
    made, config = bearer.made(lasts)
    if json:
        emit({"token": made, "base_url": f"{config.CONSOLE_API_BASE_URL}/v2"})
    else:
        print(made)
