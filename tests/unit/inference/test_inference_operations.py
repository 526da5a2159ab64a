"""Who answers, what is held while they do, and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.console import serving as serving_http

from qianfan.contract import errors
from qianfan.contract.enums import ModelState, ServiceStatus
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.app import Running, running
from qianfan_platform.inference import conversations, operations
from qianfan_platform.inference.operations import Finder
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.platform import Platform, Settings
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.tables import Service

pytestmark = pytest.mark.anyio

OWNER = 1  # the first account
CALLER = Caller(OWNER, "", "iam")
CATALOGUE = """\
[models.slow]
engine = "echo"
source = "path:slow.json"
kinds = ["chat", "completions"]
parallel = 1
[stand_ins]
chat = "echo"
completions = "slow"
embeddings = ""
training = ""
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A whole platform in this process."""
    (tmp_path / "slow.json").write_text(json.dumps({"delay_s": 0.02}), encoding="utf-8")
    (tmp_path / "catalogue.toml").write_text(CATALOGUE, encoding="utf-8")
    settings = Settings(data=tmp_path / "data", catalogue=tmp_path / "catalogue.toml")
    async with running(settings) as server:
        yield server


@pytest.fixture
async def platform(server: Running) -> Platform:
    return server.platform


def prompt(text: str, **body: Any) -> conversations.Prompt:
    return conversations.of_v1({"messages": [{"role": "user", "content": text}], **body})


async def usage(platform: Platform, model: str) -> tuple[int, int, int, int]:
    """Requests, those cut, tokens of prompts and of answers."""
    await platform.meter.flush()
    rows = [row for row in await platform_usage(platform) if row.model == model]
    return (
        sum(row.requests for row in rows), sum(row.cut for row in rows),
        sum(row.prompt_tokens for row in rows), sum(row.completion_tokens for row in rows),
    )  # fmt: skip


async def platform_usage(platform: Platform) -> list[Any]:
    from sqlalchemy import select

    from qianfan_platform.accounts.tables import Usage

    async with platform.store.reading() as tx:
        return list((await tx.execute(select(Usage))).scalars())


async def deploy(platform: Platform, tmp_path: Path, uri: str, status: ServiceStatus) -> None:
    """A service on the echo engine; its adapter makes it say `deployed` to everything."""
    package = tmp_path / uri
    package.mkdir()
    (package / "adapter.gguf").write_text(json.dumps({"*": "deployed"}), encoding="utf-8")
    kept = await platform.files.put_path(package, name="package", move=True)
    async with platform.store.transaction() as tx:
        model = await tx.add(Model(owner_id=OWNER, name=uri))
        version = await tx.add(
            ModelVersion(
                owner_id=OWNER, model_id=model.id, version=1, run_id=1, task_id=1, entry="echo",
                method="LoRA", train_type="", status=ModelState.Ready.value, package_file=kept.id,
            )
        )  # fmt: skip
        await tx.add(
            Service(
                owner_id=OWNER, name=uri, uri=uri, model_id=model.id, version_id=version.id, replicas=1,
                pool_type=2, status=status.value,
            )
        )  # fmt: skip


async def said(platform: Platform, answering: serving.Answering, text: str) -> str:
    async with operations.answer(platform, CALLER, answering, prompt(text)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def test_names_endpoints_and_kinds_are_told_apart(platform: Platform) -> None:
    """A chat model chats and completes; it does not embed, and nothing embeds here at all."""
    finder = Finder(platform)
    assert (await finder.find(OWNER, "eb-instant")).name == "ERNIE-Bot-turbo"
    assert (await finder.find(OWNER, "ernie-bot-turbo", "completions")).kind == "completions"
    assert (await finder.find(OWNER, "sqlcoder_7b", "chat")).want.entry == "slow"
    for name, kind, says in (
        ("eb-instant", "embeddings", "no service answers"),
        ("embedding-v1", "chat", "no service answers"),
        ("embedding-v1", "embeddings", "no engine of this platform serves Embedding-V1"),
        ("Fuyu-8B", "image2text", "no engine of this platform serves Fuyu-8B"),
    ):
        with pytest.raises(Fault, match=says) as refused:
            await finder.find(OWNER, name, kind)
        assert refused.value.row is errors.UNSUPPORTED_METHOD
    assert "docs/guides/catalogue.md" in refused.value.text


async def test_the_accounts_own_service_answers_to_its_owner_alone(
    platform: Platform, tmp_path: Path
) -> None:
    """With its adapter, under the path of chat and of completion, once it is Done."""
    await deploy(platform, tmp_path, "abcd1234_mine", ServiceStatus.Done)
    await deploy(platform, tmp_path, "abcd1234_later", ServiceStatus.Deploying)
    finder = Finder(platform)
    for kind in (None, "chat", "completions"):
        answering = await finder.find(OWNER, "abcd1234_mine", kind)
        assert await said(platform, answering, "hello") == "deployed"
    assert answering.service_id is not None
    with pytest.raises(Fault, match="no service") as foreign:
        await finder.find(OWNER + 1, "abcd1234_mine")
    assert foreign.value.row is errors.UNSUPPORTED_METHOD
    with pytest.raises(Fault, match="no service"):
        await finder.find(OWNER, "abcd1234_mine", "embeddings")
    with pytest.raises(Fault, match="Deploying") as early:
        await finder.find(OWNER, "abcd1234_later")
    assert early.value.row is errors.UNAVAILABLE


async def test_the_accounts_own_service_is_listed_where_clients_look(server: Running, tmp_path: Path) -> None:
    """By its endpoint among the models of V2, with its URL in the list that V1 clients read."""
    await deploy(server.platform, tmp_path, "abcd1234_mine", ServiceStatus.Done)
    await deploy(server.platform, tmp_path, "abcd1234_later", ServiceStatus.Deploying)
    keys = json.loads((tmp_path / "data" / "credentials.json").read_text())
    async with serving_http(server.app) as client:
        query = f"grant_type=client_credentials&client_id={keys['ak']}&client_secret={keys['sk']}"
        token = (await client.ask(f"/oauth/2.0/token?{query}", {})).json["access_token"]
        models = (await client.ask(f"/v2/models?access_token={token}", method="GET")).json["data"]
        assert [row["id"] for row in models if row["owned_by"] == "account"] == ["abcd1234_mine"]
        one = await client.ask(f"/v2/models/abcd1234_mine?access_token={token}", method="GET")
        assert one.json == models[-1]
        asked = {"model": "abcd1234_mine", "messages": [{"role": "user", "content": "hi"}]}
        chat = await client.ask(f"/v2/chat/completions?access_token={token}", asked)
        assert chat.json["choices"][0]["message"]["content"] == "deployed"
        assert "x-qianfan-served-by" not in chat.headers
        listed = (await client.ask(f"/wenxinworkshop/service/list?access_token={token}", {})).json["result"]
        urls = {row["name"]: row["url"] for row in listed["custom"]}
        path = urls["abcd1234_mine"].removeprefix(f"http://127.0.0.1:{client.port}")
        said = await client.ask(f"{path}?access_token={token}", {"messages": asked["messages"]})
        assert said.json["result"] == "deployed"


async def test_what_came_out_is_counted(platform: Platform) -> None:
    """By the engine's own counts, under the name that was asked for."""
    answering = await Finder(platform).find(OWNER, "eb-instant", "chat")
    assert await said(platform, answering, "one two three") == "one two three"
    assert await usage(platform, "ERNIE-Bot-turbo") == (1, 0, 3, 3)
    vectors = await operations.embed(
        platform, CALLER, await Finder(platform).find(OWNER, "echo", "embeddings"), ["a b", "c"]
    )
    assert len(vectors.rows) == 2
    assert await usage(platform, "echo") == (1, 0, 3, 0)


