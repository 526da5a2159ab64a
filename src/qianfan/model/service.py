"""A service as an object: deploy it, ask it, change it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from qianfan.config import get_config
from qianfan.contract.enums import DeployPoolType
from qianfan.contract.enums import ServiceStatus as WireServiceStatus
from qianfan.dataset import state as saved_state
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import wait_until
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model.consts import ServiceType
from qianfan.model.model import Id, Model, reason_of, unpacked
from qianfan.model.runnable import ExecuteSerializable
from qianfan.resources import Service as ServiceCalls
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.model.configs import DeployConfig

_LATER = {"Serving": WireServiceStatus.Done}  # the V2 interface's word for it


@saved_state.saved
class Service(ExecuteSerializable[dict[str, Any], Any]):
    """A deployed model, or one that answers by its name or endpoint.

    id: of a deployed service. endpoint: what is called. model: a Model to deploy, or the name of a preset.
    service_type: what it answers; wanted for `exec`. One of the three must be given."""

    kind: ClassVar[str] = "service"
    id: Id | None
    endpoint: str | None
    model: Model | None
    deploy_config: DeployConfig | None
    service_type: ServiceType | None

    def __init__(
        self,
        id: Id | None = None,
        endpoint: str | None = None,
        model: Model | str | None = None,
        deploy_config: DeployConfig | None = None,
        service_type: ServiceType | None = None,
    ) -> None:
        if id is None and endpoint is None and model is None:
            raise InvalidArgumentError("invalid model service", advice="give id=, endpoint= or model=")
        self.id, self.endpoint = id, endpoint
        self.model = Model(name=model) if isinstance(model, str) else model
        self.deploy_config = deploy_config
        self.service_type = None if service_type is None else _type(service_type)
        if self.service_type is None and deploy_config is not None:
            self.service_type = deploy_config.service_type

    def __repr__(self) -> str:
        return f"Service(id={self.id!r}, endpoint={self.endpoint!r}, service_type={self.service_type!r})"

    @property
    def status(self) -> str:
        """The status on the platform: New, Deploying, Done, Failed, Stopped. InternalError without an id."""
        if self.id is None:
            raise InternalError("the service has no id", advice="deploy it first, or give id=")
        detail = self._look({})
        self.endpoint = self.endpoint or _endpoint(detail)
        return _status(detail)

    def deploy(
        self,
        *,
        stop: threading.Event | None = None,
        begun: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> Service:
        """Deploy the model and wait until the service is ready. Returns self.

        stop: ends the wait when it is set. begun: called as soon as the platform has begun.
        Raises InvalidArgumentError without a model or a configuration, InternalError when it does not come up.
        A deployment that was begun is waited for, not made again."""
        options = transport_options(kwargs)
        if self.id is None:
            self._apply(options)
            if begun is not None:
                begun()
        return self._wait_until_done(stop, options)

    def scale(self, replicas: int, **kwargs: Any) -> Service:
        """Serve with another number of engines; they come and go while the service answers. Returns self.

        Of this platform only."""
        ServiceCalls.scale(self.id, replicas, **self._of_the_platform(kwargs))  # type: ignore[arg-type]
        return self

    def update(self, model: Model, **kwargs: Any) -> Service:
        """Serve another model version under the same endpoint, and wait until it answers. Returns self.

        The version before answers until then, and goes on answering when the update fails (InternalError)."""
        options = self._of_the_platform(kwargs)
        model._complete(options)
        ServiceCalls.update(self.id, model.id, model.version_id, **options)  # type: ignore[arg-type]
        last = wait_until(
            lambda: ServiceCalls.V2.describe_service(self.id, **options)["result"],  # type: ignore[arg-type]
            lambda seen: seen.get("updateStatus") != "Updating",
            get_config().DEPLOY_STATUS_POLLING_INTERVAL,
        )
        if last.get("updateStatus") == "Failed":
            raise InternalError(
                f"service {self.id} was not updated, and answers as before: {last.get('updateReason')}",
                advice="mend the cause, then update it again",
            )
        self.model, model.service = model, self
        return self

    def stop(self, **kwargs: Any) -> Service:
        """Take the service offline; its endpoint stays its own. Of this platform only."""
        ServiceCalls.stop(self.id, **self._of_the_platform(kwargs))  # type: ignore[arg-type]
        return self

    def start(self, **kwargs: Any) -> Service:
        """Bring a stopped service back, and wait until it answers. Of this platform only."""
        options = self._of_the_platform(kwargs)
        ServiceCalls.start(self.id, **options)  # type: ignore[arg-type]
        return self._wait_until_done(None, options)

    def delete(self, **kwargs: Any) -> None:
        """Delete the service for good. Of this platform only."""
        ServiceCalls.delete(self.id, **self._of_the_platform(kwargs))  # type: ignore[arg-type]
        if self.model is not None and self.model.service is self:
            self.model.service = None
        self.id = self.endpoint = None

    def get_res(self) -> Any:
        """The class that speaks to this service: ChatCompletion, Completion, Embedding or Text2Image.

        Raises InternalError for a type it does not know, InvalidArgumentError when there is none."""
        if self.id is not None:
            status = self.status
            if status != WireServiceStatus.Done:
                logger.warning("service %s is %s, not Done; it may not answer", self.id, status)
        if self.service_type is None:
            raise InvalidArgumentError(
                "the service has no type", advice="give service_type=ServiceType.Chat or another"
            )
        import qianfan.resources as resources

        names = {ServiceType.Chat: "ChatCompletion", ServiceType.Completion: "Completion"}
        names |= {ServiceType.Embedding: "Embedding", ServiceType.Text2Image: "Text2Image"}
        if self.service_type not in names:
            raise InternalError(
                f"unsupported service type {self.service_type!r}", advice=f"use one of {list(names)}"
            )
        res = getattr(resources, names[self.service_type])
        if self.endpoint:
            return res(endpoint=self.endpoint)
        return res(model=self.model.name) if self.model is not None and self.model.name else res()

    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Ask the service. input: what its class takes, e.g. {"messages": […]} or {"prompt": "…"}.

        kwargs: further arguments of the call, such as stream=True."""
        if input is None:
            raise InvalidArgumentError(
                "there is no input", advice='give e.g. {"messages": [{"role": "user", …}]}'
            )
        return self.get_res().do(**{**input, **kwargs})

    def dumps(self) -> bytes | None:
        """The service as versioned JSON."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Any:
        """A new service of what `dumps` wrote. Pickled bytes raise UnsafeState."""
        return unpacked(data, Service)

    def own_state(self) -> dict[str, Any]:
        """What is saved of the service without its model."""
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "deploy_config": self.deploy_config,
            "service_type": self.service_type,
        }

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        model = self.model.to_state() if self.model else None
        return {**self.own_state(), "model": model and {**model, "service": None}}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Service:
        """A service of a saved state."""
        model = Model.from_state(state.pop("model")) if state.get("model") else None
        state.pop("model", None)
        service = cls._of(state, model)
        if model is not None:
            model.service = service
        return service

    @classmethod
    def _of(cls, state: dict[str, Any], model: Model | None) -> Service:
        model = model or (None if state.get("id") or state.get("endpoint") else Model())
        return cls(**state, model=model)

    def _apply(self, options: dict[str, Any]) -> None:
        config, model = self.deploy_config, self.model
        if model is None:
            raise InvalidArgumentError("there is no model to deploy", advice="give model=Model(…)")
        if config is None:
            raise InvalidArgumentError(
                "deploy_config must be set", advice="give deploy_config=DeployConfig()"
            )
        model._complete(options)
        if config.speaks_v2:
            terms: dict[str, Any] = {
                **(config.extras or {}),
                "model_set_id": model.id,
                "model_id": model.version_id,
                "name": config.name or f"svc{model.id}_{model.version_id}",
                "url_suffix": config.endpoint_suffix or config.endpoint_prefix or f"ep{model.version_id}",
                "description": config.description or None,
                **config.v2_terms(),
            }
            self.id = ServiceCalls.V2.create_service(**terms, **options)["result"]["serviceId"]
            return
        terms = {
            **(config.extras or {}),
            "model_id": model.id,
            "model_version_id": model.version_id,
            "name": config.name or f"svc{model.id}_{model.version_id}",
            "uri": config.endpoint_prefix or f"ep{model.id}_{model.version_id}",
            "replicas": config.replicas,
            "pool_type": DeployPoolType(config.pool_type),
            "description": config.description or None,
        }
        self.id = ServiceCalls.create(**terms, **options)["result"]["serviceId"]

    def _of_the_platform(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.id is None:
            raise InvalidArgumentError("the service has no id", advice="deploy it first, or give id=")
        return transport_options(kwargs)

    def _look(self, options: dict[str, Any]) -> Any:
        """The detail, of the interface that the service was made with."""
        config = self.deploy_config
        if str(self.id).startswith("svco-") and config is not None and config.speaks_v2:
            return ServiceCalls.V2.describe_service(self.id, **options)["result"]  # type: ignore[arg-type]
        return ServiceCalls.get(self.id, **options)["result"]  # type: ignore[arg-type]

    def _wait_until_done(self, stop: threading.Event | None, options: dict[str, Any]) -> Service:
        over = (WireServiceStatus.Done, WireServiceStatus.Failed, WireServiceStatus.Stopped)
        every = get_config().DEPLOY_STATUS_POLLING_INTERVAL
        last = wait_until(lambda: self._look(options), lambda seen: _status(seen) in over, every, stop=stop)
        status = _status(last)
        if status != WireServiceStatus.Done:
            if self.model is not None and self.model.service is self:
                self.model.service = None  # so that deploying again makes another one
            raise InternalError(
                f"service {self.id} did not come up, it is {status.value}: {reason_of(last)}",
                advice="mend the cause, then deploy the model again",
            )
        self.endpoint = _endpoint(last)
        if self.model is not None:
            self.model.service = self
        return self


def model_deploy(model: Model, deploy_config: DeployConfig, **kwargs: Any) -> Service:
    """Deploy a model, and wait until its service is ready."""
    if model.service is None or model.service.id is None:
        model.service = Service(
            model=model,
            deploy_config=deploy_config,
            service_type=getattr(deploy_config, "service_type", None),
        )
    return model.service.deploy(**kwargs)


def _type(word: Any) -> ServiceType:
    try:
        return ServiceType(word)
    except ValueError:
        raise InvalidArgumentError(
            f"there is no service_type {word!r}", advice=f"it is one of {', '.join(ServiceType)}"
        ) from None


def _status(detail: Any) -> WireServiceStatus:
    word = detail.get("serviceStatus") or detail["runStatus"]
    return _LATER.get(word) or WireServiceStatus(word)


def _endpoint(detail: Any) -> str | None:
    """What `endpoint=` takes: V1 tells it, of V2 it is the last part of the address."""
    return detail.get("uri") or detail.get("endpoint") or (detail.get("url") or "").rpartition("/")[2] or None
