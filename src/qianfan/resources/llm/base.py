"""What all calls that ask a model share: keys, choice of model, options, and the way to the transport."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from qianfan import VERSION
from qianfan.config import Config, get_config
from qianfan.contract import models as presets
from qianfan.contract.models import PresetModel
from qianfan.contract.routes import INFERENCE_PREFIX, Route
from qianfan.errors import APIError, InvalidArgumentError, QianfanError
from qianfan.transport.call import Call
from qianfan.transport.caller import Manner, acall, call, retry_of
from qianfan.transport.client import client_for, options_of
from qianfan.transport.credentials import Keys
from qianfan.transport.edges import run
from qianfan.transport.limits import Limits
from qianfan.transport.response import QfResponse
from qianfan.transport.signers import TokenSigner
from qianfan.transport.streams import AsyncStream, Stream
from qianfan.utils.logging import logger

from .batch import Batches
from .messages import Messages
from .parameters import NOT_SENT, check
from .paths import Unlisted, endpoint_route, own_route, prefixed, preset_route, unlisted_route, v2_route
from .service_list import LISTS, Services
from .stand_in import notice

REQUEST_SOURCE: Final = f"qianfan_py_sdk_v{VERSION}"
UNSUPPORTED: Final = 3  # the code of "no such method": the path is not there any more
_MARKS: Final = {"request_source": REQUEST_SOURCE}
_ID: Final = f"sdk-py-{VERSION}-"


@dataclass(frozen=True)
class V2:
    """The OpenAI-shaped interface of a class: the setting that has its path, and the model it asks."""

    setting: str
    default_model: str


class ModelClient(Batches):
    """A model, or an endpoint of your own, that can be asked.

    model, endpoint: used where a call gives neither. Keywords: ak, sk, access_token, access_key, secret_key,
    bearer_token, access_code; query_per_second or request_per_minute, and token_per_minute: limits of this
    object, 0 = none; redis_rate_limiter=True, redis_url: the limits are shared with other processes;
    ssl=False: do not check certificates; app_id: sent on V2; use_custom_endpoint=True: an endpoint is a path
    of its own, not put under `/chat/` and its like; version="2": the OpenAI-shaped interface, where the class
    has one.
    Raises InvalidArgumentError when no credentials are found; nothing is sent before the first call."""

    kind: ClassVar[str]  # of the path, and of the table of models
    default_model: ClassVar[str]
    v2: ClassVar[V2 | None] = None

    def __init__(self, model: str | None = None, endpoint: str | None = None, **kwargs: Any) -> None:
        config = get_config()
        self._version = str(kwargs.get("version") or "1")
        if self._version not in ("1", "2") or (self._version == "2" and self.v2 is None):
            raise InvalidArgumentError(
                f"{type(self).__name__} has no version {self._version!r}",
                advice='give "1"' if self.v2 is None else 'give "1" or "2"',
                advice_zh='version 只能是 "1"' if self.v2 is None else 'version 可为 "1" 或 "2"',
            )
        self._model = model
        self._endpoint = endpoint
        self._keys = _keys(kwargs, config)
        self._verify = kwargs.get("ssl")
        self._app_id = str(kwargs.get("app_id") or "")
        self._custom = kwargs.get("use_custom_endpoint")
        self._limiter = Limits.of(kwargs, config, self._keys.owner)
        self._made: tuple[tuple[Any, ...], Manner] | None = None
        self._manner({})  # raises when there are no credentials

    @classmethod
    def table(cls) -> dict[str, PresetModel]:
        """Preset models by name."""
        return presets.table(cls.kind)

    @classmethod
    def models(cls) -> set[str]:
        """Names that `model=` takes. With IAM keys alone in the settings, the platform is asked for more."""
        names = set(cls.table())
        keys = _list_keys(Keys.of({}, get_config()))
        if keys:
            try:
                names |= LISTS.get(*keys).names(*cls._kinds())
            except QianfanError as error:
                logger.warning("the list of services cannot be had; only presets are listed: %s", error)
        return names

    @classmethod
    def get_model_info(cls, model: str) -> PresetModel:
        """What is known of a preset model: path, limits, parameters. Case does not matter where no name is
        written exactly so. Raises InvalidArgumentError."""
        row = presets.find(cls.table(), model)
        if row is None:
            raise _unknown(cls, model)
        return row

    @classmethod
    def _kinds(cls) -> tuple[str, ...]:
        """Kinds of services that the class can ask."""
        return (cls.kind,)

    def access_token(self) -> str:
        """The access token of this object; fetched when there is none yet, empty when IAM keys sign."""
        config = get_config()
        signer = self._keys.inference_signer(config, config.BASE_URL)
        if not isinstance(signer, TokenSigner):
            return ""
        return run(signer.token(), client_for(options_of(config, 0.0, self._verify)))

    # Where a call goes

    def _chosen(self, model: str | None, endpoint: str | None) -> tuple[str | None, str | None]:
        """Model and endpoint of one call: what the object was made with counts where a call gives neither."""
        return (self._model, self._endpoint) if model is None and endpoint is None else (model, endpoint)

    def _target(self, model: str | None, endpoint: str | None) -> tuple[Route, PresetModel | None]:
        """Route of a call, and what is known of its model. An endpoint beats a model."""
        model, endpoint = self._chosen(model, endpoint)
        if endpoint:
            row = presets.find(self.table(), model) if model else None
            return self._route_of(self.kind, endpoint), row
        name = model or self.default_model
        row = self._preset(name)
        return (unlisted_route(name), None) if row is None else (preset_route(self.kind, row.path), row)

    def _preset(self, name: str) -> PresetModel | None:
        """The row of a model, or None for one that the list of services may name."""
        row = presets.find(self.table(), name)
        if row is None and _list_keys(self._keys) is None:
            raise _unknown(type(self), name)
        return row

    def _route_of(self, kind: str, endpoint: str) -> Route:
        """Route of an endpoint of your own."""
        is_path = get_config().USE_CUSTOM_ENDPOINT if self._custom is None else self._custom
        if is_path:
            return own_route(endpoint.lstrip("/"))
        return endpoint_route(kind, endpoint.strip("/"))

    # What a call says

    def _call(
        self,
        to: Route,
        body: dict[str, Any],
        extra: Mapping[str, Any],
        request_id: str | None = None,
        *,
        row: PresetModel | None = None,
        last: Mapping[str, Any] | None = None,
        is_marked: bool = True,
        **members: Any,
    ) -> Call:
        """The call: the caller's own members, those of the method, where we come from, and `last`.

        `headers` and `query` (dictionaries) of `extra` go where they belong. row: known parameters."""
        headers = {"Request_id": str(request_id) if request_id else f"{_ID}{os.urandom(8).hex()}"}
        query: Mapping[str, Any] = {}
        sent: dict[str, Any] = {}
        if extra:
            for given in ("header", "headers"):
                headers.update((key, str(value)) for key, value in _dictionary(extra, given).items())
            query = _dictionary(extra, "query")
            sent = {name: value for name, value in extra.items() if name not in NOT_SENT}
        if row is not None:
            check(row, sent, body)
        if is_marked:
            own = _dictionary(sent, "extra_parameters") if sent else {}
            sent.pop("extra_parameters", None)
            body["extra_parameters"] = {**_MARKS, **own} if own else _MARKS
        if to.family == "openai" and (app_id := self._app_id or get_config().APP_ID):
            headers["appid"] = app_id
        return Call(
            prefixed(to),
            {**sent, **body, **(last or {})} if sent or last else body,
            query=query,
            headers=headers,
            stream=body.get("stream") is True,
            **members,
        )

    def _v2_target(self, model: str | None, endpoint: str | None) -> tuple[Route, str]:
        """Route and model of a call on V2, where an endpoint of your own is a model by its name."""
        assert self.v2 is not None
        model, endpoint = self._chosen(model, endpoint)
        path = str(getattr(get_config(), self.v2.setting))
        return v2_route(path), endpoint or model or self.v2.default_model

    def _speaks_v2(self) -> bool:
        """True when calls go to the OpenAI-shaped interface."""
        return self._version == "2"

    # How a call is made

    def _manner(self, options: Mapping[str, Any]) -> Manner:
        """How a call with these options is made. Made anew when a setting has changed."""
        config = get_config()
        settings = (id(config), config.revision)
        made = self._made
        if made is None or made[0] != settings:
            made = self._made = settings, self._plain_manner(config)
        plain = made[1]
        if not options:
            return plain
        retry = retry_of(options, config, "LLM")
        return Manner(plain.base, plain.signer, retry, plain.limiter, plain.verify)

    def _plain_manner(self, config: Config) -> Manner:
        if self._speaks_v2():
            base, signer = config.CONSOLE_API_BASE_URL, self._keys.bearer_signer(config)
        else:
            base, signer = config.BASE_URL, self._keys.inference_signer(config, config.BASE_URL)
        return Manner(
            base=base,
            signer=signer,
            retry=retry_of({}, config, "LLM"),
            limiter=self._limiter,
            verify=self._verify,
        )

    def _do(self, request: Call, options: Mapping[str, Any]) -> QfResponse | Stream:
        if isinstance(request.route, Unlisted):
            return self._do_listed(request, request.route.model, options)
        answer = call(request, self._manner(options))
        notice(answer.headers, self.kind)
        return answer

    async def _ado(self, request: Call, options: Mapping[str, Any]) -> QfResponse | AsyncStream:
        if isinstance(request.route, Unlisted):
            return await self._ado_listed(request, request.route.model, options)
        answer = await acall(request, self._manner(options))
        notice(answer.headers, self.kind)
        return answer

    # Models that only the list of services names

    def _do_listed(self, request: Call, model: str, options: Mapping[str, Any]) -> QfResponse | Stream:
        keys = _list_keys(self._keys)
        assert keys is not None
        services = LISTS.get(*keys)
        try:
            return self._do(self._found(request, model, services), options)
        except APIError as error:
            if error.error_code != UNSUPPORTED:
                raise
            fresh = LISTS.get(*keys, older_than=services)
            return self._do(self._found(request, model, fresh), options)

    async def _ado_listed(
        self, request: Call, model: str, options: Mapping[str, Any]
    ) -> QfResponse | AsyncStream:
        keys = _list_keys(self._keys)
        assert keys is not None
        services = await LISTS.aget(*keys)
        try:
            return await self._ado(self._found(request, model, services), options)
        except APIError as error:
            if error.error_code != UNSUPPORTED:
                raise
            fresh = await LISTS.aget(*keys, older_than=services)
            return await self._ado(self._found(request, model, fresh), options)

    def _found(self, request: Call, model: str, services: Services) -> Call:
        path = services.path(model, *self._kinds())
        if path is None:
            raise _unknown(type(self), model, services.names(*self._kinds()))
        return replace(request, route=prefixed(Route(f"{INFERENCE_PREFIX}{path}", "inference")))


def _keys(arguments: Mapping[str, Any], config: Config) -> Keys:
    """The credentials of an object. A pair of IAM keys given to it beats a bearer token of the settings."""
    keys = Keys.of(arguments, config)
    has_pair = arguments.get("access_key") and arguments.get("secret_key")
    return replace(keys, bearer_token=None) if has_pair and not arguments.get("bearer_token") else keys


def as_list(messages: Messages | list[Any]) -> list[Any]:
    """Messages as the platform takes them. Raises InvalidArgumentError for other things."""
    if isinstance(messages, Messages):
        return messages.to_list()
    if isinstance(messages, (list, tuple)):
        return list(messages)
    raise InvalidArgumentError(
        f"messages must be a list of turns or Messages, not {type(messages).__name__}",
        advice='as in [{"role": "user", "content": "你好"}]',
        advice_zh='例如 [{"role": "user", "content": "你好"}]',
    )


def _unknown(cls: type[ModelClient], model: str, listed: set[str] | None = None) -> InvalidArgumentError:
    names = ", ".join(sorted(set(cls.table()) | (listed or set())))
    return InvalidArgumentError(
        f"there is no preset model {model!r} for {cls.__name__}",
        advice=f"a model of your own is reached by endpoint=; the presets are {names}",
        advice_zh=f"自行发布的模型请使用 endpoint=；预置模型有 {names}",
    )


def _list_keys(keys: Keys) -> tuple[str, str] | None:
    """The IAM pair that asks for the list of services, where it is all there is to sign with."""
    if not (keys.access_key and keys.secret_key) or keys.access_token or (keys.ak and keys.sk):
        return None
    return keys.access_key, keys.secret_key


def _dictionary(extra: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = extra.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(
            f"{name} must be a dictionary, not {type(value).__name__}",
            advice='as in {"name": "value"}',
            advice_zh='例如 {"name": "value"}',
        )
    return value
