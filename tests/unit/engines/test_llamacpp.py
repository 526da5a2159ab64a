"""The llama.cpp engine, run for real with the tiny model."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.processes import family

from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import (
    Adapter,
    Delta,
    EngineFailed,
    EngineSpec,
    ImageWish,
    PromptTooLong,
    RequestRefused,
    Sampling,
    Tool,
    Vectors,
)
from qianfan_platform.engines.start import start

ASK = [{"role": "user", "content": "Tell me of the fox."}]
LONG = Sampling(
    temperature=5.0, top_p=1.0, seed=1, max_tokens=900
)  # hot: the tiny model is sure of a line break


async def deltas(engine: LlamaCppEngine, sampling: Sampling, messages: Any = ASK) -> list[Delta]:
    return [delta async for delta in engine.generate(messages, sampling)]


async def text(engine: LlamaCppEngine, sampling: Sampling) -> str:
    return "".join(delta.text for delta in await deltas(engine, sampling))


def spec(model: Path, **more: Any) -> EngineSpec:
    return EngineSpec("llamacpp", model, **{"context": 1024, "parallel": 1, "threads": 1, **more})


def test_the_last_delta_counts_what_the_engine_counted(engine, run) -> None:
    """Prompt tokens equal the tokens of the rendered prompt; the answer stops at max_tokens."""
    found = run(deltas(engine, Sampling(temperature=1.0, seed=4, max_tokens=20)))
    last = found[-1]
    assert last.prompt_tokens == len(run(engine.tokenize(run(engine.render(ASK)))))
    assert last.finish_reason == "length"
    assert last.completion_tokens == 20
    assert all(delta.finish_reason is None for delta in found[:-1])


def test_equal_seeds_give_equal_answers(engine, run) -> None:
    """Sampling is reproducible, and another seed says something else."""
    one, two, other = (
        run(text(engine, Sampling(temperature=5.0, top_p=1.0, seed=s, max_tokens=40))) for s in (5, 5, 6)
    )
    assert one == two
    assert one != other


def test_a_stop_word_ends_the_answer_before_itself(engine, run) -> None:
    """What comes before the stop word is said, the word is not."""
    whole = run(text(engine, Sampling(temperature=0, max_tokens=40)))
    stop = whole[8:10]
    cut = run(deltas(engine, Sampling(temperature=0, max_tokens=40, stop=(stop,))))
    assert "".join(delta.text for delta in cut) == whole[: whole.index(stop)]
    assert cut[-1].finish_reason == "stop"


def test_top_k_of_one_is_greedy_and_a_penalty_changes_the_answer(engine, run) -> None:
    """top_k and penalty_score reach the engine."""
    greedy = run(text(engine, Sampling(temperature=0, max_tokens=40)))
    assert run(text(engine, Sampling(temperature=1.0, seed=9, top_k=1, max_tokens=40))) == greedy
    assert run(text(engine, Sampling(temperature=0, penalty_score=2.0, max_tokens=40))) != greedy


def test_an_answer_with_a_schema_is_json_of_it(engine, run) -> None:
    """Even a model that knows nothing writes JSON when it is held to a schema."""
    schema = {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}}, "required": ["kind"]}
    said = run(text(engine, Sampling(temperature=1.0, seed=2, max_tokens=200, json_schema=schema)))
    assert json.loads(said)["kind"] in ("cat", "dog")


HARD = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "pattern": r"^\d{3}-[a-z]{2}$"},
        "day": {"type": "string", "format": "date"},
        "size": {"type": "integer", "minimum": 3, "maximum": 20},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
        "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/point"}]},
    },
    "required": ["code", "day", "size", "tags", "next"],
    "$defs": {"point": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}},
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hard_schema_is_followed_to_the_letter(seed: int, engine, run) -> None:
    """Patterns, formats, bounds, unions and references, by a model that knows none of it."""
    said = run(text(engine, Sampling(temperature=1.0, seed=seed, max_tokens=300, json_schema=HARD)))
    found = json.loads(said)
    assert list(found) == ["code", "day", "size", "tags", "next"]
    assert re.fullmatch(r"\d{3}-[a-z]{2}", found["code"])
    assert datetime.date.fromisoformat(found["day"])
    assert 3 <= found["size"] <= 20
    assert 2 <= len(found["tags"]) <= 3
    assert set(found["tags"]) <= {"a", "b"}
    assert found["next"] in (None, {"x": 1})


def test_any_object_is_json_too(engine, run) -> None:
    """An empty schema asks for an object."""
    said = run(text(engine, Sampling(temperature=1.0, seed=2, max_tokens=300, json_schema={})))
    assert isinstance(json.loads(said), dict)


def test_a_schema_bomb_is_refused_and_nobody_waits_for_it(engine, run) -> None:
    """Before it reaches the engine, which goes on answering others."""
    bomb = {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"}

    async def ask() -> float:
        began = time.monotonic()
        with pytest.raises(RequestRefused, match="repeats of the pattern"):
            await deltas(engine, Sampling(json_schema=bomb))
        await deltas(engine, Sampling(max_tokens=2))
        return time.monotonic() - began

    assert run(ask()) < 1.0


def test_the_widest_schema_that_passes_holds_up_nobody(engine, run) -> None:
    """A thousand choices: the answer begins within seconds, and a neighbour's goes on."""
    wide = {"enum": [f"choice number {n} of many" for n in range(1000)]}

    async def ask() -> tuple[str, float]:
        began = time.monotonic()
        said, _ = await asyncio.gather(
            text(engine, Sampling(temperature=1.0, seed=5, max_tokens=100, json_schema=wide)),
            deltas(engine, Sampling(max_tokens=20)),
        )
        return said, time.monotonic() - began

    said, took = run(ask())
    assert json.loads(said) in wide["enum"]
    assert took < 5.0


