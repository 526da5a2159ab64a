"""Settings: `.env` < environment < functions and attributes < arguments of a call.

Names, kinds and defaults are the table below; each is `QIANFAN_<name>` in the environment. An empty text
counts as not set. The environment is read once, when `get_config()` is first called.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from .errors import InvalidArgumentError, speak

PREFIX: Final = "QIANFAN_"
Kind = Literal["text", "int", "float", "bool", "codes", "auto_bool", "language"]

# name → (kind, default). Seconds where a name speaks of time.
SETTINGS: Final[dict[str, tuple[Kind, Any]]] = {
    "DOT_ENV_CONFIG_FILE": ("text", ".env"),  # read from the environment alone
    "AK": ("text", None),
    "SK": ("text", None),
    "ACCESS_KEY": ("text", None),
    "SECRET_KEY": ("text", None),
    "ACCESS_TOKEN": ("text", None),
    "BEARER_TOKEN": ("text", None),
    "BASE_URL": ("text", "https://aip.baidubce.com"),
    "CONSOLE_API_BASE_URL": ("text", "https://qianfan.baidubce.com"),
    "IAM_BASE_URL": ("text", "https://iam.bj.baidubce.com"),
    "AUTH_TIMEOUT": ("float", 5.0),
    "ACCESS_TOKEN_REFRESH_MIN_INTERVAL": ("float", 0.0),  # a refused token younger than this is kept
    "IAM_SIGN_EXPIRATION_SEC": ("int", 300),
    "IAM_HOST": ("text", None),  # the host that is signed, where a proxy changes it; else the real one
    "BEARER_TOKEN_EXPIRED_INTERVAL": ("int", 43200),
    "NO_AUTH": ("bool", False),  # send no credentials
    "ENABLE_PRIVATE": ("bool", False),  # a private deployment: ACCESS_CODE, or a signature by AK and SK
    "ACCESS_CODE": ("text", None),
    "APP_ID": ("text", None),
    "QPS_LIMIT": ("float", 0.0),  # limits of the process; 0 = no limit
    "RPM_LIMIT": ("float", 0.0),
    "TPM_LIMIT": ("float", 0.0),
    "REDIS_RATE_LIMITER": ("bool", False),  # share the limits with all processes that use REDIS_URL
    "REDIS_URL": ("text", "redis://127.0.0.1:6379/0"),
    "LLM_API_RETRY_COUNT": ("int", 1),
    "LLM_API_RETRY_TIMEOUT": ("float", 60.0),
    "LLM_API_RETRY_BACKOFF_FACTOR": ("float", 1.0),
    "LLM_API_RETRY_JITTER": ("float", 1.0),
    "LLM_API_RETRY_MAX_WAIT_INTERVAL": ("float", 120.0),
    "LLM_API_RETRY_ERR_CODES": ("codes", (18, 336100)),
    "CONSOLE_API_RETRY_COUNT": ("int", 1),
    "CONSOLE_API_RETRY_TIMEOUT": ("float", 60.0),
    "CONSOLE_API_RETRY_BACKOFF_FACTOR": ("float", 0.0),
    "CONSOLE_API_RETRY_JITTER": ("float", 1.0),
    "CONSOLE_API_RETRY_MAX_WAIT_INTERVAL": ("float", 120.0),
    "CONSOLE_API_RETRY_ERR_CODES": ("codes", (18, 336100, 500000)),
    "RETRY_BUDGET": ("float", 0.1),  # retries that each call earns; 1 = as many as `retry_count` says
    "RETRY_BUDGET_FLOOR": ("int", 60),  # retries a minute that are there without
    "SSL_VERIFICATION_ENABLED": ("bool", True),
    "SSL_CA_FILE": ("text", None),  # PEM; else SSL_CERT_FILE, REQUESTS_CA_BUNDLE, the system's store
    "PROXY": ("text", ""),
    "CONNECT_TIMEOUT": ("float", 10.0),
    "MAX_CONNECTIONS": ("int", 0),  # of calls with one timeout, sync and async each; 0 = no limit
    "USE_CUSTOM_ENDPOINT": ("bool", False),
    "MODEL_API_PREFIX": ("text", "/rpc/2.0/ai_custom/v1/wenxinworkshop"),
    "CHAT_V2_API_ROUTE": ("text", "/v2/chat/completions"),
    "EMBEDDING_V2_API_ROUTE": ("text", "/v2/embeddings"),
    "RERANKER_V2_API_ROUTE": ("text", "/v2/rerankers"),
    "V2_INFER_API_DOWNGRADE": ("bool", False),
    "INFER_RESOURCE_REFRESH_INTERVAL": ("float", 600.0),
    "FILE_ENCODING": ("text", "utf-8"),
    "IMPORT_STATUS_POLLING_INTERVAL": ("float", 2.0),
    "EXPORT_STATUS_POLLING_INTERVAL": ("float", 2.0),
    "RELEASE_STATUS_POLLING_INTERVAL": ("float", 2.0),
    "ETL_STATUS_POLLING_INTERVAL": ("float", 2.0),
    "EXPORT_FILE_SIZE_LIMIT": ("int", 2147483648),
    "GET_ENTITY_CONTENT_FAILED_RETRY_TIMES": ("int", 3),
    "TRAIN_STATUS_POLLING_INTERVAL": ("float", 30.0),
    "TRAINER_STATUS_POLLING_BACKOFF_FACTOR": ("float", 3.0),
    "TRAINER_STATUS_POLLING_RETRY_TIMES": ("int", 3),
    "MODEL_PUBLISH_STATUS_POLLING_INTERVAL": ("float", 30.0),
    "BATCH_RUN_STATUS_POLLING_INTERVAL": ("float", 30.0),
    "DEPLOY_STATUS_POLLING_INTERVAL": ("float", 30.0),
    "EVALUATION_ONLINE_POLLING_INTERVAL": ("float", 30.0),
    "DEFAULT_FINE_TUNE_TRAIN_TYPE": ("text", "ERNIE-Bot-turbo-0725"),
    "BOS_HOST_REGION": ("text", "bj"),
    "BOS_ENDPOINT": ("text", None),  # of the object store (S3); else https://s3.<region>.bcebos.com
    "BOS_ACCESS_KEY": ("text", None),  # of the object store, where ACCESS_KEY and SECRET_KEY are not its keys
    "BOS_SECRET_KEY": ("text", None),
    "CACHE_DIR": ("text", "~/.qianfan_cache"),  # where trainers are kept while they run
    "DISABLE_CACHE": ("bool", False),  # keep none
    "DATASET_MEMORY": ("int", 8 << 20),  # bytes of rows, as JSON, kept in memory; more go to a temporary file
    "PROGRESS": ("auto_bool", "auto"),  # of this SDK: the progress bar of a run
    "LANG": ("language", "auto"),  # of the advice in errors; auto: Chinese where the locale is
}

ALIASES: Final = {"APPID": "APP_ID"}  # older names of the same setting

# Known to other releases; taken so that existing scripts keep running, and read by nothing here.
WITHOUT_EFFECT: Final = frozenset(
    {
        "DISABLE_EB_SDK",
        "EB_SDK_INSTALLED",
        "ENABLE_AUTH",
        "ENABLE_STRESS_TEST",
    }
)

SECRETS: Final = frozenset(
    {
        "AK",
        "SK",
        "ACCESS_KEY",
        "SECRET_KEY",
        "ACCESS_TOKEN",
        "BEARER_TOKEN",
        "ACCESS_CODE",
        "BOS_ACCESS_KEY",
        "BOS_SECRET_KEY",
    }
)

_TRUE: Final = frozenset({"true", "1", "yes", "on", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "no", "off", "f", "n"})


class Config:
    """The settings of one process as attributes, e.g. `get_config().BASE_URL = "http://127.0.0.1:8866"`.

    A change counts for calls made and objects constructed afterwards. Wrong values raise InvalidArgumentError,
    unknown names AttributeError. revision: how often it was changed."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.__dict__.update({name: default for name, (_, default) in SETTINGS.items()})
        self.__dict__["revision"] = 0
        for name, value in (values or {}).items():
            setattr(self, name, value)

    @classmethod
    def load(cls, environ: Mapping[str, str], folder: Path) -> Config:
        """Settings of an environment, and of the `.env` it names (default `folder/.env`)."""
        named = environ.get(PREFIX + "DOT_ENV_CONFIG_FILE", "") or ".env"
        found = {**_dot_env(folder / named), **{k: v for k, v in environ.items() if v.strip()}}
        config = cls()
        for name in (*ALIASES, *SETTINGS):
            text = found.get(PREFIX + name, "").strip()
            if text:
                wanted = ALIASES.get(name, name)
                config.__dict__[wanted] = _parsed(PREFIX + name, SETTINGS[wanted][0], text)
        if config.LANG != "auto":
            speak(config.LANG)
        return config

    def __setattr__(self, name: str, value: Any) -> None:
        name = ALIASES.get(name, name)
        self.__dict__["revision"] += 1
        if name in WITHOUT_EFFECT:
            self.__dict__[name] = value
            return
        if name not in SETTINGS:
            raise AttributeError(f"there is no setting {name!r}; `qianfan.config.SETTINGS` lists them all")
        kind, default = SETTINGS[name]
        if value is None or (isinstance(value, str) and not value.strip()):
            self.__dict__[name] = default
        elif isinstance(value, str):
            self.__dict__[name] = _parsed(name, kind, value.strip())
        else:
            self.__dict__[name] = _checked(name, kind, value)
        if name == "LANG":
            speak(self.LANG)

    def __getattr__(self, name: str) -> Any:  # only for names that __dict__ lacks
        if name in ALIASES:
            return getattr(self, ALIASES[name])
        if name in WITHOUT_EFFECT:
            return None
        raise AttributeError(f"there is no setting {name!r}; `qianfan.config.SETTINGS` lists them all")

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={'***' if name in SECRETS else repr(_without_login(value))}"
            for name, value in self.__dict__.items()
            if name in SETTINGS and value != SETTINGS[name][1]
        )
        return f"Config({shown})"


