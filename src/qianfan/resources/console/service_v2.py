"""Services in the words of the V2 interface, and what this platform adds: scale, stop, start, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qianfan.contract import routes
from qianfan.transport.call import Call

from .utils import console_call


class ServiceV2:
    """Services as `svco-…`; `modelSetId` is a model of V1 (`am-…`), `modelId` a version (`amv-…`).

    Ids of V1 are taken, too. Further keywords go into the body."""

    @classmethod
    def base_api_route(cls) -> str:
        """The path of all calls of this class; what they do is in the query, `?Action=`."""
        return routes.SERVICE_V2_CREATE.path

    @console_call
    def create_service(
        cls,
        /,
        model_set_id: int | str,
        model_id: int | str,
        name: str,
        url_suffix: str,
        resource_config: dict[str, Any] | None = None,
        billing: dict[str, Any] | None = None,
        description: str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Deploy a model; look at `describe_service` until `result.runStatus` is `Serving`.

        url_suffix: the last part of its address, with what the platform puts before it. resource_config:
        {"type": "GPU-I-2", "replicasCount": 1, "qps": 2}. billing: {"paymentTiming": "Postpaid"}."""
        body = {
            **kwargs,
            "modelSetId": model_set_id,
            "modelId": model_id,
            "name": name,
            "urlSuffix": url_suffix,
            "resourceConfig": resource_config,
            "billing": billing,
            "description": description,
        }
        return Call(routes.SERVICE_V2_CREATE, body, creates=True)

    @console_call
    def describe_service(cls, /, service_id: int | str, **kwargs: Any) -> Call:
        """One service: `result.runStatus` is New, Deploying, Serving, Failed or Stopped; `result.url`."""
        return Call(routes.SERVICE_V2_DETAIL, {**kwargs, "serviceId": service_id})

    @console_call
    def describe_services(
        cls,
        /,
        marker: str | None = None,
        max_keys: int | None = None,
        page_reverse: bool | None = None,
        name: str | None = None,
        service_type: Sequence[str] | None = None,
        run_status: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Call:
        """Your services: `result.serviceList`, `result.pageInfo`. The filters keep those that match."""
        body = {
            **kwargs,
            "marker": marker,
            "maxKeys": max_keys,
            "pageReverse": page_reverse,
            "name": name,
            "serviceType": service_type and list(service_type),
            "runStatus": run_status and list(run_status),
        }
        return Call(routes.SERVICE_V2_LIST, body)

    @console_call
    def modify_service(
        cls, /, service_id: int | str, model_set_id: int | str, model_id: int | str, **kwargs: Any
    ) -> Call:
        """Serve another model under the same address."""
        body = {**kwargs, "serviceId": service_id, "modelSetId": model_set_id, "modelId": model_id}
        return Call(routes.SERVICE_V2_MODIFY, body)

    @console_call
    def describe_service_metric(
        cls,
        /,
        start_time: str,
        end_time: str,
        service_id: Sequence[int | str] | None = None,
        app_id: int | str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Calls and tokens of services between two times such as 2026-01-31T00:00:00Z; `result.serviceList`."""
        body = {
            **kwargs,
            "startTime": start_time,
            "endTime": end_time,
            "serviceId": service_id and list(service_id),
            "appId": app_id,
        }
        return Call(routes.SERVICE_V2_METRIC, body)

    @console_call
    def describe_preset_services(
        cls, /, service_ids: Sequence[int | str] | None = None, **kwargs: Any
    ) -> Call:
        """The platform's own services. Keywords: serviceType, chargeType, chargeStatus."""
        return Call(routes.SERVICE_V2_PRESETS, {**kwargs, "serviceIds": service_ids and list(service_ids)})

    @console_call
    def scale_service(cls, /, service_id: int | str, replicas: int, **kwargs: Any) -> Call:
        """Serve with another number of engines. Of this platform only."""
        return Call(routes.SERVICE_V2_SCALE, {**kwargs, "serviceId": service_id, "replicas": replicas})

    @console_call
    def stop_service(cls, /, service_id: int | str, **kwargs: Any) -> Call:
        """Take a service offline; its address stays its own. Of this platform only."""
        return Call(routes.SERVICE_V2_STOP, {**kwargs, "serviceId": service_id})

    @console_call
    def start_service(cls, /, service_id: int | str, **kwargs: Any) -> Call:
        """Bring a stopped service back. Of this platform only."""
        return Call(routes.SERVICE_V2_START, {**kwargs, "serviceId": service_id})

    @console_call
    def delete_service(cls, /, service_id: int | str, **kwargs: Any) -> Call:
        """Delete a service for good. Of this platform only."""
        return Call(routes.SERVICE_V2_DELETE, {**kwargs, "serviceId": service_id})
