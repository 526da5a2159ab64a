"""Which credentials a call uses, and what is missing when it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from qianfan.config import SETTINGS, Config
from qianfan.errors import InvalidArgumentError
from qianfan.utils.logging import guard

from .limits import owner_of
from .signers import BearerSigner, CodeSigner, IamSigner, NoSigner, Signer, TokenSigner
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
    access_code: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any], config: Config) -> Keys:
        """From keyword arguments, and from the settings where those are missing or empty."""
        values = [_given(arguments, item.name, config, item.name.upper()) for item in fields(cls)]
        guard(*values)
        return cls(*values)

    @property
    def owner(self) -> str:
        """A name for whoever calls with these credentials, which shows nothing of them."""
        return owner_of(self.ak or self.access_key or self.access_token or self.bearer_token or "")

    def inference_signer(self, config: Config, base: str) -> Signer:
        """For chat and its like: an access token, or ak and sk; else access key and secret key.

        A pair of which one half is missing is no pair. A private deployment takes its access code, or a
        signature by ak and sk. Raises InvalidArgumentError when nothing is there."""
        if config.NO_AUTH:
            return NoSigner()
        if config.ENABLE_PRIVATE:
            return self._private_signer(config)
        key = None
        if self.ak and self.sk:
            pause_s = config.ACCESS_TOKEN_REFRESH_MIN_INTERVAL
            key = TokenKey(self.ak, self.sk, base, config.AUTH_TIMEOUT, pause_s=pause_s)
        if self.access_token or key:
            return TokenSigner(STORE, key, self.access_token)
        if self.access_key and self.secret_key:
            return _iam(self.access_key, self.secret_key, config)
        raise InvalidArgumentError(
            "no credentials for the inference interface",
            advice="set QIANFAN_AK and QIANFAN_SK, or QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY, or"
            " QIANFAN_ACCESS_TOKEN; or give ak= and sk=, access_key= and secret_key=, or access_token=",
            advice_zh="请设置 QIANFAN_AK 与 QIANFAN_SK，或 QIANFAN_ACCESS_KEY 与 QIANFAN_SECRET_KEY，或"
            " QIANFAN_ACCESS_TOKEN；也可传入 ak 与 sk、access_key 与 secret_key，或 access_token",
        )

    def _private_signer(self, config: Config) -> Signer:
        if self.access_code:
            return CodeSigner(self.access_code)
        if self.ak and self.sk:
            return _iam(self.ak, self.sk, config)
        raise InvalidArgumentError(
            "no credentials for the private deployment",
            advice="set QIANFAN_ACCESS_CODE, or QIANFAN_AK and QIANFAN_SK; QIANFAN_NO_AUTH=true sends none",
            advice_zh="请设置 QIANFAN_ACCESS_CODE，或 QIANFAN_AK 与 QIANFAN_SK；无需鉴权时设置 QIANFAN_NO_AUTH=true",
        )

    def bearer_signer(self, config: Config) -> Signer:
        """For V2 inference: a bearer token, or access key and secret key to fetch one with."""
        if config.NO_AUTH:
            return NoSigner()
        key = None
        if self.access_key and self.secret_key and not self.bearer_token:
            key = TokenKey(
                self.access_key,
                self.secret_key,
                _issuer(config),
                config.AUTH_TIMEOUT,
                bearer_life_s=config.BEARER_TOKEN_EXPIRED_INTERVAL,
            )
        if self.bearer_token or key:
            return BearerSigner(STORE, key, self.bearer_token)
        raise InvalidArgumentError(
            "no credentials for the V2 interface",
            advice="set QIANFAN_BEARER_TOKEN, or QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY",
            advice_zh="请设置 QIANFAN_BEARER_TOKEN，或 QIANFAN_ACCESS_KEY 与 QIANFAN_SECRET_KEY",
        )


def _iam(access_key: str, secret_key: str, config: Config) -> IamSigner:
    return IamSigner(access_key, secret_key, config.IAM_SIGN_EXPIRATION_SEC, host=config.IAM_HOST)


def _issuer(config: Config) -> str:
    """Who issues bearer tokens: the cloud's own host, and for any other console that console itself."""
    is_set = SETTINGS["IAM_BASE_URL"][1] != config.IAM_BASE_URL
    is_cloud = SETTINGS["CONSOLE_API_BASE_URL"][1] == config.CONSOLE_API_BASE_URL
    return str(config.IAM_BASE_URL if is_set or is_cloud else config.CONSOLE_API_BASE_URL)


def console_signer(arguments: Mapping[str, Any], config: Config) -> Signer:
    """For console calls: access key and secret key, there called `ak` and `sk`."""
    if config.NO_AUTH:
        return NoSigner()
    access_key = _given(arguments, "ak", config, "ACCESS_KEY")
    secret_key = _given(arguments, "sk", config, "SECRET_KEY")
    if access_key and secret_key:
        guard(access_key, secret_key)
        return _iam(access_key, secret_key, config)
    raise InvalidArgumentError(
        "no credentials for the console interface",
        advice="set QIANFAN_ACCESS_KEY and QIANFAN_SECRET_KEY, call qianfan.AccessKey(...) and"
        " qianfan.SecretKey(...), or give ak= and sk= to this call",
        advice_zh="请设置 QIANFAN_ACCESS_KEY 与 QIANFAN_SECRET_KEY，调用 qianfan.AccessKey(...) 与"
        " qianfan.SecretKey(...)，或在调用时传入 ak 与 sk",
    )
