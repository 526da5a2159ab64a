"""Upstreams: a real OpenAI-compatible server behind the engine, and one platform behind another."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qianfan
from qianfan import embedded
from qianfan_platform.catalogue import tiny
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.catalogue.specs import spec_for
from qianfan_platform.engines.child import Child
from qianfan_platform.engines.llamacpp.engine import MODULE
from qianfan_platform.engines.llamacpp.pack import model_to_gguf
from qianfan_platform.engines.llamacpp.server import Launch, Use
from qianfan_platform.engines.protocol import (
    Delta,
    EngineFailed,
    EngineSpec,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Tool,
)
from qianfan_platform.engines.start import start
from qianfan_platform.engines.upstream.engine import UpstreamEngine

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KEY = "a-key-that-no-error-may-hold-" + secrets.token_hex(4)
ASK = [{"role": "user", "content": "Tell me of the fox."}]
SHORT = Sampling(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run a coroutine in the one event loop of the module."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder / "hf")
    model_to_gguf(folder / "hf", folder / "tiny.gguf", dtype="f32")
    return folder / "tiny.gguf"


@pytest.fixture(scope="module")
def server(gguf: Path, run: Run) -> Iterator[Callable[[Use], str]]:
    """llama.cpp's own OpenAI-compatible server, which asks for a key; gives the base URL."""
    children: dict[str, Child] = {}

    def serving(use: Use = "answers") -> str:
        if use not in children:
            launch = Launch(str(gguf), KEY, context=1024, parallel=2, threads=1, use=use)
            children[use] = run(Child.start(MODULE, launch.line(), "a server", timeout_s=60))
        return f"http://127.0.0.1:{children[use].said['port']}/v1"

    yield serving
    for child in children.values():
        run(child.stop())


@pytest.fixture
def upstream(
    server: Callable[[Use], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., EngineSpec]:
    """The spec of an upstream, by way of the operator's catalogue."""
    monkeypatch.setenv("UPSTREAM_KEY", KEY)

    def spec(*kinds: str, url: str = "", **more: Any) -> EngineSpec:
        url = url or server("embeddings" if "embeddings" in kinds else "answers")
        lines = [
            "[models.theirs]",
            f'source = "openai:{url}#tiny"',
            f"kinds = {json.dumps(list(kinds or ('chat',)))}",
            *(f"{key} = {json.dumps(value)}" for key, value in {"key_env": "UPSTREAM_KEY", **more}.items()),
        ]
        path = tmp_path / "mine.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return spec_for(Catalogue.load(path).entries["theirs"])

    return spec


def asked(run: Run, spec: EngineSpec, use: Callable[[UpstreamEngine], Coroutine[Any, Any, Any]]) -> Any:
    """What `use` gives with a running engine."""

    async def body() -> Any:
        engine: Any = await start(spec)
        try:
            return await use(engine)
        finally:
            await engine.close()

    return run(body())


def answering(
    sampling: Sampling, messages: Any = ASK
) -> Callable[[UpstreamEngine], Coroutine[Any, Any, Any]]:
    async def answer(engine: UpstreamEngine) -> list[Delta]:
        return [delta async for delta in engine.generate(messages, sampling)]

    return answer


def test_an_upstream_answers_in_pieces_with_its_own_counts(run: Run, upstream: Any) -> None:
    """Twelve tokens are twelve pieces, and the counts are the server's."""
    found = asked(run, upstream(), answering(SHORT))
    assert found[-1].finish_reason == "length"
    assert found[-1].completion_tokens == 12
    assert found[-1].prompt_tokens > 10
    assert len(found) > 8


def test_a_schema_is_held_by_the_upstream(run: Run, upstream: Any) -> None:
    """response_format goes through."""
    schema = {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}}, "required": ["kind"]}
    found = asked(
        run, upstream(), answering(Sampling(temperature=1.0, seed=2, max_tokens=100, json_schema=schema))
    )
    assert json.loads("".join(delta.text for delta in found))["kind"] in ("cat", "dog")


