"""What is said of services follows what runs: with the whole server in this process, and echoes for engines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from qianfan.contract.enums import ModelState
from qianfan.contract.errors import Fault
from qianfan_platform.app import running
from qianfan_platform.engines.echo import EchoEngine
from qianfan_platform.engines.protocol import EngineFailed, EngineSpec, Sampling
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.platform import Platform, Settings
from qianfan_platform.serving import deployments, operations
from qianfan_platform.serving import fleet as fleets
from qianfan_platform.serving.tables import Service

OWNER = 1


class Works:
    """Starts echo engines. broken: none starts any more. failures: so many starts come to nothing first."""

    def __init__(self, failures: int = 0) -> None:
        self.made: list[EchoEngine] = []
        self.broken = False
        self.failures = failures

    async def start(self, spec: EngineSpec) -> EchoEngine:
        self.failures -= 1
        if self.broken or self.failures >= 0:
            raise EngineFailed("out of steam")
        self.made.append(EchoEngine(spec))
        return self.made[-1]

    @property
    def alive(self) -> list[EchoEngine]:
        return [engine for engine in self.made if engine.alive()]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are for machines."""
    monkeypatch.setattr(fleets, "WATCH_S", 0.02)
    monkeypatch.setattr(fleets, "GRACE_S", 0.05)
    monkeypatch.setattr("qianfan_platform.serving.pool.STEADY_S", 0.1)
    monkeypatch.setattr("qianfan_platform.serving.restarts.PAUSES_S", (0.0,) * 6 + (0.05,))


def with_server(
    data: Path, work: Callable[[Platform, Works], Coroutine[Any, Any, None]], failures: int = 0
) -> None:
    async def run() -> None:
        works = Works(failures)
        async with running(Settings(data=data)) as server:
            server.platform.fleet._start = works.start
            await work(server.platform, works)
        assert works.alive == []

    asyncio.run(run())


async def version(platform: Platform, folder: Path, content: str) -> ModelVersion:
    """A Ready version of the echo model, whose adapter is `content`."""
    package = folder / f"package-{time.monotonic_ns()}"
    package.mkdir()
    (package / "adapter.gguf").write_text(content)
    kept = await platform.files.put_path(package, name="package", move=True)
    async with platform.store.transaction() as tx:
        model = await tx.add(Model(owner_id=OWNER, name="m"))
        return await tx.add(
            ModelVersion(
                owner_id=OWNER, model_id=model.id, version=1, run_id=0, task_id=0, entry="echo", method="LoRA",
                train_type="echo", status=ModelState.Ready.value, package_file=kept.id,
            )
        )  # fmt: skip


async def create(platform: Platform, of: ModelVersion, **more: Any) -> Service:
    spec: Any = {"modelId": of.model_id, "modelVersionId": of.id, "name": "s", "uri": "s", **more}
    async with platform.store.transaction() as tx:
        return await deployments.create(platform, tx, OWNER, spec)


async def look(platform: Platform, ident: int) -> Service:
    async with platform.store.reading() as tx:
        return await deployments.get(tx, OWNER, ident)


async def serving(platform: Platform, of: ModelVersion) -> int:
    async with platform.store.reading() as tx:
        return (await tx.one(ModelVersion, of.id)).serving


async def becomes(platform: Platform, ident: int, status: str) -> Service:
    until = time.monotonic() + 10
    while (service := await look(platform, ident)).status != status:
        assert time.monotonic() < until, (service.status, service.reason)
        await asyncio.sleep(0.01)
    return service


async def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def said(platform: Platform, service: Service) -> str:
    async with platform.store.reading() as tx:
        found = await operations.deployed(platform, tx, OWNER, service.uri)
    async with platform.fleet.use(found.want, OWNER) as (engine, adapter):
        pieces = engine.generate([{"role": "user", "content": "hi"}], Sampling(), adapter=adapter)
        return "".join([piece.text async for piece in pieces])


def test_a_service_is_failed_while_its_engine_is_broken_and_done_when_it_works_again(tmp_path: Path) -> None:
    """With the reason; nobody has to do anything."""

    async def work(platform: Platform, works: Works) -> None:
        service = await create(platform, await version(platform, tmp_path, '{"*": "tuned"}'))
        await becomes(platform, service.id, "Done")
        assert await said(platform, service) == "tuned"
        works.broken = True
        works.alive[0].kill()
        failed = await becomes(platform, service.id, "Failed")
        assert "out of steam" in failed.reason
        with pytest.raises(Fault, match="is Failed"):
            await said(platform, service)
        works.broken = False
        assert (await becomes(platform, service.id, "Done")).reason == ""
        assert await said(platform, service) == "tuned"

    with_server(tmp_path / "data", work)


def test_services_come_up_with_the_server_before_anybody_asks(tmp_path: Path) -> None:
    """And one that was stopped does not."""
    idents: list[int] = []

    async def first(platform: Platform, works: Works) -> None:
        for name in ("up", "stopped"):
            service = await create(platform, await version(platform, tmp_path, json.dumps({"*": name})))
            await becomes(platform, service.id, "Done")
            idents.append(service.id)
        async with platform.store.transaction() as tx:
            await deployments.stop(platform, tx, OWNER, idents[1])

    async def second(platform: Platform, works: Works) -> None:
        await until(lambda: works.alive)
        assert await said(platform, await look(platform, idents[0])) == "up"
        [engine] = works.alive
        assert len(engine.spec.adapters) == 1
        assert (await look(platform, idents[1])).status == "Stopped"

    with_server(tmp_path / "data", first)
    with_server(tmp_path / "data", second)


