"""The Service interface: HTTP in, HTTP out."""

from __future__ import annotations

from typing import Any

from qianfan.contract import bodies, routes
from qianfan.contract.enums import ServiceStatus
from qianfan.contract.routes import inference_path
from qianfan.contract.times import unix
from qianfan_platform.catalogue.catalogue import Served
from qianfan_platform.models import operations as models
from qianfan_platform.web import Call, Router

from . import operations
from .tables import Service

router = Router(aliases={"apiTypeFilter": "apiTypefilter"})
POLL_AFTER_S = 0.3
APPROVED = 2
API_ID_OFFSET = 1_000_000


@router.v1(routes.SERVICE_APPLY, bodies.CreateService)
async def apply(call: Call) -> Any:
    service = await operations.create(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"result": True, "serviceId": service.id, "serviceUuid": service.public_id}


@router.v1(routes.SERVICE_DETAIL, bodies.ServiceRef, write=False)
async def detail(call: Call) -> Any:
    service = await operations.get(call.tx, call.owner, call.body["serviceId"])
    model = await models.get(call.tx, call.owner, service.model_id)
    version = await models.version(call.tx, call.owner, service.version_id)
    busy = service.status in (ServiceStatus.New.value, ServiceStatus.Deploying.value)
    return {
        "id": service.id,
        "serviceUuid": service.public_id,
        "name": service.name,
        "description": service.description,
        "creator": "",
        "modelId": model.id,
        "modelName": model.name,
        "modelType": 0,
        "templateType": 2000,
        "iterationId": version.id,
        "modelVersion": str(version.version),
        "version": str(version.version),
        "uri": service.uri,
        "fullUri": f"{call.base_url}{inference_path(service.api_type, service.uri)}",
        "applyStatus": APPROVED,
        "serviceStatus": service.status,
        "sourceType": 1,
        "onlineTime": unix(service.online_at),
        "createTime": unix(service.created_at),
        "modifyTime": unix(service.modified_at),
        "callUnitPrice": "0",
        "devApiId": service.id,
        "apiId": service.id + API_ID_OFFSET,
        "vmConfig": {
            "resourceId": "local",
            "instanceCount": service.replicas,
            "CPUNum": 0,
            "memory": 0,
            "GPUType": "",
            "GPUNum": 0,
            "volumeId": "",
        },
        "timeout": 600,
        "qps": 0,
        "noAuthAccess": False,
        "hasDeploying": busy,
        "openDcl": False,
        "payType": 3,
        "reason": service.reason,
        "progressDetail": {"pollAfter": POLL_AFTER_S} if busy else {},
    }


def _preset_item(call: Call, number: int, served: Served) -> dict[str, Any]:
    return {
        "serviceId": str(number),  # digits as text: Go reads a string, Java converts
        "serviceUuid": f"svco-preset{number:06d}",
        "name": served.name,
        "url": f"{call.base_url}{inference_path(served.kind, served.endpoint)}",
        "apiType": served.kind,
        "chargeStatus": "FREE",
        "versionList": [{"aiModelId": number, "trainType": served.name, "serviceStatus": "Done"}],
    }


def _own_item(call: Call, service: Service) -> dict[str, Any]:
    return {
        "serviceId": str(service.id),
        "serviceUuid": service.public_id,
        "name": service.name,
        "url": f"{call.base_url}{inference_path(service.api_type, service.uri)}",
        "apiType": service.api_type,
        "chargeStatus": "OPENED",
        "versionList": [
            {
                "aiModelId": service.model_id,
                "aiModelVersionId": service.version_id,
                "trainType": "",
                "serviceStatus": service.status,
            }
        ],
    }


@router.v1(routes.SERVICE_LIST, bodies.ListServices, write=False)
async def list_services(call: Call) -> Any:
    """Published clients read the endpoint of a name from here: the part of `url` after `…/wenxinworkshop`."""
    kinds = call.body.get("apiTypefilter") or []
    own = await operations.list_services(call.tx, call.owner, kinds)
    return {
        "common": [_preset_item(call, *row) for row in operations.presets(call.platform, kinds)],
        "custom": [_own_item(call, service) for service in own],
    }
