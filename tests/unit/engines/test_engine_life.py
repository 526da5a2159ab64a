"""What an engine proves of itself: that its adapters are applied, that it lives, that it ends with its server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import save_file
from tests.processes import family

from qianfan_platform.engines import survivors
from qianfan_platform.engines.child import Child
from qianfan_platform.engines.llamacpp import pack
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import Adapter, EngineFailed, EngineSpec

SLEEPER = "tests.unit.engines.sleeper"


def an_adapter(folder: Path, tiny_hf: Path, weight: float) -> Path:
    """A PEFT adapter on one module of the tiny model, whose every number is `weight`."""
    import numpy as np

    config = json.loads((tiny_hf / "config.json").read_text())
    size, heads = config["hidden_size"], config["num_attention_heads"]
    out = config.get("head_dim", size // heads) * heads
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    folder.mkdir()
    save_file(
        {
            f"{name}.lora_A.weight": np.random.default_rng(1).normal(size=(2, size)).astype(np.float32),
            f"{name}.lora_B.weight": np.full((out, 2), weight, dtype=np.float32),
        },
        folder / "adapter_model.safetensors",
    )
    page = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(page))
    return folder


def test_an_adapter_that_changes_nothing_is_refused(tiny_hf, tiny_gguf, run, tmp_path) -> None:
    """Loaded is not applied: the next token must be another with it. A small change is enough."""

    async def start(weight: float) -> None:
        packed = tmp_path / f"{weight}.gguf"
        await pack.adapter(an_adapter(tmp_path / str(weight), tiny_hf, weight), tiny_gguf, packed)
        adapters = (Adapter("tuned", packed),)
        spec = EngineSpec("llamacpp", tiny_gguf, adapters, context=256, parallel=1, threads=1)
        await (await LlamaCppEngine.start(spec)).close()

    with pytest.raises(EngineFailed, match="the adapter tuned changes nothing"):
        run(start(0.0))
    run(start(0.01))


def test_the_end_of_a_process_is_told_at_once(run) -> None:
    """To everyone who asked, from a thread; who asks afterwards is told now."""
    child = run(Child.start(SLEEPER, b"\n", "a sleeper", timeout_s=30))
    told = [threading.Event() for _ in range(3)]
    for event in told[:2]:
        child.on_end(event.set)
    assert not told[0].is_set()
    child.kill()
    assert told[0].wait(5)
    assert told[1].wait(5)
    child.on_end(told[2].set)
    assert told[2].wait(5)
    run(child.stop())


def test_a_process_that_is_stopped_does_not_stir_and_one_that_works_does(run) -> None:
    """What computes is no hang, however long it says nothing."""
    child = run(Child.start(SLEEPER, b"work\n", "a worker", timeout_s=30))
    try:
        run(child.stirs(2.0))
        psutil.Process(child.pid).suspend()
        began = time.monotonic()
        with pytest.raises(EngineFailed, match=r"neither answered nor computed for 0\.5 s \(it is stopped\)"):
            run(child.stirs(0.5))
        assert time.monotonic() - began < 3
        psutil.Process(child.pid).resume()
        run(child.stirs(5.0))
    finally:
        child.kill()
        run(child.stop())


@pytest.mark.parametrize(("line", "what"), [(b"stop\n", "was stopped"), (b"mute\n", "did not compute")])
def test_a_process_that_hangs_while_it_starts_is_given_up(run, monkeypatch, line, what) -> None:
    """Long before the time that loading may take: requests wait for it. It does not stay behind."""
    monkeypatch.setattr("qianfan_platform.engines.child.HELD_S", 0.3)
    monkeypatch.setattr("qianfan_platform.engines.child.SILENT_S", 0.8)
    before = {process.pid for process in family(SLEEPER)}
    with pytest.raises(EngineFailed, match=f"the process {what} while it loaded a sleeper"):
        run(asyncio.wait_for(Child.start(SLEEPER, line, "a sleeper", timeout_s=300), 10))
    assert {process.pid for process in family(SLEEPER)} <= before


def test_a_start_that_is_given_up_at_once_leaves_no_process(run) -> None:
    """Cancelled while the process is made: it is ended as soon as it is there."""
    before = {process.pid for process in family(SLEEPER)}

    async def give_up() -> None:
        start = asyncio.ensure_future(Child.start(SLEEPER, b"\n", "a sleeper", timeout_s=30))
        await asyncio.sleep(0)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        assert start.cancelled()
        await asyncio.sleep(0.2)  # it may be made only now
        while {process.pid for process in family(SLEEPER)} - before:
            await asyncio.sleep(0.02)

    run(asyncio.wait_for(give_up(), 5))


def test_what_an_earlier_server_left_is_ended_and_nothing_else() -> None:
    """Engines of the same data folder that are older than the server, be they stopped."""

    def an_engine(data: str) -> psutil.Popen:
        command = [sys.executable, "-m", "qianfan_platform.engines.encoder.server"]
        return psutil.Popen(command, stdin=subprocess.PIPE, env={**os.environ, survivors.MARK: data})

    with an_engine("/data/mine") as left, an_engine("/data/other") as other:
        try:
            left.suspend()
            assert survivors.end_survivors("/data/mine", left.create_time()) == [], (
                "what is younger is its own"
            )
            assert survivors.end_survivors("/data/mine", time.time() + 1) == [left.pid]
            assert left.wait(5) == -signal.SIGKILL
            assert other.is_running()
        finally:
            for one in (left, other):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def test_an_engine_shows_life_while_idle_and_while_it_answers(engine, run) -> None:
    """Cheaply, and behind nobody's request."""

    async def look() -> None:
        await engine.stirs(5.0)
        answer = asyncio.ensure_future(engine.health(30))
        await engine.stirs(5.0)
        await answer

    run(look())


def test_callers_are_told_the_names_of_files_and_not_where_they_lie() -> None:
    """Addresses and words with a slash are no folders."""
    failed = EngineFailed(
        "lost '/srv/data/files/x/adapter.gguf' of http://127.0.0.1:80/v1/m; tokens/s and/or"
    )
    assert failed.told == "lost 'adapter.gguf' of http://127.0.0.1:80/v1/m; tokens/s and/or"
