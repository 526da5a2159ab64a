"""The Service interface of V2. `modelSetId` is a model, `modelId` a version of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, false, or_, type_coerce

from qianfan.contract import bodies, routes
from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.routes import inference_path
from qianfan.contract.times import zulu
from qianfan_platform.accounts import operations as accounts
from qianfan_platform.catalogue.catalogue import Served
from qianfan_platform.models import presets as registry
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import deployments, operations
from .routes import POLL_AFTER_S, engines, find_preset, own_ident, preset_uuid, url_of
from .tables import Service

router = Router(aliases={"maker": "marker"})

PAGE: Final = 10
MOST: Final = 100
WORDS: Final = {
    status: "Serving" if status is ServiceStatus.Done else status.value for status in ServiceStatus
}
STATES: Final = {word: status for status, word in WORDS.items()}
TYPE: Final = "CPU-I-2"  # of resources, where none was named
CHARGED: Final = "Postpaid"  # where no billing was sent
FREE: Final = "Free"  # what every service costs here


async def view(call: Call, service: Service) -> dict[str, Any]:
    """A service as V2 shows it."""
    model = await call.tx.maybe(Model, Model.id == service.model_id)
    version = await call.tx.maybe(ModelVersion, ModelVersion.id == service.version_id)
    terms = service.terms or {}
    resources = {"type": TYPE, "replicasCount": service.replicas, **terms.get("resourceConfig", {})}
    busy = service.status in (ServiceStatus.New, ServiceStatus.Deploying)
    updating = service.update_status == deployments.UPDATING
    return {
        "serviceId": service.public_id,
        "id": service.id,
        "modelSetId": model.public_id if model else "",
        "modelId": version.public_id if version else "",
        "modelVersionId": version.public_id if version else "",
        "baseModel": version.train_type if version else "",
        "name": service.name,
        "description": service.description,
        "url": url_of(call, service),
        "endpoint": service.uri,
        "serviceType": service.api_type,
        "runStatus": WORDS[ServiceStatus(service.status)],
        "updateStatus": service.update_status,
        "chargeType": terms.get("billing", {}).get("paymentTiming", CHARGED),
        "payType": FREE,
        "chargeStatus": "OPENED",
        "resourceConfig": resources,
        "createTime": zulu(service.created_at),
        **await engines(call, service),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if busy or updating else {},
    }


@router.v2(routes.SERVICE_V2_CREATE, bodies.V2CreateService)
async def create(call: Call) -> Any:
    body = call.body
    registry.must_be_own(call.platform.catalogue, body["modelSetId"], body["modelId"])
    resources = body.get("resourceConfig") or {}
    service = await deployments.create(
        call.platform,
        call.tx,
        call.owner,
        {
            "modelId": body["modelSetId"],
            "modelVersionId": body["modelId"],
            "name": body["name"],
            "uri": body["urlSuffix"],
            "replicas": resources.get("replicasCount", 1),
            "description": body.get("description") or "",
            **({"gate": body["gate"]} if "gate" in body else {}),  # type: ignore[typeddict-item]
        },
        terms={name: body[name] for name in ("resourceConfig", "billing") if body.get(name)},
    )
    return {"serviceId": service.public_id, "instanceId": service.public_id}


@router.v2(routes.SERVICE_V2_DETAIL, bodies.ServiceRef, write=False)
async def describe(call: Call) -> Any:
    """A service of the account, or one of the platform itself."""
    if (preset := find_preset(call, call.body["serviceId"])) is not None:
        return _preset(call, *preset)
    return await view(call, await deployments.get(call.tx, call.owner, call.body["serviceId"]))


@router.v2(routes.SERVICE_V2_LIST, bodies.V2ListServices, write=False)
async def describe_all(call: Call) -> Any:
    """The account's services, newest first. All of them are its own, so `creator` keeps all or none."""
    body = call.body
    marker, size = body.get("marker"), min(body.get("maxKeys", PAGE), MOST)
    where = deployments.filters(
        body.get("name"),
        body.get("serviceType") or (),
        [STATES[word] for word in body.get("runStatus") or ()],
    )
    where += _charged(_texts(body.get("chargeType")), _texts(body.get("payType")))
    creators = body.get("creator")
    if creators and await accounts.account_name(call.tx, call.owner) not in creators:
        rows, following = list[Service](), None
    else:
        rows, following = await deployments.page(
            call.tx, call.owner, marker, size, bool(body.get("pageReverse")), *where
        )
    return {
        "serviceList": [await view(call, row) for row in rows],
        "pageInfo": page_info(marker, size, following),
    }


@router.v2(routes.SERVICE_V2_MODIFY, bodies.V2ModifyService)
async def modify(call: Call) -> Any:
    """Another version, without a pause; names and replicas with it."""
    body = call.body
    service = await deployments.modify(
        call.platform,
        call.tx,
        call.owner,
        own_ident(call),
        model=body.get("modelSetId"),
        version=body.get("modelId"),
        gate=body.get("gate"),
    )
    deployments.rename(service, name=body.get("name"), description=body.get("description"))
    replicas = (body.get("resourceConfig") or {}).get("replicasCount")
    if replicas is not None:
        await deployments.scale(call.platform, call.tx, call.owner, service.id, replicas)
    return await view(call, service)