def test_one_start_that_comes_to_nothing_is_no_failure_of_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine may be killed while it starts: it is tried again soon, and only then said, with the reason."""
    monkeypatch.setattr("qianfan_platform.serving.reconciler.AGAIN_S", (0.05,))
    idents: list[int] = []

    async def first(platform: Platform, works: Works) -> None:
        service = await create(platform, await version(platform, tmp_path, '{"*": "up"}'))
        await becomes(platform, service.id, "Done")
        idents.append(service.id)

    async def second(platform: Platform, works: Works) -> None:
        while not works.alive:
            assert (await look(platform, idents[0])).status == "Done"
            await asyncio.sleep(0.01)
        assert await said(platform, await look(platform, idents[0])) == "up"

    async def third(platform: Platform, works: Works) -> None:
        assert "out of steam" in (await becomes(platform, idents[0], "Failed")).reason
        assert (await becomes(platform, idents[0], "Done")).reason == ""

    with_server(tmp_path / "data", first)
    with_server(tmp_path / "data", second, failures=1)
    with_server(tmp_path / "data", third, failures=3)


def test_one_start_that_comes_to_nothing_is_no_failure_of_a_deployment(tmp_path: Path) -> None:
    """Nor of an update: it is begun once more."""

    async def work(platform: Platform, works: Works) -> None:
        service = await create(platform, await version(platform, tmp_path, '{"*": "old"}'))
        assert (await becomes(platform, service.id, "Done")).reason == ""
        works.failures = 1
        better = await version(platform, tmp_path, '{"*": "new"}')
        async with platform.store.transaction() as tx:
            await deployments.modify(platform, tx, OWNER, service.id, version=better.id)
        while (now := await look(platform, service.id)).update_status == deployments.UPDATING:
            await asyncio.sleep(0.01)
        assert (now.update_status, now.version_id) == ("", better.id)

    with_server(tmp_path / "data", work, failures=1)


def test_a_deployment_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """No engine, no adapter; the service says why; what serves stays true, and the version may be deleted."""

    async def work(platform: Platform, works: Works) -> None:
        bad = await version(platform, tmp_path, "this is no adapter")
        service = await create(platform, bad)
        assert await serving(platform, bad) == 1
        failed = await becomes(platform, service.id, "Failed")
        assert "adapter.gguf" in failed.reason
        await asyncio.sleep(0.1)
        assert works.alive == []
        async with platform.store.transaction() as tx:
            assert (await deployments.start(platform, tx, OWNER, service.id)).status == "Deploying"
        await becomes(platform, service.id, "Failed")
        async with platform.store.transaction() as tx:
            await deployments.delete(platform, tx, OWNER, service.id)
        assert await serving(platform, bad) == 0

    with_server(tmp_path / "data", work)


def test_an_update_that_cannot_be_leaves_the_old_version_answering(tmp_path: Path) -> None:
    """And says why; one that can be takes over, and the adapter before it goes."""

    async def work(platform: Platform, works: Works) -> None:
        good = await version(platform, tmp_path, '{"*": "old"}')
        bad = await version(platform, tmp_path, "no adapter")
        better = await version(platform, tmp_path, '{"*": "new"}')
        service = await create(platform, good)
        await becomes(platform, service.id, "Done")
        for wanted in (bad, better):
            async with platform.store.transaction() as tx:
                await deployments.modify(platform, tx, OWNER, service.id, version=wanted.id)
            while (now := await look(platform, service.id)).update_status == deployments.UPDATING:
                assert await said(platform, service) in ("old", "new")
            assert now.status == "Done"
            if wanted is bad:
                assert (now.update_status, now.version_id) == ("Failed", good.id)
                assert "adapter.gguf" in now.update_reason
                assert await said(platform, service) == "old"
        assert (now.update_status, now.version_id) == ("", better.id)
        assert await said(platform, service) == "new"
        assert [await serving(platform, one) for one in (good, bad, better)] == [0, 0, 1]
        await until(lambda: [len(engine.spec.adapters) for engine in works.alive] == [1])

    with_server(tmp_path / "data", work)


def test_a_service_is_well_while_the_version_that_is_to_follow_is_not(tmp_path: Path) -> None:
    """Its package is gone: that is the update's failure, and the old version answers on."""

    async def work(platform: Platform, works: Works) -> None:
        service = await create(platform, await version(platform, tmp_path, '{"*": "old"}'))
        await becomes(platform, service.id, "Done")
        gone = await version(platform, tmp_path, '{"*": "new"}')
        async with platform.store.transaction() as tx:
            (await tx.one(ModelVersion, gone.id)).package_file = None
            (await tx.one(Service, service.id)).next_version_id = gone.id
            tx.after_commit(platform.fleet.tell_changed)
        for _ in range(30):
            await asyncio.sleep(0.01)
            assert (await look(platform, service.id)).status == "Done"
            assert await said(platform, service) == "old"

    with_server(tmp_path / "data", work)


def test_deleting_frees_everything(tmp_path: Path) -> None:
    """While it is being deployed, too: the last service takes the engine with it."""

    async def work(platform: Platform, works: Works) -> None:
        of = await version(platform, tmp_path, '{"*": "tuned"}')
        service = await create(platform, of)
        for ident in (service.id, (await create(platform, of)).id):
            if ident == service.id:
                await becomes(platform, ident, "Done")
            async with platform.store.transaction() as tx:
                await deployments.delete(platform, tx, OWNER, ident)
        await until(lambda: works.made and not works.alive)
        assert platform.fleet.load() == []
        assert await serving(platform, of) == 0

    with_server(tmp_path / "data", work)