async def test_a_reader_who_leaves_has_been_counted_and_holds_nothing(platform: Platform) -> None:
    """What was handed over counts; the place is free for the next at once."""
    answering = await Finder(platform).find(OWNER, "slow", "chat")
    async with operations.answer(platform, CALLER, answering, prompt("word " * 500)) as deltas:
        for _ in range(3):
            await anext(deltas)
    async with asyncio.timeout(2):
        assert await said(platform, answering, "next") == "next"
    requests, _, prompt_tokens, completion_tokens = await usage(platform, "slow")
    assert (requests, completion_tokens) == (2, 3 + 1)
    assert prompt_tokens > 500

    async def endless() -> None:
        await said(platform, answering, "word " * 500)

    task = asyncio.create_task(endless())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await usage(platform, "slow"))[:2] == (3, 1)
    async with asyncio.timeout(2):
        assert await said(platform, answering, "next") == "next"


async def test_a_prompt_that_does_not_fit_is_told_before_and_by_the_engine(platform: Platform) -> None:
    """Characters at once, without a place; tokens when the engine has counted them."""
    finder = Finder(platform)
    with pytest.raises(Fault, match="the max input characters is 65536") as chars:
        await said(platform, await finder.find(OWNER, "echo", "chat"), "x" * 70_000)
    assert chars.value.row is errors.TOO_LONG
    with pytest.raises(Fault, match="Prompt tokens too long") as tokens:
        await said(platform, await finder.find(OWNER, "echo", "chat"), "x " * 9_000)
    assert tokens.value.row is errors.TOKENS_TOO_LONG


async def test_the_documented_limit_holds_for_a_stand_in_that_takes_no_more(platform: Platform) -> None:
    """A larger context than the documented one raises it."""
    assert (await Finder(platform).find(OWNER, "ERNIE-3.5-128K", "chat")).max_chars == 516_096
    assert (
        await Finder(platform).find(OWNER, "eb-instant", "chat")
    ).max_chars == 8192 * serving.CHARS_PER_TOKEN


async def test_what_an_engine_cannot_do_is_the_callers_mistake(platform: Platform) -> None:
    """Its own words, with the code of a wrong parameter; the seat and the place are given back."""
    answering = await Finder(platform).find(OWNER, "tiny", "chat")
    with pytest.raises(Fault) as refused:
        await operations.embed(platform, CALLER, answering, ["a"])
    assert refused.value.row is errors.PARAMETER
    assert platform.meter.requests == 1


async def test_an_engine_that_ends_in_an_answer_ends_the_answer(platform: Platform) -> None:
    """With an error that says so, after the pieces that were there; a new engine answers the next."""
    answering = await Finder(platform).find(OWNER, "echo", "chat")
    pieces: list[str] = []

    async def broken_off() -> None:
        async with operations.answer(platform, CALLER, answering, prompt("one two three")) as deltas:
            async for delta in deltas:
                pieces.append(delta.text)
                async with platform.fleet.use(answering.want, OWNER) as (engine, _):
                    await engine.close()

    with pytest.raises(Fault, match="in the middle of an answer") as broken:
        await broken_off()
    assert broken.value.row is errors.UNAVAILABLE
    assert pieces == ["one"]
    assert await said(platform, answering, "again") == "again"
    assert await usage(platform, "echo") == (2, 0, 4 + 1, 1 + 1)
