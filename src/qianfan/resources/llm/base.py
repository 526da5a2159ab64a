"""What chat, completion, embedding, plugin and image calls share: keys, model choice, options."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from qianfan import VERSION
from qianfan.config import get_config
from qianfan.contract import models as presets
from qianfan.contract.routes import INFERENCE_PREFIX, Route, inference_path
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call
from qianfan.transport.caller import Manner, acall, call, retry_of
from qianfan.transport.client import client_for, options_of
from qianfan.transport.credentials import Keys
from qianfan.transport.edges import run
from qianfan.transport.limiter import Limiter
from qianfan.transport.response import QfResponse
from qianfan.transport.signers import Signer, TokenSigner
from qianfan.transport.streams import AsyncStream, Stream

from .messages import Messages

REQUEST_SOURCE: Final = f"qianfan_py_sdk_v{VERSION}"
OPTIONS: Final = frozenset(
    {
        "retry_count",
        "request_timeout",
        "backoff_factor",
        "retry_jitter",
        "retry_err_codes",
        "retry_max_wait_interval",
        "max_wait_interval",
    }
)
NOT_SENT: Final = frozenset(
    {"ak", "sk", "access_token", "access_key", "secret_key", "bearer_token", "header", "ssl"}
)


class ModelClient:
    """A model, or an endpoint of your own, that can be asked.

    model, endpoint: used where a call gives neither. Keywords: ak, sk, access_token, access_key, secret_key;
    query_per_second: most calls a second of this object, 0 = no limit; ssl=False: do not check certificates.
    Raises InvalidArgumentError when no credentials are found; nothing is sent before the first call."""

    kind: ClassVar[str]  # of the path, and of the table of models
    default_model: ClassVar[str]

    def __init__(self, model: str | None = None, endpoint: str | None = None, **kwargs: Any) -> None:
        config = get_config()
        self._model = model
        self._endpoint = endpoint
        self._keys = Keys.of(kwargs, config)
        self._verify = kwargs.get("ssl")
        rate = kwargs.get("query_per_second")
        self._limiter = Limiter(float(config.QPS_LIMIT if rate is None else rate))
        self._manner({})  # raises when there are no credentials

    @classmethod
    def table(cls) -> dict[str, presets.PresetModel]:
        """Preset models by name."""
        return presets.table(cls.kind)

    @classmethod
    def models(cls) -> set[str]:
        """Names that `model=` takes."""
        return set(cls.table())

    @classmethod
    def get_model_info(cls, model: str) -> presets.PresetModel:
        """What is known of a model by name. Raises InvalidArgumentError."""
        row = cls.table().get(model)
        if row is None:
            names = ", ".join(sorted(cls.table()))
            raise InvalidArgumentError(
                f"there is no preset model {model!r} for {cls.__name__}",
                advice=f"a model of your own is reached by endpoint=; the presets are {names}",
            )
        return row

    def access_token(self) -> str:
        """The access token of this object; fetched when there is none yet, empty when IAM keys sign."""
        config = get_config()
        signer = self._keys.inference_signer(config, config.BASE_URL)
        if not isinstance(signer, TokenSigner):
            return ""
        return run(signer.token(), client_for(options_of(config, 0.0, self._verify)))

    def _path(self, model: str | None, endpoint: str | None) -> str:
        """Path of the call: an endpoint beats a model, and both beat what the object was made with."""
        if model is None and endpoint is None:
            model, endpoint = self._model, self._endpoint
        if endpoint:
            return inference_path(self.kind, endpoint.strip("/"))
        path = self.get_model_info(model or self.default_model).path
        return f"{INFERENCE_PREFIX}{path}" if path.startswith("/") else inference_path(self.kind, path)

    def _call(self, to: str | Route, body: Mapping[str, Any], extra: dict[str, Any], **members: Any) -> Call:
        """The call to a path or route: the caller's own members first, then those of the method.

        `headers` and `query` (dictionaries) and `request_id` in `extra` go where they belong."""
        request_id = extra.pop("request_id", None) or f"sdk-py-{VERSION}-{secrets.token_hex(8)}"
        headers = {"Request_id": str(request_id), **(extra.pop("headers", None) or {})}
        query = extra.pop("query", None) or {}
        sent = {name: value for name, value in extra.items() if name not in OPTIONS | NOT_SENT}
        marks = {"request_source": REQUEST_SOURCE, **(sent.pop("extra_parameters", None) or {})}
        marked = {"extra_parameters": marks} if "stream" in body else {}  # images take neither
        return Call(
            to if isinstance(to, Route) else Route(to, "inference"),
            {**sent, **body, **marked},
            query=query,
            headers=headers,
            stream=bool(body.get("stream", False)),
            **members,
        )

    def _manner(self, options: Mapping[str, Any]) -> Manner:
        config = get_config()
        base = config.BASE_URL
        return self._manner_of(options, base, self._keys.inference_signer(config, base))

    def _manner_of(self, options: Mapping[str, Any], base: str, signer: Signer) -> Manner:
        return Manner(
            base=base,
            signer=signer,
            retry=retry_of(options, get_config(), "LLM"),
            limiter=self._limiter,
            verify=self._verify,
        )

    def _do(self, request: Call, options: Mapping[str, Any]) -> QfResponse | Stream:
        return call(request, self._manner(options))

    async def _ado(self, request: Call, options: Mapping[str, Any]) -> QfResponse | AsyncStream:
        return await acall(request, self._manner(options))


def as_list(messages: Messages | list[Any]) -> list[Any]:
    """Messages as the platform takes them. Raises InvalidArgumentError for other things."""
    if isinstance(messages, Messages):
        return messages.to_list()
    if isinstance(messages, (list, tuple)):
        return list(messages)
    raise InvalidArgumentError(
        f"messages must be a list of turns or Messages, not {type(messages).__name__}",
        advice='as in [{"role": "user", "content": "你好"}]',
    )


def with_options(
    extra: Mapping[str, Any],
    retry_count: int | None,
    request_timeout: float | None,
    backoff_factor: float | None,
) -> dict[str, Any]:
    """The options of one call, named and unnamed ones together."""
    return {
        **extra,
        "retry_count": retry_count,
        "request_timeout": request_timeout,
        "backoff_factor": backoff_factor,
    }