FEED = Tool(
    "feed",
    "Feed an animal",
    {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}}, "required": ["animal"]},
)


def test_a_function_is_called_with_arguments_of_its_schema(engine, run) -> None:
    """By a model that knows nothing: the schema holds it."""
    sampling = Sampling(temperature=1.0, seed=4, max_tokens=80, tools=(FEED,), tool_choice="required")
    last = run(deltas(engine, sampling))[-1]
    assert (last.finish_reason, last.text) == ("tool_calls", "")
    (call,) = last.tool_calls
    assert call.name == "feed"
    assert json.loads(call.arguments)["animal"] in ("cat", "dog")
    assert last.prompt_tokens > 100
    assert last.completion_tokens > 10


def test_a_call_that_was_cut_is_no_call(engine, run) -> None:
    """max_tokens ends it: the reason is length, and nothing half is handed on."""
    sampling = Sampling(temperature=1.0, seed=4, max_tokens=10, tools=(FEED,), tool_choice="required")
    last = run(deltas(engine, sampling))[-1]
    assert (last.finish_reason, last.tool_calls, last.text) == ("length", (), "")


def test_an_answer_has_at_least_min_tokens(engine, run) -> None:
    """The end and stop words wait until then; max_tokens still bounds it."""
    whole = run(deltas(engine, Sampling(temperature=0, max_tokens=60)))
    least = run(deltas(engine, Sampling(temperature=0, max_tokens=60, min_tokens=50)))
    stop = "".join(delta.text for delta in whole)[4:6]
    cut = run(deltas(engine, Sampling(temperature=0, max_tokens=60, min_tokens=30, stop=(stop,))))
    assert 50 <= least[-1].completion_tokens <= 60
    assert least[-1].prompt_tokens == whole[-1].prompt_tokens
    assert 30 <= cut[-1].completion_tokens <= 60
    exact = run(deltas(engine, Sampling(temperature=0, max_tokens=12, min_tokens=40)))
    assert (exact[-1].completion_tokens, exact[-1].finish_reason) == (12, "length")


def test_penalties_reach_the_engine(engine, run) -> None:
    """Either changes what is said."""
    plain = Sampling(temperature=1.5, top_p=1.0, seed=3, max_tokens=40)
    said = {
        run(text(engine, replace(plain, **more)))
        for more in ({}, {"frequency_penalty": 2.0}, {"presence_penalty": 2.0})
    }
    assert len(said) == 3


def test_tokens_are_counted_without_a_template(engine, run) -> None:
    """Names of special tokens are plain text."""
    assert run(engine.count_tokens("zzz")) == 3
    assert run(engine.count_tokens("")) == 0
    assert run(engine.count_tokens("<|im_end|>")) > 3


def test_a_prompt_that_does_not_fit_is_refused_with_numbers(engine, run) -> None:
    """PromptTooLong counts the prompt and the room."""
    with pytest.raises(PromptTooLong) as caught:
        run(deltas(engine, Sampling(), [{"role": "user", "content": "x" * 3000}]))
    assert caught.value.tokens > 3000
    assert caught.value.limit == 1024


