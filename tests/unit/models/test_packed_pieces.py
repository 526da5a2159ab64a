"""A vocabulary of pieces, packed from tokenizer.json: the engine cuts texts as the tokenizer does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import BEFORE, WORDS, build, take_pieces

from qianfan_platform.engines.llamacpp import foreign, header, pack
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.protocol import EngineSpec

tokenizers = pytest.importorskip("tokenizers")
WRITTEN = st.lists(st.sampled_from([*WORDS.split(), " ", "  ", "</s>", "<s>", "[INST]", "🙂", "\n", "▁", "h", "heh"]), max_size=8)  # fmt: skip


@pytest.fixture(scope="module", params=BEFORE)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(tokens of the engine, tokens of the tokenizer) of a text, for each way of writing the first space."""
    folder = build(tmp_path_factory.mktemp("pieces") / "hf", "llama")
    take_pieces(folder, request.param)
    pack.model_to_gguf(folder, folder / "m.gguf", dtype="f32")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    with asyncio.Runner() as runner:
        spec = EngineSpec("llamacpp", folder / "m.gguf", context=256, parallel=1, threads=1)
        engine = runner.run(LlamaCppEngine.start(spec))
        yield lambda text: (
            runner.run(engine.tokenize(text)),
            theirs.encode(text, add_special_tokens=False).ids,
        )
        runner.run(engine.close())


@given(words=WRITTEN)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_engine_cuts_texts_into_the_same_pieces(both: Any, words: list[str]) -> None:
    """After a start token, as every conversation is: spaces, bytes of what has no piece, the order of merges."""
    ours, theirs = both("<s>" + "".join(words))
    assert ours == theirs


def test_a_way_of_writing_spaces_that_llama_cpp_has_no_name_for_is_refused(tmp_path: Path) -> None:
    """A wrong guess would put spaces where nobody wrote one."""
    folder = build(tmp_path / "hf", "mistral")
    plain = json.loads((folder / "tokenizer.json").read_text())
    plain["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    with pytest.raises(
        PackFailed, match=r"writes spaces in a way .* \(Lowercase, Metaspace\); import a GGUF"
    ):
        pack.model_to_gguf(folder, tmp_path / "m.gguf")


def test_what_slides_is_made_for_no_more_than_its_window(tmp_path: Path) -> None:
    """llama.cpp looks back to the start, which equals the window only within it."""
    folder = build(tmp_path / "hf", "mistral")
    pack.model_to_gguf(folder, tmp_path / "m.gguf")
    assert header.read(tmp_path / "m.gguf").context == foreign.checked(folder).context == 512


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hidden_act": "gelu"}, "uses gelu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, r"scales its rotary positions \(yarn\)"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "a part of each head"),
        ({"model_type": "gemma2"}, "models of type 'gemma2' cannot be packed here"),
        ({"model_type": "phi3"}, "convert the model to GGUF"),
    ],
)
def test_what_would_be_served_as_another_model_is_refused(tmp_path: Path, change: Any, why: str) -> None:
    """By name, before it is packed."""
    folder = build(tmp_path / "hf", "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(PackFailed, match=why):
        pack.model_to_gguf(folder, tmp_path / "m.gguf")
