"""The Service interface, V1: HTTP in, HTTP out. V2 is in `v2.py`."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from qianfan.contract import bodies, routes
from qianfan.contract.enums import DataTemplateType, DeployPoolType, ServiceStatus
from qianfan.contract.errors import NOT_FOUND, Fault
from qianfan.contract.ids import as_number
from qianfan.contract.routes import inference_path
from qianfan.contract.times import unix
from qianfan_platform.accounts.keys import apps
from qianfan_platform.accounts.operations import account_name
from qianfan_platform.catalogue.catalogue import Served
from qianfan_platform.engines.llamacpp.engine import cores
from qianfan_platform.models import presets
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.web import Call, Router

from . import deployments, operations
from .tables import Service

router = Router(aliases={"apiTypeFilter": "apiTypefilter"})
POLL_AFTER_S = 0.3
APPROVED = 2
API_ID_OFFSET = 1_000_000
PUBLIC: Final = 1  # payType; nothing costs anything here
PRIVATE: Final = 3


@router.v1(routes.SERVICE_APPLY, bodies.CreateService)
async def apply(call: Call) -> Any:
    presets.must_be_own(call.platform.catalogue, call.body["modelId"], call.body.get("modelVersionId"))
    service = await deployments.create(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"result": True, "serviceId": service.id, "serviceUuid": service.public_id}


@router.v1(routes.SERVICE_DETAIL, bodies.ServiceRef, write=False)
async def detail(call: Call) -> Any:
    service = await deployments.get(call.tx, call.owner, own_ident(call))
    model = await call.tx.maybe(Model, Model.id == service.model_id)
    version = await call.tx.maybe(ModelVersion, ModelVersion.id == service.version_id)
    busy = service.status in (ServiceStatus.New.value, ServiceStatus.Deploying.value)
    number = str(version.version) if version else ""
    return {
        "id": service.id,
        "serviceUuid": service.public_id,
        "name": service.name,
        "description": service.description,
        "creator": await account_name(call.tx, call.owner),
        "modelId": service.model_id,
        "modelName": model.name if model else "",
        "modelType": model.model_type if model else 0,
        "templateType": DataTemplateType.NonSortedConversation.value,
        "iterationId": service.version_id,
        "modelVersion": number,
        "version": number,
        "uri": service.uri,
        "fullUri": url_of(call, service),
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
            "CPUNum": cores(),
            "memory": 0,
            "GPUType": "",
            "GPUNum": 0,
            "volumeId": "",
        },
        "timeout": 600,
        "qps": 0,
        "noAuthAccess": False,
        "hasDeploying": busy or service.update_status == deployments.UPDATING,
        "openDcl": False,
        "payType": PRIVATE if service.pool_type == DeployPoolType.PrivateResource.value else PUBLIC,
        "poolType": service.pool_type,
        **await engines(call, service),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if busy else {},
    }


def url_of(call: Call, service: Service) -> str:
    """Where it answers; the last two parts are its type and its endpoint."""
    return f"{call.base_url}{inference_path(service.api_type, service.uri)}"


async def engines(call: Call, service: Service) -> dict[str, Any]:
    """What this platform tells of a service beyond the cloud's fields.

    engines.state: up, asleep (the next request wakes it), waiting (it is on its way), down."""
    standing = None
    if service.status in (ServiceStatus.Done.value, ServiceStatus.Deploying.value):
        with contextlib.suppress(Fault):
            standing = call.platform.fleet.standing(await operations.want_of(call.platform, call.tx, service))
    state = (
        "down" if service.status in (ServiceStatus.Stopped.value, ServiceStatus.Failed.value) else "waiting"
    )
    if standing is not None:
        state = "up" if standing.running else "asleep" if standing.asleep else state
    return {
        "reason": service.reason,
        "updateReason": service.update_reason,
        "engines": {
            "state": state,
            "running": standing.running if standing else 0,
            "wanted": service.replicas,
            "warning": standing.warning if standing else "",
        },
    }


def preset_uuid(number: int) -> str:
    """The string id of a preset service."""
    return f"svco-preset{number - operations.FIRST_PRESET + 1:06d}"


def find_preset(call: Call, ident: Any) -> tuple[int, Served] | None:
    """The platform's own service with this id, by number or as text."""
    number = as_number(ident)
    if number is not None and number < operations.FIRST_PRESET:
        return None
    rows = operations.presets(call.platform)
    return next((row for row in rows if row[0] == number or preset_uuid(row[0]) == ident), None)


def own_ident(call: Call) -> Any:
    """`serviceId`. Raises Fault for a service of the platform itself: nobody deployed it, nobody can change it."""
    ident = call.body["serviceId"]
    if (preset := find_preset(call, ident)) is not None:
        name = preset[1].name
        raise Fault(
            NOT_FOUND,
            f"service {ident} is {name}, which the platform serves by itself: it was not deployed and cannot be changed",
            f'ask it as model="{name}"; DescribePresetServices shows it',
        )
    return ident


def _preset_item(call: Call, number: int, served: Served) -> dict[str, Any]:
    return {
        "serviceId": str(number),  # digits as text: Go reads a string, Java converts
        "serviceUuid": preset_uuid(number),
        "name": served.name,
        "url": f"{call.base_url}{inference_path(served.kind, served.endpoint)}",
        "apiType": served.kind,
        "chargeStatus": "FREE",
        "versionList": [{"aiModelId": number, "trainType": served.name, "serviceStatus": "Done"}],
    }


def _own_item(call: Call, service: Service, train_type: str) -> dict[str, Any]:
    return {
        "serviceId": str(service.id),
        "serviceUuid": service.public_id,
        "name": service.name,
        "url": url_of(call, service),
        "apiType": service.api_type,
        "chargeStatus": "OPENED",
        "versionList": [
            {
                "aiModelId": service.model_id,
                "aiModelVersionId": service.version_id,
                "trainType": train_type,
                "serviceStatus": service.status,
            }
        ],
    }


@router.v1(routes.SERVICE_LIST, bodies.ListServices, write=False)
async def list_services(call: Call) -> Any:
    """Published clients read the endpoint of a name from here: the part of `url` after `…/wenxinworkshop`."""
    kinds = call.body.get("apiTypefilter") or []
    own = await operations.list_services(call.tx, call.owner, kinds)
    served = ModelVersion.id.in_({service.version_id for service in own})
    types = {version.id: version.train_type for version in await call.tx.find(ModelVersion, served)}
    return {
        "common": [_preset_item(call, *row) for row in operations.presets(call.platform, kinds)],
        "custom": [_own_item(call, service, types.get(service.version_id, "")) for service in own],
    }


@router.v1(routes.SERVICE_APP_LIST, write=False)
async def app_list(call: Call) -> Any:
    """The account's apps. Their secret keys are shown once, when they are made, and never here."""
    return {"appList": await apps(call.tx, call.owner)}