def test_leaving_frees_the_slot_at_once(engine, run) -> None:
    """After aclose no slot works and the process is quiet."""

    async def leave() -> float:
        answering = engine.generate(ASK, LONG)
        await anext(answering)
        assert await engine.busy() == 1
        await answering.aclose()
        async with asyncio.timeout(2):
            while await engine.busy():
                await asyncio.sleep(0.01)
        before = psutil.Process(engine.pid).cpu_times()
        await asyncio.sleep(0.3)
        after = psutil.Process(engine.pid).cpu_times()
        return (after.user + after.system) - (before.user + before.system)

    assert run(leave()) < 0.1


def test_cancelling_the_reader_frees_the_slot_too(engine, run) -> None:
    """A cancelled task leaves nothing running behind it."""

    async def cancel() -> int:
        async def cancelled_in_the_middle(seed: int) -> bool:
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in engine.generate(ASK, replace(LONG, seed=seed)):
                    begun.set()

            reading = asyncio.create_task(read())
            await begun.wait()
            reading.cancel()
            await asyncio.wait([reading])
            return reading.cancelled()

        for seed in range(1, 11):  # at this heat an answer may end by itself before we come
            if await cancelled_in_the_middle(seed):
                break
        else:
            pytest.fail("no answer was long enough to be cancelled")
        async with asyncio.timeout(2):
            while await engine.busy():
                await asyncio.sleep(0.01)
        return len(await deltas(engine, Sampling(temperature=0, max_tokens=2)))

    assert run(cancel()) >= 1


def test_more_readers_than_slots_all_get_their_answer(engine, run) -> None:
    """Five readers share two slots."""

    async def ask() -> list[list[Delta]]:
        return await asyncio.gather(
            *(deltas(engine, Sampling(temperature=0, max_tokens=5)) for _ in range(5))
        )

    assert all(found[-1].finish_reason for found in run(ask()))


def test_no_answer_of_a_hundred_is_lost(engine, run) -> None:
    """Eight readers, one answer after the other: the server drops connections between answers, we do not."""

    async def read(times: int) -> int:
        return sum(
            [len(await deltas(engine, Sampling(temperature=0, max_tokens=8))) > 0 for _ in range(times)]
        )

    async def ask() -> int:
        async with asyncio.timeout(20):
            return sum(await asyncio.gather(*(read(13) for _ in range(8))))

    assert run(ask()) == 104


def test_pieces_come_as_they_are_made(engine, run) -> None:
    """The first piece is there long before the last."""

    async def times() -> list[float]:
        began = time.monotonic()
        return [time.monotonic() - began async for _ in engine.generate(ASK, LONG)]

    found = run(times())
    assert len(found) > 20
    assert found[0] < found[-1] / 2


def test_the_port_is_closed_to_those_without_the_key(engine, run) -> None:
    """A neighbour on the machine cannot use the engine."""
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{engine._child.said['port']}/slots")
    assert caught.value.code == 401
    caught.value.close()


def test_an_unknown_adapter_is_refused(engine, run) -> None:
    """The error names those there are."""
    with pytest.raises(RequestRefused, match="it has: none"):
        run(anext(engine.generate(ASK, Sampling(), adapter="x")))


def test_an_engine_that_answers_does_not_embed(engine, run) -> None:
    """Nor does it rank or paint; the error says what to name instead."""
    with pytest.raises(RequestRefused, match='kind "embeddings"'):
        run(engine.embed(["a"]))
    with pytest.raises(RequestRefused, match='kind "reranker"'):
        run(engine.rerank("a", ["b"]))
    with pytest.raises(RequestRefused, match='kind "text2image"'):
        run(engine.paint(ImageWish("a")))


def test_an_engine_started_to_embed_does(tiny_gguf, run) -> None:
    """A unit vector for each text."""

    async def embed() -> Vectors:
        engine = await start(spec(tiny_gguf, options={"embeddings": True}))
        try:
            with pytest.raises(RequestRefused, match="it does not answer"):
                await deltas(engine, Sampling())
            found = await engine.embed(["a red fox", "the sea"])
            assert found.tokens == sum([await engine.count_tokens(t) for t in ("a red fox", "the sea")])
            return found
        finally:
            await engine.close()

    vectors = run(embed()).rows
    assert [len(vector) for vector in vectors] == [128, 128]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1.0, abs=1e-4)


def test_an_engine_started_to_rank_does(tiny_gguf, run) -> None:
    """A score between 0 and 1 for each document, in the order given. What they say, a model made for it knows."""

    async def rank() -> None:
        engine = await start(spec(tiny_gguf, options={"reranker": True}))
        try:
            one = await engine.rerank("a fox", ["the fox", "the sea"])
            two = await engine.rerank("a fox", ["the sea", "the fox"])
            assert one.values == pytest.approx(list(reversed(two.values)), abs=1e-3)
            assert all(0.0 <= value <= 1.0 for value in one.values)
            assert one.tokens > 10
            with pytest.raises(RequestRefused, match='kind "embeddings"'):
                await engine.embed(["a"])
        finally:
            await engine.close()

    run(rank())


