"""Which credentials a call uses, and what is missing when it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qianfan.config import SETTINGS, Config
from qianfan.errors import InvalidArgumentError

from .signers import BearerSigner, IamSigner, Signer, TokenSigner
from .tokens import TokenKey, TokenStore

STORE = TokenStore()  # of this process


def _given(arguments: Mapping[str, Any], option: str, config: Config, setting: str) -> str | None:
    value = arguments.get(option)
    if value is not None and not isinstance(value, str):
        raise InvalidArgumentError(f"{option} must be a text, not {type(value).__name__}")
    return (value or "").strip() or getattr(config, setting)


@dataclass(frozen=True)
class Keys:
    """The credentials of one client object, as they stood when it was made."""

    ak: str | None = field(default=None, repr=False)
    sk: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any], config: Config) -> Keys:
        """From keyword arguments, and from the settings where those are missing or empty."""
        return cls(*(_given(arguments, item.name, config, item.name.upper()) for item in fields(cls)))

    def inference_signer(self, config: Config, base: str) -> Signer:
        """For chat and its like: an access token, or ak and sk; else access key and secret key.

        A pair of which one half is missing is no pair. Raises InvalidArgumentError when nothing is there."""
        key = TokenKey(self.ak, self.sk, base, config.AUTH_TIMEOUT) if self.ak and self.sk else None
        if self.access_token or key:
            return TokenSigner(STORE, key, self.access_token)
        if self.access_key and self.secret_key:
            return IamSigner(self.access_key, self.secret_key, config.IAM_SIGN_EXPIRATION_SEC)
        raise InvalidArgumentError(
            "no credentials for the inference interface",
            advice="set QIANFAN_AK and QIANFAN_SK, or QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY, or"
            " QIANFAN_ACCESS_TOKEN; or give ak= and sk=, access_key= and secret_key=, or access_token=",
        )

    def bearer_signer(self, config: Config) -> Signer:
        """For V2 inference: a bearer token, or access key and secret key to fetch one with."""
        key = None
        if self.access_key and self.secret_key and not self.bearer_token:
            life_s = config.BEARER_TOKEN_EXPIRED_INTERVAL
            pair = (self.access_key, self.secret_key)
            key = TokenKey(*pair, _issuer(config), config.AUTH_TIMEOUT, bearer_life_s=life_s)
        if self.bearer_token or key:
            return BearerSigner(STORE, key, self.bearer_token)
        raise InvalidArgumentError(
            "no credentials for the V2 interface",
            advice="set QIANFAN_BEARER_TOKEN, or QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY",
        )


def _issuer(config: Config) -> str:
    """Who issues bearer tokens: the cloud's own host, and for any other console that console itself."""
    is_set = SETTINGS["IAM_BASE_URL"][1] != config.IAM_BASE_URL
    is_cloud = SETTINGS["CONSOLE_API_BASE_URL"][1] == config.CONSOLE_API_BASE_URL
    return str(config.IAM_BASE_URL if is_set or is_cloud else config.CONSOLE_API_BASE_URL)


def console_signer(arguments: Mapping[str, Any], config: Config) -> Signer:
    """For console calls: access key and secret key, there called `ak` and `sk`."""
    access_key = _given(arguments, "ak", config, "ACCESS_KEY")
    secret_key = _given(arguments, "sk", config, "SECRET_KEY")
    if access_key and secret_key:
        return IamSigner(access_key, secret_key, config.IAM_SIGN_EXPIRATION_SEC)
    raise InvalidArgumentError(
        "no credentials for the console interface",
        advice="set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY, call qianfan.AccessKey(...) and"
        " qianfan.SecretKey(...), or give ak= and sk= to this call",
    )