@router.v2(routes.SERVICE_V2_SCALE, bodies.V2ScaleService)
async def scale(call: Call) -> Any:
    body = call.body
    return await view(
        call, await deployments.scale(call.platform, call.tx, call.owner, own_ident(call), body["replicas"])
    )


@router.v2(routes.SERVICE_V2_STOP, bodies.ServiceRef)
async def stop(call: Call) -> Any:
    return await view(call, await deployments.stop(call.platform, call.tx, call.owner, own_ident(call)))


@router.v2(routes.SERVICE_V2_START, bodies.ServiceRef)
async def start(call: Call) -> Any:
    return await view(call, await deployments.start(call.platform, call.tx, call.owner, own_ident(call)))


@router.v2(routes.SERVICE_V2_DELETE, bodies.ServiceRef)
async def delete(call: Call) -> Any:
    await deployments.delete(call.platform, call.tx, call.owner, own_ident(call))
    return True


@router.v2(routes.SERVICE_V2_PRESETS, bodies.V2PresetServices, write=False)
async def presets(call: Call) -> Any:
    """What every account may call here; a stand-in says so."""
    wanted, kinds = call.body.get("serviceIds"), _texts(call.body.get("serviceType"))
    found = operations.presets(call.platform, kinds)
    if wanted:
        chosen = [find_preset(call, ident) for ident in wanted]
        found = [row for row in found if row in chosen]
    for name, true in (("chargeStatus", "FREE"), ("chargeType", CHARGED)):
        asked = _texts(call.body.get(name))
        if asked and true not in asked:
            found = []
    return {"serviceList": [_preset(call, *row) for row in found]}


def _preset(call: Call, number: int, served: Served) -> dict[str, Any]:
    return {
        "serviceId": preset_uuid(number),
        "id": number,
        "name": served.name,
        "url": f"{call.base_url}{inference_path(served.kind, served.endpoint)}",
        "endpoint": served.endpoint,
        "serviceType": served.kind,
        "runStatus": WORDS[ServiceStatus.Done],
        "chargeType": CHARGED,
        "payType": FREE,
        "chargeStatus": "FREE",
        "servedBy": served.entry.name,
        "standIn": served.stand_in,
    }


@router.v2(routes.SERVICE_V2_METRIC, bodies.V2ServiceMetric, write=False)
async def metric(call: Call) -> Any:
    """What services were used, by app. Usage is kept by days of UTC: both days count wholly."""
    body = call.body
    first, last = _day(body, "startTime"), _day(body, "endTime")
    named = await _named(call, body.get("serviceId"))
    app = body.get("appId")
    rows = await accounts.usage_of_services(
        call.tx, call.owner, first, last, [name for _, name, _ in named], None if app is None else str(app)
    )
    listed = []
    for ident, name, shown in named:
        used = [row for row in rows if row["model"] == name]
        if used or body.get("serviceId"):
            listed.append({"serviceId": ident, "serviceName": shown, "appList": [_used(row) for row in used]})
    return {"startTime": body["startTime"], "endTime": body["endTime"], "serviceList": listed}


async def _named(call: Call, idents: list[bodies.Id] | None) -> list[tuple[str, str, str]]:
    """(id, name in the meter, shown name) of services, the account's own and presets; None: all."""
    free = {preset_uuid(number): served for number, served in operations.presets(call.platform)}
    if idents is None:
        own = await operations.list_services(call.tx, call.owner)
        chosen = {served.name: (ident, served.name, served.name) for ident, served in free.items()}
        return [*((row.public_id, row.uri, row.name) for row in own), *chosen.values()]
    found = []
    for ident in idents:
        if preset := find_preset(call, ident):
            found.append((preset_uuid(preset[0]), preset[1].name, preset[1].name))
        else:
            row = await deployments.get(call.tx, call.owner, ident)
            found.append((row.public_id, row.uri, row.name))
    return found


def _used(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "appId": row["app"],
        "metric": {
            "inputTokensTotal": row["promptTokens"],
            "outputTokensTotal": row["completionTokens"],
            "tokensTotal": row["promptTokens"] + row["completionTokens"],
            "succeedCallTotal": row["requests"] - row["failed"],
            "failureCallTotal": row["failed"],
            "callTotal": row["requests"],
        },
    }


def _day(body: dict[str, Any], name: str) -> str:
    try:
        moment = datetime.fromisoformat(body[name])
    except ValueError:
        raise Fault(
            CONSOLE_PARAMETER,
            f"param[{name}] invalid: {body[name][:40]!r} is no time",
            "as in 2026-01-31T00:00:00Z",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%d")


def _charged(timings: list[str], payments: list[str]) -> list[ColumnElement[bool]]:
    """Conditions for `chargeType` and `payType` as `view` shows them. `terms` is JSON as text."""
    if payments and FREE not in payments:
        return [false()]
    if not timings:
        return []
    sent = type_coerce(Service.terms, Text)
    fitting = [sent.contains(f'"paymentTiming":"{word}"', autoescape=True) for word in timings]
    if CHARGED in timings:
        fitting += [Service.terms.is_(None), ~sent.contains('"paymentTiming":')]
    return [or_(*fitting)]


def _texts(value: Any) -> list[str]:
    """One text or several."""
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]