def _without_login(value: Any) -> Any:
    """An address without the name and password in it; other values as they are."""
    if not isinstance(value, str) or "@" not in value:
        return value
    before, mark, after = value.rpartition("@")
    return f"{before.partition('://')[0]}://***@{after}" if "://" in before else f"***{mark}{after}"


_lock = Lock()
_config: Config | None = None


def get_config() -> Config:
    """The settings of this process. The first call reads `.env` and the environment."""
    global _config
    if _config is None:
        with _lock:
            if _config is None:
                _config = Config.load(os.environ, Path.cwd())
    return _config


def get_config_with_kwargs(**kwargs: Any) -> Config:
    """The settings of this process with some of them replaced, as a copy.

    Keywords are names of settings in any case, such as `base_url=`; None leaves a setting as it is.
    Other keywords are ignored, so that the options of a client may be passed on whole."""
    config = get_config()
    merged = Config({name: config.__dict__[name] for name in SETTINGS})
    for option, value in kwargs.items():
        name = ALIASES.get(option.upper(), option.upper())
        if name in SETTINGS and value is not None:
            setattr(merged, name, value)
    return merged


def AK(ak: str) -> None:
    """Set the API key of inference calls for this process."""
    get_config().AK = ak


def SK(sk: str) -> None:
    """Set the secret key that belongs to `AK`."""
    get_config().SK = sk


