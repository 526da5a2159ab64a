"""Durable work of services: deploy one, and let one answer with another version without a pause.

A service is Done only when tokens came out, and they were those of its version."""

from __future__ import annotations

import logging
from functools import partial

from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import BUSY, Fault
from qianfan.contract.lifecycle import SERVICE
from qianfan_platform.jobs import Retry, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.models import operations as models
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx, utc_now

from . import deployments, operations, proof
from .fleet import Want
from .tables import Service

log = logging.getLogger("qianfan_platform.serving")

WEIGHTS_RETRY_S = 2.0
TRIES = 2  # an engine may be killed while it starts or is asked for its proof: no fault of the version


async def _failed(step: Step, error: BaseException, *, service_id: int) -> None:
    """Failed, and nothing is left behind: no engine, no adapter."""
    async with step.transaction() as tx:
        service = await _now(tx, service_id)
        if service is not None and service.status == ServiceStatus.Deploying:
            await tx.move(service, SERVICE, ServiceStatus.Failed, reason=reason_of(error), broken=False)
        tx.after_commit(step.platform.fleet.tell_changed)


@job("serving.deploy", on_failure=_failed)
async def deploy(step: Step, *, service_id: int) -> None:
    """New → Deploying → Done."""
    platform: Platform = step.platform
    async with step.transaction() as tx:
        service = await _now(tx, service_id)
        if service is not None and service.status == ServiceStatus.New:
            await tx.move(service, SERVICE, ServiceStatus.Deploying)
        tx.after_commit(platform.fleet.tell_changed)
    if service is None or service.status != ServiceStatus.Deploying:
        return  # it was stopped or deleted
    want = await _up(platform, service.version_id, service.replicas)
    async with step.transaction(last=True) as tx:
        service = await _now(tx, service_id)
        if service is not None and service.status == ServiceStatus.Deploying:
            await tx.move(service, SERVICE, ServiceStatus.Done, online_at=utc_now(), broken=False, reason="")
            await deployments.count(tx, service.version_id)
        else:  # it was stopped or deleted meanwhile
            tx.after_commit(partial(platform.fleet.release, want))
        tx.after_commit(platform.fleet.tell_changed)


async def _not_updated(step: Step, error: BaseException, *, service_id: int) -> None:
    """The old version goes on."""
    async with step.transaction() as tx:
        service = await _now(tx, service_id)
        if service is not None and service.next_version_id is not None:
            given_up, service.next_version_id = service.next_version_id, None
            service.update_status, service.update_reason = deployments.UPDATE_FAILED, reason_of(error)
            await tx.session.flush()
            await deployments.count(tx, given_up)
        tx.after_commit(step.platform.fleet.tell_changed)


@job("serving.update", on_failure=_not_updated)
async def update(step: Step, *, service_id: int) -> None:
    """Load and prove the next version beside the one that answers, then let it answer."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        service = await _now(tx, service_id)
    if service is None or service.next_version_id is None:
        return
    following = service.next_version_id
    want = await _up(platform, following, service.replicas)
    async with step.transaction(last=True) as tx:
        service = await _now(tx, service_id)
        if service is not None and service.next_version_id == following:
            before, service.version_id = service.version_id, following
            service.model_id = (await models.version(tx, None, following)).model_id
            service.next_version_id, service.update_status, service.update_reason = None, "", ""
            await tx.session.flush()
            for version in (before, following):
                await deployments.count(tx, version)
        else:  # it was stopped or deleted meanwhile
            tx.after_commit(partial(platform.fleet.release, want))
        tx.after_commit(platform.fleet.tell_changed)


async def _up(platform: Platform, version_id: int, replicas: int) -> Want:
    """Engines that serve a version, proven. Raises Fault, Retry while the weights are on their way."""
    async with platform.store.reading() as tx:
        version = await models.version(tx, None, version_id)
    want = await operations.want_of_version(platform, version)
    for tries in range(1, TRIES + 1):
        try:
            await platform.fleet.bring(want, replicas)
            await proof.prove(platform, want, await proof.cases(platform, version_id))
            break
        except Fault as fault:
            if fault.row is not BUSY and tries < TRIES:
                log.warning("version %s was not served, and is tried again: %s", version_id, fault.text)
                continue
            platform.fleet.release(want)
            if fault.row is BUSY:  # the weights are still on their way
                raise Retry(WEIGHTS_RETRY_S) from fault
            raise
    return want


async def _now(tx: Tx, service_id: int) -> Service | None:
    """The service as it is now; None when it was deleted."""
    return await tx.maybe(Service, Service.id == service_id)
