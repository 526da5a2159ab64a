"""Who answers for an endpoint: a preset model, a service of the account, or a model version that has none.

What can be done with services themselves is in `deployments.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from qianfan.contract import errors
from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.models import table as documented
from qianfan_platform.catalogue.catalogue import KINDS, Kind, Served
from qianfan_platform.engines.protocol import Adapter
from qianfan_platform.models import operations as models
from qianfan_platform.models import steps as packages
from qianfan_platform.models.tables import ModelVersion
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .fleet import Want
from .tables import Service

# Numbers of the platform's own services: no deployed one has them, and typed clients read 32 bits
FIRST_PRESET: Final = 2_000_000_001
CHARS_PER_TOKEN: Final = 8  # a text with more characters than this for each token of the context never fits

LOCAL_PICTURES: Final = '(or engine = "pictures", source = "path:FOLDER")'

WHAT_TO_DO: Final = {
    ServiceStatus.New: "wait until it is Done",
    ServiceStatus.Deploying: "wait until it is Done",
    ServiceStatus.Failed: "look at the service's reason, then start it again",
    ServiceStatus.Stopped: "start it again",
}

TRIED_AGAIN: Final = "it is tried again by itself; mend what the reason names"

# Who else is looked at when nobody of a kind has the name: what completes a prompt, or sees, can chat as well
ALSO: Final[dict[Kind, tuple[Kind, ...]]] = {"chat": ("completions", "image2text"), "completions": ("chat",)}


@dataclass(frozen=True)
class Answering:
    """Who answers for an endpoint. `served` is set for preset names, and says when it is a stand-in.

    name: under which usage is counted. max_chars: characters of a prompt that surely does not fit, 0 for none.
    served_by: what the caller is told of it, in ASCII; "" for the account's own service."""

    want: Want
    served: Served | None = None
    service_id: int | None = None
    name: str = ""
    kind: Kind = "chat"
    max_chars: int = 0
    served_by: str = ""


def preset(platform: Platform, endpoint: str, kind: Kind | None = None) -> Answering | None:
    """Who answers for a documented endpoint or model name; None when it is neither.

    kind: what is asked of it; None takes any."""
    for one in (kind, *ALSO.get(kind, ())) if kind else (None,):
        served = platform.catalogue.serves(endpoint, one)
        if served is not None:
            return Answering(
                Want(served.entry.name),
                served=served,
                name=served.name,
                kind=kind or served.kind,
                max_chars=_max_chars(served),
                served_by=quote(served.entry.name, safe=" ()+,:@/")
                + ("; stand-in" if served.stand_in else ""),
            )
    return None


def _max_chars(served: Served) -> int:
    """The documented limit, unless what really serves can take more."""
    row = documented(served.kind).get(served.name)
    context = served.entry.context
    if row is not None and row.chars is not None and context <= (row.tokens or context):
        return row.chars
    return context * CHARS_PER_TOKEN


def nobody_serves(endpoint: str, kind: Kind | None = None) -> Fault:
    """Why nobody answers for `endpoint`: it is unknown, or this platform has no engine for its kind."""
    shown = endpoint[:64]
    for one in (kind, *ALSO.get(kind, ())) if kind else KINDS:
        for row in documented(one).values():
            if endpoint.lower() in (row.name.lower(), row.path.lower()):
                local = f" {LOCAL_PICTURES}" if one in ("text2image", "image2text") else ""
                return Fault(
                    errors.UNSUPPORTED_METHOD,
                    f"no engine of this platform serves {row.name} ({one})",
                    "add one to the catalogue, such as an OpenAI-compatible server: "
                    f'[models.NAME] engine = "upstream", source = "openai:http://HOST:PORT/v1", kinds = ["{one}"]{local} '
                    f'and [stand_ins] {one} = "NAME"; see docs/guides/catalogue.md',
                )
    return Fault(errors.UNSUPPORTED_METHOD, f"no service answers under the endpoint {shown!r}")


async def list_services(tx: Tx, owner: int, kinds: Sequence[str] = ()) -> list[Service]:
    """The account's services, newest first."""
    where = [Service.api_type.in_(kinds)] if kinds else []
    return await tx.find(Service, *where, owner=owner, order_by=Service.id.desc())


async def deployed(
    platform: Platform, tx: Tx, owner: int, endpoint: str, kind: Kind | None = None
) -> Answering:
    """Which of the account's own services answers for `endpoint`. Raises Fault when none does."""
    service = await tx.maybe(Service, Service.uri == endpoint, owner=owner)
    own: Kind = "chat" if service is None else service.api_type  # type: ignore[assignment]
    if service is None or kind not in (None, own, *ALSO.get(own, ())):
        raise nobody_serves(endpoint, kind)
    if service.status != ServiceStatus.Done:
        raise Fault(
            errors.UNAVAILABLE,
            f"service {endpoint!r} is {service.status}" + (f": {service.reason}" if service.reason else ""),
            TRIED_AGAIN if service.broken else WHAT_TO_DO[ServiceStatus(service.status)],
        )
    want = await want_of(platform, tx, service)
    return Answering(
        want,
        service_id=service.id,
        name=service.uri,
        kind=kind or own,
        max_chars=platform.fleet.entry_of(want).context * CHARS_PER_TOKEN,
    )


async def want_of(platform: Platform, tx: Tx, service: Service) -> Want:
    """What the fleet must run for a service."""
    return await want_of_version(platform, await models.version(tx, None, service.version_id))


async def of_version(platform: Platform, version: ModelVersion) -> Answering:
    """Who answers for a model version that no service needs to be deployed for."""
    want = await want_of_version(platform, version)
    context = platform.fleet.entry_of(want).context
    return Answering(want, name=version.public_id, kind="chat", max_chars=context * CHARS_PER_TOKEN)


async def want_of_version(platform: Platform, version: ModelVersion) -> Want:
    """What the fleet must run for a model version."""
    if version.package_file is None:
        raise Fault(errors.UNAVAILABLE, f"model version {version.id} has no package", "publish it again")
    package = await platform.files.local(version.package_file)
    adapter, whole = packages.weights_in(package)
    named = Adapter(version.public_id, adapter) if adapter else None
    return Want(version.entry, named, whole, version.context)


def presets(platform: Platform, kinds: Sequence[str] = ()) -> list[tuple[int, Served]]:
    """(number, model) of everything that every account may call here, of the kinds asked for.

    The number stays the same whatever kinds are asked for, and is never that of a service somebody deployed."""
    return [
        (number, served)
        for number, served in enumerate(platform.catalogue.names(), FIRST_PRESET)
        if not kinds or served.kind in kinds
    ]
