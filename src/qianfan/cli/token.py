"""`qianfan token`: a bearer token, which other programs take as their API key."""

from __future__ import annotations

from typing import Annotated

import typer

from qianfan.config import get_config_with_kwargs
from qianfan.contract.routes import V2_MODELS
from qianfan.transport.call import Request
from qianfan.transport.client import client_for, options_of
from qianfan.transport.credentials import Keys
from qianfan.transport.edges import run

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
    config = get_config_with_kwargs(bearer_token_expired_interval=lasts)
    signer = Keys.of({"bearer_token": None}, config).bearer_signer(config)
    request = Request("GET", config.CONSOLE_API_BASE_URL, V2_MODELS.path, (), {}, b"", 60.0)
    signed = run(signer.sign(request), client_for(options_of(config, 0.0)))
    made = signed.headers["Authorization"].removeprefix("Bearer ")
    if json:
        emit({"token": made, "base_url": f"{config.CONSOLE_API_BASE_URL}/v2"})
    else:
        print(made)
