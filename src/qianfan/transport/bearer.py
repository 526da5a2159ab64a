"""A bearer token for other programs: what OpenAI-shaped clients take as their API key."""

from __future__ import annotations

from qianfan.config import Config, get_config_with_kwargs
from qianfan.contract.routes import V2_MODELS

from .call import Request
from .client import client_for, options_of
from .credentials import Keys
from .edges import run


def made(lasts_s: int) -> tuple[str, Config]:
    """A token made with the access key that holds for `lasts_s` seconds, and the settings it was made with."""
    config = get_config_with_kwargs(bearer_token_expired_interval=lasts_s)
    signer = Keys.of({"bearer_token": None}, config).bearer_signer(config)
    request = Request("GET", config.CONSOLE_API_BASE_URL, V2_MODELS.path, (), {}, b"", 60.0)
    signed = run(signer.sign(request), client_for(options_of(config, 0.0)))
    return signed.headers["Authorization"].removeprefix("Bearer "), config
