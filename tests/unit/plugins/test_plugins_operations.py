"""Plugins in the database and at work, on a platform of real parts: echo engine, both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller, Gate
from qianfan_platform.accounts.meter import Meter
from qianfan_platform.accounts.vault import Vault
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.weights import Weights
from qianfan_platform.files import DirectoryFiles
from qianfan_platform.files.objects import Objects
from qianfan_platform.inference.operations import Finder
from qianfan_platform.platform import Platform, Settings
from qianfan_platform.plugins import operations, questions
from qianfan_platform.plugins.asking import Asking, Said
from qianfan_platform.plugins.tables import Chunk, Document
from qianfan_platform.serving.fleet import Fleet, Want
from qianfan_platform.store import Store

pytestmark = pytest.mark.anyio

ANN, BOB = 1, 2
SERVICE = {
    "openapi": "3.0.0",
    "servers": [{"url": "https://api.example"}],
    "paths": {"/x": {"get": {"operationId": "x"}}},
}


@pytest.fixture
async def platform(store: Store, tmp_path: Path) -> AsyncIterator[Platform]:
    (tmp_path / "echo.json").write_text(json.dumps({"delay_s": 0.05}), encoding="utf-8")
    override = tmp_path / "catalogue.toml"
    override.write_text(
        '[models.slow]\nengine = "echo"\nsource = "path:echo.json"\n[stand_ins]\nchat = "slow"\nembeddings = "echo"\n',
        encoding="utf-8",
    )
    catalogue, weights = Catalogue.load(override), Weights(tmp_path / "home")
    fleet, meter = Fleet(catalogue, weights), Meter(store)
    fleet.start()
    await meter.start()
    vault = Vault(b"k" * 32)
    try:
        yield Platform(
            settings=Settings(tmp_path / "data"),
            store=store,
            files=DirectoryFiles(tmp_path / "files"),
            objects=Objects(),
            catalogue=catalogue,
            weights=weights,
            fleet=fleet,
            meter=meter,
            gate=Gate(store, vault),
            vault=vault,
        )
    finally:
        await fleet.close()
        await meter.close()


async def test_what_is_another_accounts_does_not_exist(platform: Platform) -> None:
    """Knowledge bases, documents, plugins and endpoints: by either id, and inside another call."""
    async with platform.store.transaction() as tx:
        base = await operations.create_base(tx, ANN, {"name": "secret"})
        document = await operations.add_document(
            tx, platform, ANN, {"knowledgeBaseId": base.id, "text": "hidden"}
        )
        app = await operations.create_plugin(tx, platform, ANN, {"name": "mine", "uri": "mine"})
        await operations.create_base(tx, BOB, {"name": "secret"})  # a name is an account's own
        await operations.create_plugin(tx, platform, BOB, {"name": "his", "uri": "mine"})  # so is an endpoint
    async with platform.store.transaction() as tx:
        for ident in (base.id, base.public_id):
            for attempt in (
                operations.base(tx, BOB, ident),
                operations.documents(tx, BOB, ident, None, 10),
                operations.add_document(tx, platform, BOB, {"knowledgeBaseId": ident, "text": "x"}),
                operations.create_plugin(tx, platform, BOB, {"name": "x", "knowledgeBaseIds": [ident]}),
                operations.delete_base(tx, platform, BOB, ident),
            ):
                with pytest.raises(Fault, match="does not exist"):
                    await attempt
        for attempt in (
            operations.document(tx, BOB, document.public_id),
            operations.delete_document(tx, platform, BOB, document.id),
            operations.plugin(tx, BOB, app.public_id),
            operations.delete_plugin(tx, BOB, app.id),
        ):
            with pytest.raises(Fault, match="does not exist"):
                await attempt
        assert (await operations.plugin_at(tx, BOB, "mine")).name == "his"
        assert (await operations.plugin_at(tx, BOB, operations.ASSISTANT)).bases != [base.id]
        kept = await platform.files.put(b"a file of Ann's", owner=ANN)
        path = f"{operations.LOCAL_PREFIX}{kept.id}"
        with pytest.raises(Fault, match="does not exist"):
            await operations.add_document(tx, platform, BOB, {"knowledgeBaseId": 2, "path": path})


async def test_of_many_that_make_the_same_name_one_wins(platform: Platform) -> None:
    """The others learn that it is taken."""

    async def make() -> str:
        try:
            async with platform.store.transaction() as tx:
                await operations.create_plugin(tx, platform, ANN, {"name": "n", "uri": "same"})
                await operations.create_base(tx, ANN, {"name": "same"})
        except Fault as fault:
            return fault.row.v2
        return "made"

    assert sorted(await asyncio.gather(*(make() for _ in range(8)))) == sorted(
        ["made", *[errors.NAME_TAKEN.v2] * 7]
    )


async def test_deleting_a_document_takes_its_chunks_and_its_bytes(platform: Platform) -> None:
    """A file that was uploaded for itself stays."""
    kept = await platform.files.put(b"uploaded", owner=ANN)
    async with platform.store.transaction() as tx:
        base = await operations.create_base(tx, ANN, {"name": "b"})
        path = f"{operations.LOCAL_PREFIX}{kept.id}"
        first = await operations.add_document(tx, platform, ANN, {"knowledgeBaseId": base.id, "text": "t"})
        second = await operations.add_document(tx, platform, ANN, {"knowledgeBaseId": base.id, "path": path})
        await tx.add(Chunk(document_id=first.id, base_id=base.id, number=0, text="t", terms=b""))
        own = first.file_id
        assert own is not None
    async with platform.store.transaction() as tx:
        await operations.delete_base(tx, platform, ANN, base.id)
    async with platform.store.reading() as tx:
        assert await tx.count(Document) == await tx.count(Chunk) == 0
    assert second.file_id == kept.id
    assert (await platform.files.info(kept.id)).size == 8
    with pytest.raises(Fault, match="does not exist"):
        await platform.files.info(own)


async def test_a_credential_opens_only_for_its_own_tool(platform: Platform) -> None:
    """Sealed under the tool's id: copied to another row it does not open; its repr shows nothing."""
    credential = {"kind": "bearer", "value": "canary-77"}
    tools = [{"name": "one", "openapi": SERVICE, "credential": credential}]
    async with platform.store.transaction() as tx:
        app = await operations.create_plugin(tx, platform, ANN, {"name": "a", "tools": tools})  # type: ignore[typeddict-item]
        [tool] = await operations.tools_of(tx, app)
    assert operations.credential_of(platform, tool) == credential
    assert "canary-77" not in str(tool.credential) + repr(tool) + repr(app)
    tool.public_id = "tool-other"
    with pytest.raises(Exception, match="does not open"):
        operations.credential_of(platform, tool)