def test_an_upstream_without_tools_is_held_to_a_call(run: Run, upstream: Any) -> None:
    """tools = "json": the platform writes the offer and reads the call."""
    tool = Tool(
        "feed", "Feed an animal", {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    )
    sampling = Sampling(temperature=1.0, seed=3, max_tokens=250, tools=(tool,), tool_choice="required")
    last = asked(run, upstream(tools="json"), answering(sampling))[-1]
    assert last.finish_reason == "tool_calls"
    assert last.tool_calls[0].name == "feed"
    assert json.loads(last.tool_calls[0].arguments)["n"] in (1, 2)


def test_an_upstream_completes_a_text(run: Run, upstream: Any) -> None:
    """An entry for completions only asks /completions."""
    found = asked(run, upstream("completions"), answering(SHORT))
    assert "".join(delta.text for delta in found)
    assert found[-1].completion_tokens == 12


def test_an_upstream_embeds(run: Run, upstream: Any) -> None:
    """Vectors of length 1, in the order of the texts; what it was not told to do it refuses."""

    async def use(engine: UpstreamEngine) -> Any:
        with pytest.raises(RequestRefused, match="'reranker'"):
            await engine.rerank("a", ["b"])
        one, two = await engine.embed(["a red fox", "the sea"]), await engine.embed(["the sea"])
        assert one.rows[1] == pytest.approx(two.rows[0], abs=1e-4)
        assert one.tokens > two.tokens > 0
        return one

    found = asked(run, upstream("embeddings"), use)
    assert [sum(x * x for x in row) for row in found.rows] == pytest.approx([1.0, 1.0], abs=1e-4)


def test_an_upstream_counts_tokens_where_it_can(run: Run, upstream: Any) -> None:
    """llama.cpp's server has /tokenize at its root."""

    async def use(engine: UpstreamEngine) -> int:
        return await engine.count_tokens("zzz")

    assert asked(run, upstream(), use) == 3


def test_a_prompt_that_does_not_fit_the_upstream_is_too_long(run: Run, upstream: Any) -> None:
    """With the server's numbers, as of an engine here."""
    with pytest.raises(PromptTooLong) as caught:
        asked(run, upstream(), answering(SHORT, [{"role": "user", "content": "x" * 2000}]))
    assert caught.value.limit == 1024
    assert caught.value.tokens is not None
    assert caught.value.tokens > 2000


def test_a_wrong_key_says_where_the_right_one_goes(
    run: Run, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds no key, neither in the error nor in the engine's repr."""
    spec = upstream()
    monkeypatch.setenv("UPSTREAM_KEY", "wrong-" + KEY)
    with pytest.raises(EngineFailed, match=r"refuses our key.*UPSTREAM_KEY") as caught:
        asked(run, spec, answering(SHORT))
    assert KEY not in str(caught.value)
    monkeypatch.delenv("UPSTREAM_KEY")
    with pytest.raises(EngineFailed, match="UPSTREAM_KEY, which is not set"):
        asked(run, spec, answering(SHORT))


def test_an_upstream_that_is_not_there_does_not_start(run: Run, upstream: Any) -> None:
    """The error names it as the catalogue does, without its address, which is the operator's own affair."""
    with pytest.raises(
        EngineFailed, match="the upstream theirs cannot be reached: Connection refused"
    ) as caught:
        asked(run, upstream(url="http://127.0.0.1:1/v1"), answering(SHORT))
    assert "127.0.0.1" not in str(caught.value)
    with pytest.raises(EngineFailed, match="the upstream theirs cannot be reached: its host is not known"):
        asked(run, upstream(url="http://no-such-host.invalid/v1"), answering(SHORT))


def test_leaving_an_answer_hangs_up(run: Run, upstream: Any) -> None:
    """The one slot that the upstream is given is free at once."""

    async def use(engine: UpstreamEngine) -> int:
        answer = engine.generate(ASK, Sampling(temperature=5.0, seed=1, max_tokens=400))
        await anext(answer)
        await answer.aclose()
        async with asyncio.timeout(2):
            return len([delta async for delta in engine.generate(ASK, SHORT)])

    assert asked(run, replace(upstream(), parallel=1), use) > 1


def test_a_platform_is_the_upstream_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chat, stream, embeddings, ranking and an image go through two platforms."""
    behind = tmp_path / "behind.toml"
    behind.write_text('[stand_ins]\nchat = "tiny"\n', encoding="utf-8")
    with embedded.start(tmp_path / "behind", use=False, catalogue=behind) as inner:
        monkeypatch.setenv("INNER_KEY", bearer(inner))
        url = f"openai:{inner.base_url}/v2"
        front = tmp_path / "front.toml"
        front.write_text(
            f"""
            [models.far]
            source = "{url}#tiny"
            key_env = "INNER_KEY"
            [models.vectors]
            source = "{url}#embedding-v1"
            key_env = "INNER_KEY"
            kinds = ["embeddings"]
            [models.ranker]
            source = "{url}#bce-reranker-base"
            key_env = "INNER_KEY"
            kinds = ["reranker"]
            [models.painter]
            source = "{url}#echo"
            key_env = "INNER_KEY"
            kinds = ["text2image"]
            [stand_ins]
            chat = "far"
            embeddings = "vectors"
            reranker = "ranker"
            text2image = "painter"
            """,
            encoding="utf-8",
        )
        with embedded.start(tmp_path / "front", catalogue=front):
            hi = [{"role": "user", "content": "hi"}]
            short = {"max_output_tokens": 8, "temperature": 0.01}
            whole = qianfan.ChatCompletion().do(messages=hi, **short)
            assert whole["usage"]["completion_tokens"] == 8
            assert whole.headers["x-qianfan-served-by"] == "far; stand-in"
            pieces = list(qianfan.ChatCompletion().do(messages=hi, stream=True, **short))
            assert "".join(piece["result"] for piece in pieces) == whole["result"]
            found = qianfan.Embedding().do(texts=["你好", "世界"])
            assert [len(row["embedding"]) for row in found["data"]] == [512, 512]
            ranked = qianfan.Reranker().do("怎么退货", ["今天下雨", "七天内可以退货"])
            assert [row["index"] for row in ranked["results"]] == [1, 0]
            image = qianfan.Text2Image().do(prompt="a fox", with_decode="base64")
            assert image["data"][0]["image"][:8] == b"\x89PNG\r\n\x1a\n"


def bearer(platform: embedded.Embedded) -> str:
    """A key for the second interface, as `qianfan token` makes it."""
    done = subprocess.run(
        [sys.executable, "-m", "qianfan.cli.main", "token"],
        env={**os.environ, **platform.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
