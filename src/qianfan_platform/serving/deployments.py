"""What can be done with services: deploy, look, list, change, scale, stop, start, delete.

A row says what should be; `steps.py` and `reconciler.py` see to it that it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import or_

from qianfan.contract import errors
from qianfan.contract.bodies import CreateService, Id
from qianfan.contract.enums import DeployPoolType, ServiceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.lifecycle import SERVICE
from qianfan_platform import jobs
from qianfan_platform.models import gates
from qianfan_platform.models import operations as models
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .tables import Service

PREFIX_LENGTH: Final = 8
UPDATING: Final = "Updating"
UPDATE_FAILED: Final = "Failed"
MOST_REPLICAS: Final = 64


async def create(
    platform: Platform, tx: Tx, owner: int, spec: CreateService, *, terms: dict[str, Any] | None = None
) -> Service:
    """A service of a model version that is Ready. Its endpoint is `<8 random characters>_<uri>`.

    terms: what V2 says of resources and billing; it is shown again, and nothing follows from it."""
    wanted = spec.get("modelVersionId", spec.get("iterationId"))
    if wanted is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[modelVersionId] invalid: it is missing",
            "send the version to deploy",
        )
    model, version = await _deployable(platform, tx, owner, spec["modelId"], wanted, spec.get("gate"))
    if not all(char.isascii() and (char.isalnum() or char in "-_") for char in spec["uri"]):
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[uri] invalid: {spec['uri']!r}",
            "use letters, digits, - and _ only",
        )
    service = await tx.add(
        Service(
            owner_id=owner,
            name=spec["name"],
            uri=await _endpoint(tx, spec["uri"]),
            description=spec.get("description", ""),
            model_id=model.id,
            version_id=version.id,
            replicas=spec.get("replicas", 1),
            pool_type=spec.get("poolType", DeployPoolType.PrivateResource.value),
            terms=terms,
        )
    )
    await _enqueue(platform, tx, service)
    await count(tx, version.id)
    return service


async def get(tx: Tx, owner: int | None, ident: Id) -> Service:
    return await tx.one(Service, ident, owner=owner, noun="service")


async def page(
    tx: Tx, owner: int, marker: str | None, size: int, oldest_first: bool, *where: Any
) -> tuple[list[Service], str | None]:
    """One page of the account's services, newest first, and the marker of the next: its first item's id."""
    conditions = list(where)
    if marker:
        first = await tx.one(Service, marker, owner=owner, noun="marker")
        conditions.append(Service.id >= first.id if oldest_first else Service.id <= first.id)
    order = Service.id if oldest_first else Service.id.desc()
    rows = await tx.find(Service, *conditions, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def modify(
    platform: Platform,
    tx: Tx,
    owner: int,
    ident: Id,
    *,
    model: Id | None = None,
    version: Id | None = None,
    gate: Mapping[str, Any] | None = None,
) -> Service:
    """Let a service answer with another version. A running one changes without a pause: the old version answers
    until the new one is proven; if it cannot be, the old one goes on, and `update_reason` says why."""
    service = await get(tx, owner, ident)
    if version is None:
        if model is not None:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                "param[modelId] invalid: it is missing",
                "send the version to change to",
            )
        return service
    owning, wanted = await _deployable(platform, tx, owner, model, version, gate)
    if service.status in (ServiceStatus.New, ServiceStatus.Deploying) or service.update_status == UPDATING:
        raise Fault(
            errors.WRONG_STATE,
            f"service {service.id} is being {'updated' if service.update_status == UPDATING else 'deployed'} now",
            "wait until that is over, or stop it first",
        )
    if wanted.id == service.version_id:
        return service
    if service.status == ServiceStatus.Done:
        service.next_version_id, service.update_status, service.update_reason = wanted.id, UPDATING, ""
        queued = await jobs.enqueue(
            tx, "serving.update", owner=owner, args={"service_id": service.id}, slot="serve"
        )
        service.update_job_id = queued.id
        await count(tx, wanted.id)
        return service
    before, service.version_id, service.model_id = service.version_id, wanted.id, owning.id
    for changed in (before, wanted.id):
        await count(tx, changed)
    return service


def rename(service: Service, *, name: str | None = None, description: str | None = None) -> None:
    """Other words for a service; its endpoint stays."""
    service.name = service.name if name is None else name
    service.description = service.description if description is None else description


async def scale(platform: Platform, tx: Tx, owner: int, ident: Id, replicas: int) -> Service:
    """Have so many engines for a service, from 1 to 64; the change comes while it answers."""
    service = await get(tx, owner, ident)
    service.replicas = replicas
    if service.terms and "resourceConfig" in service.terms:
        service.terms = {
            **service.terms,
            "resourceConfig": {**service.terms["resourceConfig"], "replicasCount": replicas},
        }
    tx.after_commit(platform.fleet.tell_changed)
    return service


async def stop(platform: Platform, tx: Tx, owner: int, ident: Id) -> Service:
    """Take a service offline: who is being answered is answered to the end, nobody else is. It stays on the list."""
    service = await get(tx, owner, ident)
    if service.status == ServiceStatus.Stopped:
        return service
    await _cancel(tx, service)
    leaving = [service.version_id, service.next_version_id]
    await tx.move(service, SERVICE, ServiceStatus.Stopped, reason="", broken=False)
    service.next_version_id, service.update_status = None, ""
    await tx.session.flush()
    for version in leaving:
        await count(tx, version)
    tx.after_commit(platform.fleet.tell_changed)
    return service


async def start(platform: Platform, tx: Tx, owner: int, ident: Id) -> Service:
    """Put a service that is Stopped or Failed online again; looking shows when it is Done."""
    service = await get(tx, owner, ident)
    if service.status not in (ServiceStatus.Stopped, ServiceStatus.Failed):
        return service
    await _deployable(platform, tx, owner, service.model_id, service.version_id)
    await tx.move(service, SERVICE, ServiceStatus.Deploying, reason="", broken=False)
    await _enqueue(platform, tx, service)
    await count(tx, service.version_id)
    return service


async def delete(platform: Platform, tx: Tx, owner: int, ident: Id) -> None:
    """Forget a service, in any state; what it used is freed."""
    service = await get(tx, owner, ident)
    await _cancel(tx, service)
    leaving = [service.version_id, service.next_version_id]
    await tx.delete(service)
    for version in leaving:
        await count(tx, version)
    tx.after_commit(platform.fleet.tell_changed)


async def count(tx: Tx, version_id: int | None) -> None:
    """Keep true how many services use a version: all but those that are Stopped."""
    if version_id is None or await tx.maybe(ModelVersion, ModelVersion.id == version_id) is None:
        return
    using = or_(Service.version_id == version_id, Service.next_version_id == version_id)
    number = await tx.count(Service, using, Service.status != ServiceStatus.Stopped.value)
    await models.mark_serving(tx, version_id, number)


async def _deployable(
    platform: Platform,
    tx: Tx,
    owner: int,
    model_ident: Id | None,
    version_ident: Id,
    gate: Mapping[str, Any] | None = None,
) -> tuple[Model, ModelVersion]:
    """The version with its model, if it is Ready and every gate lets it pass: the model's own, and `gate`."""
    version = await models.version(tx, owner, version_ident)
    model = await models.get(tx, owner, version.model_id if model_ident is None else model_ident)
    if version.model_id != model.id:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"model version {version.id} belongs to model {version.model_id}, not to {model.id}",
            "send ids that belong together",
        )
    if not models.is_ready(version):
        raise Fault(
            errors.WRONG_STATE,
            f"model version {version.id} is {version.status} and cannot be deployed",
            version.reason or "wait until it is Ready",
        )
    await gates.require(platform.catalogue, tx, model, gates.Weights.of(version), "deploy", gate)
    return model, version


