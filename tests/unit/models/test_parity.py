"""The proof before publishing: the engine's own answers pass, anything else is refused with the token shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from qianfan_platform.catalogue import tiny
from qianfan_platform.engines.llamacpp import pack
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import EngineSpec
from qianfan_platform.models.parity import NotTheSame, prove


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a whole model in it."""
    folder = tmp_path_factory.mktemp("package")
    tiny.build(folder / "hf")
    pack.model_to_gguf(folder / "hf", folder / "model.gguf", dtype="f32")
    return folder


@pytest.fixture(scope="module")
def case(package: Path) -> dict[str, Any]:
    """What an engine that works says of itself."""

    async def ask() -> dict[str, Any]:
        engine = await LlamaCppEngine.start(EngineSpec("llamacpp", package / "model.gguf", context=256))
        try:
            prompt = await engine.tokenize("What do you know?")
            answer = await engine.complete(prompt, 6)
            logprobs = await engine.logprobs(prompt, answer)
        finally:
            await engine.close()
        messages = [{"role": "user", "content": "What do you know?"}]
        return {"messages": messages, "prompt_ids": prompt, "answer_ids": answer, "logprobs": logprobs}

    return asyncio.run(ask())


def proof(package: Path, trained: Path, *cases: dict[str, Any]) -> dict[str, Any]:
    (trained / "parity.json").write_text(json.dumps(cases))
    return asyncio.run(prove(base=package / "model.gguf", package=package, trained=trained, method="ALL"))


def test_an_engine_that_says_the_same_passes(package: Path, case: dict[str, Any], tmp_path: Path) -> None:
    """The figures tell how many tokens were compared and how little they differ."""
    figures = proof(package, tmp_path, case)
    assert figures["tokens"] == 6
    assert figures["mean_difference"] < 0.02


def test_a_token_the_trainer_was_sure_of_must_stay_likely(
    package: Path, case: dict[str, Any], tmp_path: Path
) -> None:
    """The error names the first such token and the prompt."""
    another = (case["answer_ids"][0] + 1) % 200
    sure = {
        **case,
        "answer_ids": [another, *case["answer_ids"][1:]],
        "logprobs": [-0.01, *case["logprobs"][1:]],
    }
    with pytest.raises(
        NotTheSame, match=r"token 0 \(id \d+\) of the answer to 'What do you know\?'"
    ) as refused:
        proof(package, tmp_path, sure)
    assert refused.value.proof["tokens"] == 1


def test_many_small_differences_are_refused_too(package: Path, case: dict[str, Any], tmp_path: Path) -> None:
    """An engine that is a little off everywhere is not the trained model."""
    off = {**case, "logprobs": [value - 1.0 for value in case["logprobs"]]}
    with pytest.raises(NotTheSame, match="on average"):
        proof(package, tmp_path, off)
