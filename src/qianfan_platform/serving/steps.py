"""Durable work of deploying: load the weights, and call the service Done only when tokens came out."""

from __future__ import annotations

from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import BUSY, UNAVAILABLE, Fault
from qianfan.contract.lifecycle import SERVICE
from qianfan_platform.engines.protocol import Sampling
from qianfan_platform.jobs import Retry, Step, job
from qianfan_platform.models import operations as models
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now

from . import operations
from .fleet import Want
from .tables import Service

WEIGHTS_RETRY_S = 2.0
PROBE = [{"role": "user", "content": "hi"}]


async def _failed(step: Step, error: BaseException, *, service_id: int) -> None:
    reason = error.text if isinstance(error, Fault) else str(error) or type(error).__name__
    async with step.transaction() as tx:
        service = await operations.get(tx, None, service_id)
        await tx.move(service, SERVICE, ServiceStatus.Failed, reason=reason)


@job("serving.deploy", on_failure=_failed)
async def deploy(step: Step, *, service_id: int) -> None:
    """New → Deploying → Done."""
    platform: Platform = step.platform
    await _begin(step, service_id)
    async with platform.store.reading() as tx:
        want = await operations.want_of(platform, tx, await operations.get(tx, None, service_id))
    try:
        tokens = await _probe(platform, want)
    except Fault as fault:
        if fault.row is BUSY:  # the weights are still on their way
            raise Retry(WEIGHTS_RETRY_S) from fault
        raise
    if not tokens:
        raise Fault(UNAVAILABLE, "the engine is up but gave no token", "see the server's log")
    async with step.transaction(last=True) as tx:
        service = await operations.get(tx, None, service_id)
        await tx.move(service, SERVICE, ServiceStatus.Done, online_at=utc_now())
        count = await tx.count(
            Service, Service.version_id == service.version_id, Service.status != ServiceStatus.Stopped.value
        )
        await models.mark_serving(tx, service.version_id, count)


async def _probe(platform: Platform, want: Want) -> int:
    """How many tokens came out of a short answer."""
    tokens = 0
    async with platform.fleet.use(want) as (engine, adapter):
        async for delta in engine.generate(PROBE, Sampling(max_tokens=4, temperature=0.0), adapter=adapter):
            tokens = delta.completion_tokens or tokens
    return tokens


async def _begin(step: Step, service_id: int) -> None:
    async with step.transaction() as tx:
        service = await operations.get(tx, None, service_id)
        if service.status == ServiceStatus.New:
            await tx.move(service, SERVICE, ServiceStatus.Deploying)