def AccessKey(access_key: str) -> None:
    """Set the access key (IAM) of console calls for this process."""
    get_config().ACCESS_KEY = access_key


def SecretKey(secret_key: str) -> None:
    """Set the secret key that belongs to `AccessKey`."""
    get_config().SECRET_KEY = secret_key


def AccessToken(access_token: str) -> None:
    """Set an access token of inference calls for this process; it is used before one is fetched."""
    get_config().ACCESS_TOKEN = access_token


def _dot_env(path: Path) -> dict[str, str]:
    """`KEY=value` lines. `export `, quotes, blank lines and `#` lines are understood; no file is no lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return {}
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{path.name} is not UTF-8 text", cause=error, advice="save it as UTF-8"
        ) from error
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or name.lstrip().startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = value.split(" #", 1)[0].rstrip()
        if value:
            values[name.strip()] = value
    return values


def _parsed(name: str, kind: Kind, text: str) -> Any:
    try:
        if kind == "text":
            return text.rstrip("/") if name.endswith("_URL") else text
        if kind == "int":
            return int(text)
        if kind == "float":
            return _checked(name, kind, float(text))
        if kind == "bool" or kind == "auto_bool":
            return _parsed_bool(kind, text.lower())
        if kind == "language":
            return _parsed_language(text)
        return _checked(name, kind, json.loads(text))
    except ValueError:
        raise InvalidArgumentError(
            f"the setting {name} cannot be {'what it is set to' if _secret(name) else repr(text)}",
            advice=f"set it to {_WANTED[kind]}",
        ) from None


def _secret(name: str) -> bool:
    return name.removeprefix(PREFIX) in SECRETS


def _parsed_bool(kind: Kind, word: str) -> bool | str:
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if kind == "auto_bool" and word == "auto":
        return "auto"
    raise ValueError(word)


def _parsed_language(text: str) -> str:
    word = text.lower()[:2] if text.lower() != "auto" else "auto"  # zh_CN.UTF-8 is zh
    if word not in ("en", "zh", "auto"):
        raise ValueError(text)
    return word


_WANTED: Final[dict[str, str]] = {
    "text": "a text",
    "int": "a whole number, such as 3",
    "float": "a number of zero or more, such as 1.5",
    "bool": "true or false",
    "auto_bool": "true, false or auto",
    "language": "en, zh or auto",
    "codes": "a list of numbers as JSON, such as [18, 336100]",
}


def _checked(name: str, kind: Kind, value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "codes" and isinstance(value, (list, tuple, set, frozenset)):
        if all(isinstance(code, int) and not isinstance(code, bool) for code in value):
            return tuple(value)
    elif kind == "float" and is_number and 0 <= value < float("inf"):
        return float(value)
    elif (kind == "int" and is_number and int(value) == value) or (
        kind in ("bool", "auto_bool") and isinstance(value, bool)
    ):
        return int(value) if kind == "int" else value
    elif kind == "text" and is_number:  # an app id may be given as a number
        return str(value)
    raise InvalidArgumentError(
        f"the setting {name} cannot be a value of type {type(value).__name__}"
        if kind == "text"
        else f"the setting {name} cannot be {value!r}",
        advice=f"set it to {_WANTED[kind]}",
    )