async def test_a_name_that_a_tool_has_is_not_given_twice(platform: Platform) -> None:
    """Neither among services and their operations, nor one that is built in."""
    for name in ("x", "clock", operations.KNOWLEDGE):
        tools = [{"name": "y", "openapi": SERVICE}, {"name": name, "openapi": SERVICE}]
        with pytest.raises(Fault, match="is used twice"):
            async with platform.store.transaction() as tx:
                await operations.create_plugin(tx, platform, ANN, {"name": "a", "tools": tools})  # type: ignore[typeddict-item]


async def test_a_reader_who_leaves_stops_the_model(platform: Platform) -> None:
    """Closing the events in the middle of an answer frees the engine at once."""
    caller = Caller(ANN, "", "iam")
    asked = {"query": "one two three four five six seven eight nine ten"}
    question = await questions.of_plugin(platform, caller, "assistant", asked, lambda headers: None)
    find = partial(Finder(platform).find, ANN)
    asking = Asking(platform, find, caller, question, lambda headers: None)
    async with platform.fleet.use(Want("slow")) as (engine, _):
        async with aclosing(asking.events()) as events:
            async for event in events:
                assert isinstance(event, Said)
                assert engine.working == 1  # type: ignore[attr-defined]
                break
        assert engine.working == 0  # type: ignore[attr-defined]


async def test_limits_hold_for_plain_questions_too(platform: Platform) -> None:
    """What needs no model is a request all the same, and is counted."""
    caller = Caller(ANN, "", "iam")
    question = await questions.of_plugin(
        platform, caller, "assistant", {"query": "1+1"}, lambda headers: None
    )
    told: list[object] = []
    asking = Asking(platform, partial(Finder(platform).find, ANN), caller, question, told.append)
    async with aclosing(asking.events()) as events:
        said = [event async for event in events]
    assert "".join(event.text for event in said if isinstance(event, Said)) == "1+1 = 2"
    assert len(told) == 1
