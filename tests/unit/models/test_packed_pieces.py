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
from qianfan_platform.engines.llamacpp.control import Control
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.protocol import EngineSpec

tokenizers = pytest.importorskip("tokenizers")
WRITTEN = st.lists(st.sampled_from([*WORDS.split(), " ", "  ", "</s>", "<s>", "[INST]", "🙂", "\n", "▁", "h", "heh"]), max_size=8)  # fmt: skip


@pytest.fixture(scope="module", params=BEFORE)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """(what runs coroutines, the engine, the tokenizer), for each way of writing the first space."""
    folder = build(tmp_path_factory.mktemp("pieces") / "hf", "llama")
    take_pieces(folder, request.param)
    pack.model_to_gguf(folder, folder / "m.gguf", dtype="f32")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    with asyncio.Runner() as runner:
        spec = EngineSpec("llamacpp", folder / "m.gguf", context=256, parallel=1, threads=1)
        engine = runner.run(LlamaCppEngine.start(spec))
        yield runner.run, engine, theirs
        runner.run(engine.close())


@given(words=WRITTEN)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_engine_cuts_texts_into_the_same_pieces(running: Any, words: list[str]) -> None:
    """After a start token, as every conversation is: spaces, bytes of what has no piece, the order of merges."""
    run, engine, tokenizer = running
    text = "<s>" + "".join(words)
    assert run(engine.tokenize(text)) == tokenizer.encode(text, add_special_tokens=False).ids


@given(words=WRITTEN)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_prompt_that_is_cut_at_its_control_tokens_is_the_same_prompt(
    running: Any, words: list[str]
) -> None:
    """Token by token, where a text holds no name of one; where it does, it makes none."""
    run, engine, _ = running
    control = engine._control
    plain = [word for word in words if word not in control.ids]
    turns = [
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"heart {''.join(texts)}"}]
        for texts in (plain, words)
    ]
    named = Control({**control.ids, "heart": -1})  # a harmless name, for which the prompt is cut all the same
    usual = run(engine.prompt(turns[0]))
    assert run(named.prompt(turns[0], engine._http)) == usual
    special = set(control.ids.values())
    assert special
    assert [n for n in run(engine.prompt(turns[1])) if n in special] == [n for n in usual if n in special]


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
