"""Keeps what runs and what is said of services in step with what should be.

What should be is in the database. Once at the start, whenever something changed, and every few seconds: the fleet is
told what services need; those that should be up and are not are brought up, one after the other; a service whose
engines are broken is Failed and says why, and is Done again when they work again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from qianfan.contract.enums import ServiceStatus
from qianfan.contract.errors import BUSY, Fault
from qianfan.contract.lifecycle import SERVICE
from qianfan_platform.models import operations as models
from qianfan_platform.platform import Platform
from qianfan_platform.store import utc_now

from . import operations
from .fleet import Want
from .tables import Service

log = logging.getLogger("qianfan_platform.serving")

EVERY_S: Final = 5.0
AGAIN_S: Final = (
    0.5,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)  # between tries to bring a service up that cannot be
PATIENCE: Final = (
    3  # tries: an engine may be killed while it starts, and that alone is no failure of the service
)
UP: Final = (ServiceStatus.Done, ServiceStatus.Deploying)


class Reconciler:
    """One for each server."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._wants: dict[int, Want] = {}  # by version; a package never changes
        self._tries: dict[int, tuple[int, float]] = {}  # by service: how often it failed, when to try again
        self._something_changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._bringing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; services come up in the background."""
        self._platform.fleet.changed = self._something_changed.set
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._platform.fleet.changed = None
        for task in (self._running, self._bringing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _run(self) -> None:
        while True:
            self._something_changed.clear()
            try:
                await self.once()
            except Exception:
                log.exception("services could not be looked after; it is tried again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_s()):  # wait_for may swallow a cancellation
                    await self._something_changed.wait()

    def _until_next_s(self) -> float:
        now = time.monotonic()
        return min((EVERY_S, *(due - now for _, due in self._tries.values() if due > now)))

    async def once(self) -> None:
        """Look at every service, and do what can be done at once."""
        fleet = self._platform.fleet
        async with self._platform.store.reading() as tx:
            services = await tx.find(Service, Service.status != ServiceStatus.Stopped.value)
        wanted: dict[Want, int] = {}
        absent: list[Service] = []
        for service in services:
            if service.status not in UP and not service.broken:
                continue
            try:
                needed = [await self._want(service.version_id)]
            except Fault as fault:
                await self._says(service, fault.text)
                continue
            if service.next_version_id:
                with contextlib.suppress(Fault):  # its update says so; the service is well
                    needed.append(await self._want(service.next_version_id))
            for one in needed:
                wanted[one] = max(wanted.get(one, 1), service.replicas)
        fleet.keep(wanted)
        for service in services:
            if (
                service.status != ServiceStatus.Done and not service.broken
            ) or service.version_id not in self._wants:
                continue
            standing = fleet.standing(self._wants[service.version_id])
            if standing is not None and standing.problem:
                await self._says(service, standing.problem)
            elif standing is not None and (standing.running or standing.asleep):
                self._tries.pop(service.id, None)
                await self._works(service)
            else:
                absent.append(service)
        there = {row.id for row in services}
        self._tries = {ident: tries for ident, tries in self._tries.items() if ident in there}
        used = {one for row in services for one in (row.version_id, row.next_version_id)}
        self._wants = {version: want for version, want in self._wants.items() if version in used}
        due = [row for row in absent if self._tries.get(row.id, (0, 0.0))[1] <= time.monotonic()]
        if due and (self._bringing is None or self._bringing.done()):
            self._bringing = asyncio.create_task(self._bring(due))

    async def _bring(self, services: Sequence[Service]) -> None:
        """Bring services up, one after the other: loading several at once would slow down all."""
        for service in services:
            tries, _ = self._tries.get(service.id, (0, 0.0))
            try:
                await self._platform.fleet.bring(await self._want(service.version_id), service.replicas)
                self._tries.pop(service.id, None)
                continue
            except Fault as fault:
                if fault.row is BUSY:  # its weights are on their way
                    continue
                reason = fault.text
            except Exception as error:
                log.exception("service %s did not come up", service.id)
                reason = str(error) or type(error).__name__
            self._tries[service.id] = (tries + 1, time.monotonic() + AGAIN_S[min(tries, len(AGAIN_S) - 1)])
            if tries + 1 >= PATIENCE:
                await self._says(service, reason)
            else:
                log.warning("service %s did not come up, and is tried again: %s", service.id, reason)
        self._something_changed.set()

    async def _want(self, version_id: int) -> Want:
        if version_id not in self._wants:
            async with self._platform.store.reading() as tx:
                version = await models.version(tx, None, version_id)
            self._wants[version_id] = await operations.want_of_version(self._platform, version)
        return self._wants[version_id]

    async def _says(self, service: Service, reason: str) -> None:
        """Done → Failed; what it says follows the reason, not each of its repetitions."""
        if service.status != ServiceStatus.Done:
            return
        log.error("service %s is Failed: %s", service.id, reason)
        await self._move(service, [ServiceStatus.Failed], reason=reason[:2000], broken=True)

    async def _works(self, service: Service) -> None:
        """Failed → Done."""
        if service.status == ServiceStatus.Failed:
            log.info("service %s works again", service.id)
            await self._move(
                service,
                [ServiceStatus.Deploying, ServiceStatus.Done],
                reason="",
                broken=False,
                online_at=utc_now(),
            )

    async def _move(self, service: Service, states: Sequence[ServiceStatus], **values: Any) -> None:
        with contextlib.suppress(Fault):  # it was stopped, deleted or started meanwhile
            async with self._platform.store.transaction() as tx:
                row = await tx.one(Service, service.id)
                if row.status != service.status:
                    return
                for state in states:
                    await tx.move(row, SERVICE, state, **values)
