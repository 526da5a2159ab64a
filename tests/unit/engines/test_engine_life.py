"""What an engine proves of itself: that its adapters are applied, that it lives, that it ends with its server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import save_file

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


def test_an_engine_shows_life_while_idle_and_while_it_answers(engine, run) -> None:
    """Cheaply, and behind nobody's request."""

    async def look() -> None:
        await engine.stirs(5.0)
        answer = asyncio.ensure_future(engine.health(30))
        await engine.stirs(5.0)
        await answer

    run(look())
