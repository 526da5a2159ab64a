"""The llama.cpp engine, run for real with the tiny model."""

from __future__ import annotations

import asyncio
import os
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
    PromptTooLong,
    RequestRefused,
    Sampling,
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
    import json

    schema = {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}}, "required": ["kind"]}
    said = run(text(engine, Sampling(temperature=1.0, seed=2, max_tokens=200, json_schema=schema)))
    assert json.loads(said)["kind"] in ("cat", "dog")


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
        urllib.request.urlopen(f"http://127.0.0.1:{engine._child.port}/slots")
    assert caught.value.code == 401
    caught.value.close()


def test_an_unknown_adapter_is_refused(engine, run) -> None:
    """The error names those there are."""
    with pytest.raises(RequestRefused, match="it has: none"):
        run(anext(engine.generate(ASK, Sampling(), adapter="x")))


def test_an_engine_that_answers_does_not_embed(engine, run) -> None:
    """The error says how to start one that does."""
    with pytest.raises(EngineFailed, match="embedding=True"):
        run(engine.embed(["a"]))


def test_an_engine_started_to_embed_does(tiny_gguf, run) -> None:
    """A unit vector for each text."""

    async def embed() -> list[list[float]]:
        engine = await start(spec(tiny_gguf, options={"embedding": True}))
        try:
            return await engine.embed(["a red fox", "the sea"])
        finally:
            await engine.close()

    vectors = run(embed())
    assert [len(vector) for vector in vectors] == [128, 128]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1.0, abs=1e-4)


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
        EngineFailed, match=r"while it loaded bad\.gguf; its last log lines:\n(.*\n)*.*invalid magic"
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