async def _endpoint(tx: Tx, suffix: str) -> str:
    """`<8 random characters>_<suffix>` that nobody has."""
    while True:
        uri = f"{random_word(PREFIX_LENGTH)}_{suffix}"
        if await tx.maybe(Service, Service.uri == uri) is None:
            return uri


async def _enqueue(platform: Platform, tx: Tx, service: Service) -> None:
    queued = await jobs.enqueue(
        tx, "serving.deploy", owner=service.owner_id, args={"service_id": service.id}, slot="serve"
    )
    service.job_id = queued.id
    tx.after_commit(platform.fleet.tell_changed)


async def _cancel(tx: Tx, service: Service) -> None:
    for job in (service.job_id, service.update_job_id):
        if job is not None and await tx.maybe(jobs.Job, jobs.Job.id == job) is not None:
            await jobs.cancel(tx, job)


def filters(
    names: str | None = None, kinds: Sequence[str] = (), states: Sequence[ServiceStatus] = ()
) -> list[Any]:
    """Conditions for `page`: a part of the name, types, states."""
    found: list[Any] = [Service.name.contains(names, autoescape=True)] if names else []
    if kinds:
        found.append(Service.api_type.in_(kinds))
    if states:
        found.append(Service.status.in_([state.value for state in states]))
    return found
