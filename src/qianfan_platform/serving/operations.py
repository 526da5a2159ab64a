"""What can be done with services: deploy, look, list, and find who answers for an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qianfan.contract import errors
from qianfan.contract.bodies import CreateService, Id
from qianfan.contract.enums import DeployPoolType, ServiceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.ids import random_word
from qianfan.contract.models import table as presets
from qianfan_platform import jobs
from qianfan_platform.catalogue.catalogue import Served
from qianfan_platform.engines.protocol import Adapter
from qianfan_platform.models import operations as models
from qianfan_platform.models import steps as packages
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .fleet import Want
from .tables import Service

PREFIX_LENGTH = 8


async def create(tx: Tx, owner: int, spec: CreateService) -> Service:
    """A service of a model version that is Ready. Its endpoint is `<8 random characters>_<uri>`."""
    model = await models.get(tx, owner, spec["modelId"])
    wanted = spec.get("modelVersionId", spec.get("iterationId"))
    if wanted is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[modelVersionId] invalid: it is missing",
            "send the version to deploy",
        )
    version = await models.version(tx, owner, wanted)
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
            uri=f"{random_word(PREFIX_LENGTH)}_{spec['uri']}",
            description=spec.get("description", ""),
            model_id=model.id,
            version_id=version.id,
            replicas=spec.get("replicas", 1),
            pool_type=spec.get("poolType", DeployPoolType.PrivateResource.value),
        )
    )
    queued = await jobs.enqueue(
        tx, "serving.deploy", owner=owner, args={"service_id": service.id}, slot="serve"
    )
    service.job_id = queued.id
    return service


async def get(tx: Tx, owner: int | None, ident: Id) -> Service:
    return await tx.one(Service, ident, owner=owner, noun="service")


async def list_services(tx: Tx, owner: int, kinds: Sequence[str] = ()) -> list[Service]:
    """The account's services, newest first."""
    where = [Service.api_type.in_(kinds)] if kinds else []
    return await tx.find(Service, *where, owner=owner, order_by=Service.id.desc())


@dataclass(frozen=True)
class Answering:
    """Who answers for an endpoint. `served` is set for preset names, and says when it is a stand-in."""

    want: Want
    served: Served | None = None
    service_id: int | None = None


def preset(platform: Platform, endpoint: str) -> Answering | None:
    """Who answers for a documented endpoint or model name; None when it is neither."""
    served = platform.catalogue.serves(endpoint)
    return None if served is None else Answering(Want(served.entry.name), served=served)


async def deployed(platform: Platform, tx: Tx, owner: int, endpoint: str) -> Answering:
    """Which of the account's own services answers for `endpoint`. Raises Fault when none does."""
    service = await tx.maybe(Service, Service.uri == endpoint, owner=owner)
    if service is None:
        raise Fault(errors.UNSUPPORTED_METHOD, f"no service answers under the endpoint {endpoint!r}")
    if service.status != ServiceStatus.Done:
        raise Fault(
            errors.UNAVAILABLE,
            f"service {endpoint!r} is {service.status}" + (f": {service.reason}" if service.reason else ""),
            "wait until it is Done" if service.status in ("New", "Deploying") else "deploy it again",
        )
    return Answering(await want_of(platform, tx, service), service_id=service.id)


async def want_of(platform: Platform, tx: Tx, service: Service) -> Want:
    """What the fleet must run for a service."""
    version = await models.version(tx, None, service.version_id)
    if version.package_file is None:
        raise Fault(errors.UNAVAILABLE, f"model version {version.id} has no package", "publish it again")
    package = await platform.files.local(version.package_file)
    adapter, whole = packages.weights_in(package)
    return Want(version.entry, Adapter(version.public_id, adapter) if adapter else None, whole)


def preset_endpoints() -> list[tuple[str, str]]:
    """(name, endpoint) of every documented chat model."""
    return [(row.name, row.path) for row in presets("chat").values()]