def test_a_killed_process_fails_the_answer_and_is_not_alive(tiny_gguf, run) -> None:
    """The error says how the process ended; later calls fail at once."""

    async def kill() -> None:
        engine = await LlamaCppEngine.start(spec(tiny_gguf))
        try:
            answering = engine.generate(ASK, LONG)
            await anext(answering)
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(EngineFailed, match="was ended by signal 9"):
                async for _ in answering:
                    pass
            assert not engine.alive()
            with pytest.raises(EngineFailed, match="was ended by signal 9"):
                await engine.health()
        finally:
            await engine.close()

    run(kill())


def test_a_stopped_process_is_found_hung(tiny_gguf, run) -> None:
    """The process lives, but no token comes out: health says so, and an answer does not wait for ever."""

    async def hang() -> None:
        engine = await LlamaCppEngine.start(spec(tiny_gguf, options={"idle_s": 0.5}))
        try:
            os.kill(engine.pid, signal.SIGSTOP)
            assert engine.alive()
            with pytest.raises(EngineFailed, match="no token came out"):
                await engine.health(0.2)
            with pytest.raises(EngineFailed, match="silent"):
                await deltas(engine, Sampling())
            os.kill(engine.pid, signal.SIGCONT)
            await engine.health(5)
        finally:
            os.kill(engine.pid, signal.SIGCONT)
            await engine.close()

    run(hang())


def test_closing_ends_the_process_and_the_answers(tiny_gguf, run) -> None:
    """Whoever reads gets an error that says so; closing twice is fine."""

    async def close() -> None:
        engine = await LlamaCppEngine.start(spec(tiny_gguf))
        answering = engine.generate(ASK, LONG)
        await anext(answering)
        await engine.close()
        await engine.close()
        with pytest.raises(EngineFailed, match="was closed"):
            async for _ in answering:
                pass
        assert not engine.alive()
        assert not psutil.pid_exists(engine.pid)

    run(close())


def test_the_child_ends_when_its_parent_is_killed(tiny_gguf) -> None:
    """kill -9 of the parent leaves no orphan."""
    parent = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
        from qianfan_platform.engines.protocol import EngineSpec

        async def main():
            engine = await LlamaCppEngine.start(EngineSpec("llamacpp", Path(sys.argv[1]), context=256, threads=1))
            print(engine.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", parent, str(tiny_gguf)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
    gone, _ = psutil.wait_procs([child], timeout=3)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


def test_a_file_that_is_no_model_fails_with_the_childs_words(tmp_path, run) -> None:
    """The log of llama.cpp is in the error."""
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    with pytest.raises(
        EngineFailed,
        match=r"while it loaded the model bad\.gguf; its last log lines:\n(.*\n)*.*invalid magic",
    ):
        run(start(spec(tmp_path / "bad.gguf")))


def test_what_is_missing_is_named_before_anything_starts(tmp_path, tiny_gguf, run) -> None:
    """A missing model, a missing adapter, two adapters of one name."""
    with pytest.raises(EngineFailed, match=r"file of the model is missing: .*none\.gguf"):
        run(start(spec(tmp_path / "none.gguf")))
    with pytest.raises(EngineFailed, match="file of the adapter a is missing"):
        run(start(spec(tiny_gguf, adapters=(Adapter("a", tmp_path / "none"),))))
    twice = (Adapter("a", tiny_gguf), Adapter("a", tiny_gguf))
    with pytest.raises(EngineFailed, match="same name"):
        run(start(spec(tiny_gguf, adapters=twice)))


def test_an_adapter_that_is_none_does_not_start(tiny_gguf, run) -> None:
    """A file that llama.cpp does not take as an adapter never serves the base under its name."""
    with pytest.raises(EngineFailed, match="last log lines"):
        run(start(spec(tiny_gguf, adapters=(Adapter("a", tiny_gguf),))))


def test_a_start_that_takes_too_long_is_given_up(tiny_gguf, run) -> None:
    """Nothing is left of the process."""
    before = servers()
    with pytest.raises(EngineFailed, match="did not load within"):
        run(start(spec(tiny_gguf, options={"start_timeout_s": 0.001})))
    assert servers() <= before


def servers() -> set[int]:
    """The engine processes that this one started, itself or through others."""
    return {process.pid for process in family("qianfan_platform.engines.llamacpp.server")}
