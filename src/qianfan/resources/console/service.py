"""Services: a model version that can be asked."""

from __future__ import annotations

import builtins
from typing import Any

from qianfan.contract import routes
from qianfan.contract.enums import DeployPoolType, ServiceType
from qianfan.errors import InvalidArgumentError
from qianfan.transport.call import Call

from .service_v2 import ServiceV2
from .utils import console_call


class Service:
    """Services of the platform. Further keywords go into the body.

    What changes one, `scale`, `update`, `stop`, `start` and `delete`, is of this platform; `V2` has the
    cloud's words, which know no more than an update."""

    V2 = ServiceV2

    @console_call
    def create(
        cls,
        /,
        model_id: int | str,
        model_version_id: int | str | None = None,
        name: str = "",
        uri: str = "",
        replicas: int = 1,
        pool_type: DeployPoolType | int = DeployPoolType.PrivateResource,
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Deploy a model version; look at `get` until `result.serviceStatus` is `Done`.

        model_version_id: may be given as iteration_id, its older name. uri: what `endpoint=` takes, as far as
        the platform leaves it unchanged; `get` has the final one. pool_type: 1 public, 2 private."""
        version = kwargs.pop("iteration_id", None) if model_version_id is None else model_version_id
        kwargs.pop("iteration_id", None)
        missing = [
            what for what, value in (("model_version_id", version), ("name", name), ("uri", uri)) if not value
        ]
        if missing:
            raise InvalidArgumentError(f"a service needs {', '.join(missing)}")
        return Call(
            routes.SERVICE_APPLY,
            {
                **kwargs,
                "modelId": model_id,
                "modelVersionId": version,
                "name": name,
                "uri": uri,
                "replicas": replicas,
                "poolType": int(getattr(pool_type, "value", pool_type)),
                "description": description,
            },
            creates=True,
        )

    @console_call
    def get(cls, /, id: int | str, **kwargs: Any) -> Call:
        """One service: `result.serviceStatus`, `result.uri`."""
        return Call(routes.SERVICE_DETAIL, {**kwargs, "serviceId": id})

    @console_call
    def list(cls, /, api_type_filter: builtins.list[str | ServiceType] | None = None, **kwargs: Any) -> Call:
        """All services: `result.common` of the platform, `result.custom` of yours.

        api_type_filter: of chat, completions, embeddings, text2image, image2text; None = all."""
        body = dict(kwargs)
        if api_type_filter is not None:
            for item in api_type_filter:
                if not isinstance(item, str):
                    raise InvalidArgumentError(
                        f"{item!r} is no type of service", advice='as in ["chat"] or [ServiceType.Chat]'
                    )
            body["apiTypefilter"] = [str(getattr(item, "value", item)) for item in api_type_filter]
        return Call(routes.SERVICE_LIST, body)

    @console_call
    def update(
        cls, /, id: int | str, model_id: int | str, model_version_id: int | str, **kwargs: Any
    ) -> Call:
        """Serve another version under the same address; the old one answers until the new one does."""
        return ServiceV2.modify_service.call(id, model_id, model_version_id, **kwargs)

    @console_call
    def scale(cls, /, id: int | str, replicas: int, **kwargs: Any) -> Call:
        """Serve with another number of engines."""
        return ServiceV2.scale_service.call(id, replicas, **kwargs)

    @console_call
    def stop(cls, /, id: int | str, **kwargs: Any) -> Call:
        """Take a service offline; its address stays its own. `start` brings it back."""
        return ServiceV2.stop_service.call(id, **kwargs)

    @console_call
    def start(cls, /, id: int | str, **kwargs: Any) -> Call:
        """Bring a stopped service back."""
        return ServiceV2.start_service.call(id, **kwargs)

    @console_call
    def delete(cls, /, id: int | str, **kwargs: Any) -> Call:
        """Delete a service for good."""
        return ServiceV2.delete_service.call(id, **kwargs)
