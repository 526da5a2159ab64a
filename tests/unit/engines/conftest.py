"""The tiny model, packed once, and an engine that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan_platform.catalogue import tiny
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.pack import model_to_gguf
from qianfan_platform.engines.protocol import EngineSpec

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="session")
def tiny_hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in Hugging Face layout."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as GGUF, in full precision."""
    out = tmp_path_factory.mktemp("packed") / "tiny.gguf"
    model_to_gguf(tiny_hf, out, dtype="f32")
    return out


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run a coroutine in the one event loop of the module."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def engine(tiny_gguf: Path, run: Run) -> Iterator[LlamaCppEngine]:
    """A llama.cpp engine with the tiny model, two sequences at once."""
    spec = EngineSpec("llamacpp", tiny_gguf, context=1024, parallel=2, threads=1)
    running = run(LlamaCppEngine.start(spec))
    yield running
    run(running.close())
