"""The proof before publishing: what was trained passes when it was packed right, and fails when it was not."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from small_models import build, train, with_unpermuted_heads

from qianfan_platform.catalogue import tiny
from qianfan_platform.catalogue.noise import Noise
from qianfan_platform.engines.llamacpp import pack
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.protocol import EngineSpec
from qianfan_platform.models import packages
from qianfan_platform.models.parity import LEAST, MOST, NotTheSame, Packed, bound_of, cases_in, prove

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # two threads that wait for each other are slower here than one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The tiny model as it is."""
    folder = tmp_path_factory.mktemp("package")
    tiny.build(folder / "hf")
    pack.model_to_gguf(folder / "hf", folder / "model.gguf", dtype="f32")
    return Packed(folder / "model.gguf")


@pytest.fixture(scope="module")
def case(whole: Packed) -> dict[str, Any]:
    """What an engine that works says of itself."""
    messages = [{"role": "user", "content": "What do you know?"}]

    async def ask() -> dict[str, Any]:
        engine = await LlamaCppEngine.start(EngineSpec("llamacpp", whole.model, context=256))
        try:
            prompt = await engine.tokenize(await engine.render(messages))
            answer = await engine.complete(prompt, 6)
            logprobs = await engine.logprobs(prompt, answer)
        finally:
            await engine.close()
        return {"messages": messages, "prompt_ids": prompt, "answer_ids": answer, "logprobs": logprobs}

    return asyncio.run(ask())


def proof(packed: Packed, *cases: dict[str, Any], noise: Noise | None = None) -> dict[str, Any]:
    return asyncio.run(prove(packed, cases, noise))


def test_an_engine_that_says_the_same_passes(whole: Packed, case: dict[str, Any]) -> None:
    """The figures tell how many tokens were compared, how little they differ, and what was let pass."""
    figures = proof(whole, case)
    assert figures["tokens"] == 6
    assert figures["mean_difference"] < 0.02
    assert figures["bound"] == LEAST


def test_a_token_the_trainer_was_sure_of_must_stay_likely(whole: Packed, case: dict[str, Any]) -> None:
    """The error names the first such token, as text and as id, and what the engine says in its place."""
    another = (case["answer_ids"][0] + 1) % 200
    sure = {
        **case,
        "answer_ids": [another, *case["answer_ids"][1:]],
        "logprobs": [-0.01, *case["logprobs"][1:]],
    }
    with pytest.raises(
        NotTheSame,
        match=rf"token 0 of the answer to 'What do you know\?', '.+' \(id {another}\) after '', where the engine says '.+' \(id {case['answer_ids'][0]}\)",
    ) as refused:
        proof(whole, sure)
    assert refused.value.proof["tokens"] == 1


def test_many_small_differences_are_refused_too(whole: Packed, case: dict[str, Any]) -> None:
    """An engine that is a little off everywhere is not the trained model."""
    off = {**case, "logprobs": [value - 0.1 for value in case["logprobs"]]}
    with pytest.raises(NotTheSame, match=r"on average, more than 0\.010"):
        proof(whole, off)
    assert proof(whole, off, noise=Noise(100, 0.03, 0.2))["bound"] == 0.12


def test_the_bound_follows_the_noise_of_the_base_within_limits() -> None:
    """A quiet base asks for more, a noisy one allows more, but never so much that answers change."""
    assert bound_of(None) == LEAST
    assert bound_of(Noise(100, 1e-6, 1e-5)) == LEAST
    assert bound_of(Noise(100, 0.04, 0.5)) == 0.16
    assert bound_of(Noise(100, 3.0, 9.0)) == MOST


def test_a_text_without_a_template_is_compared_as_tokens(whole: Packed, case: dict[str, Any]) -> None:
    """Post-pretraining asks with plain text, which no template makes."""
    figures = proof(whole, {**case, "messages": [{"role": "text", "content": "What do you know?"}]})
    assert figures["tokens"] == 6


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small Llama with an adapter trained on it, packed right."""
    folder = tmp_path_factory.mktemp("llama")
    base = build(folder / "hf", "llama")
    result = train(base, folder / "run", "LoRA")
    pack.model_to_gguf(base, folder / "base.gguf", dtype="f32")
    pack.adapter_to_gguf(result, folder / "base.gguf", folder / "adapter.gguf")
    return {"folder": folder, "hf": base, "result": result}


def test_an_adapter_on_a_small_llama_is_proved(llama: dict[str, Path]) -> None:
    """Trained by the trainer, applied by the engine: the same answers."""
    folder = llama["folder"]
    assert packages.kind_of_result(llama["result"]) == "adapter"
    cases = cases_in(llama["result"])
    figures = proof(Packed(folder / "base.gguf", folder / "adapter.gguf"), *cases)
    assert figures["tokens"] > 20
    assert figures["mean_difference"] < 0.02


def test_the_merged_model_is_proved_as_well(llama: dict[str, Path]) -> None:
    """One file that holds base and adapter, in 16 bits."""
    out = llama["folder"] / "merged.gguf"
    pack.model_to_gguf(
        llama["hf"], out, template_gguf=llama["folder"] / "base.gguf", dtype="f16", adapter=llama["result"]
    )
    assert proof(Packed(out), *cases_in(llama["result"]))["mean_difference"] < 0.02


def test_heads_that_were_not_permuted_fail_the_proof(llama: dict[str, Path], tmp_path: Path) -> None:
    """Such a model speaks, but as another one; the first token that differs is shown."""
    wrong = with_unpermuted_heads(llama["hf"], tmp_path / "wrong")
    pack.model_to_gguf(wrong, tmp_path / "wrong.gguf", dtype="f32")
    with pytest.raises(NotTheSame, match=r"token \d+ of the answer to .* where the engine says"):
        proof(Packed(tmp_path / "wrong.gguf", llama["folder"] / "adapter.gguf"), *cases_in(llama["result"]))


def test_a_start_that_the_vocabulary_adds_is_part_of_the_prompt(
    llama: dict[str, Path], tmp_path: Path
) -> None:
    """GGUF files of others say so of their vocabulary; the engine takes it from the template, and adds it itself."""
    import gguf

    cases = cases_in(llama["result"])
    assert cases[0]["prompt_ids"][0] == 258  # <|im_start|>, the start token and the first of the template
    reader = gguf.GGUFReader(llama["folder"] / "base.gguf")
    writer = gguf.GGUFWriter(tmp_path / "adds.gguf", "llama")
    pack.copy_fields(writer, reader, {"tokenizer.ggml.add_bos_token": True})
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    figures = proof(Packed(tmp_path / "adds.gguf", llama["folder"] / "adapter.gguf"), *cases)
    assert figures["mean_difference"] < 0.02


def test_one_matrix_that_was_lost_fails_the_proof(llama: dict[str, Path], tmp_path: Path) -> None:
    """The packer compares the layers with one another; and where all lost it, the answers tell."""
    shutil.copytree(llama["result"], tmp_path / "result")
    weights = tmp_path / "result" / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(
        {name: rows for name, rows in tensors.items() if "layers.1.self_attn.q_proj" not in name}, weights
    )
    with pytest.raises(PackFailed, match=r"self_attn\.q_proj in other layers, but not in layer 1"):
        pack.adapter_to_gguf(tmp_path / "result", llama["folder"] / "base.gguf", tmp_path / "a.gguf")
    save_file({name: rows for name, rows in tensors.items() if "q_proj" not in name}, weights)
    with pytest.raises(PackFailed, match="names q_proj, and holds nothing for it"):
        pack.adapter_to_gguf(tmp_path / "result", llama["folder"] / "base.gguf", tmp_path / "a.gguf")

    lost = {name: rows * ("layers.1.self_attn.q_proj" not in name) for name, rows in tensors.items()}
    save_file(lost, weights)
    pack.adapter_to_gguf(tmp_path / "result", llama["folder"] / "base.gguf", tmp_path / "a.gguf")
    with pytest.raises(NotTheSame, match=r"more than 0\.010|token \d+ of the answer"):
        proof(Packed(llama["folder"] / "base.gguf", tmp_path / "a.gguf"), *cases_in(llama["result"]))


def test_an_adapter_that_is_not_applied_fails_the_proof(llama: dict[str, Path]) -> None:
    """The base alone does not answer as the trained model does."""
    with pytest.raises(NotTheSame, match="train→serve parity failed"):
        proof(Packed(llama["folder"] / "base.gguf"), *cases_in(llama["result"]))


@pytest.mark.parametrize("architecture", ["llama", "llama3.1", "qwen2", "qwen3", "mistral", "ernie4_5"])
def test_the_engine_and_the_trainer_agree_on_an_untrained_model(architecture: str, tmp_path: Path) -> None:
    """The measure of noise itself: each architecture that is packed, in full precision."""
    from qianfan_platform.trainers.child import reference

    base = build(tmp_path / "hf", architecture)
    reference.write(base, "float32", tmp_path / "parity.json")
    pack.model_to_gguf(base, tmp_path / "m.gguf", dtype="f32")
    figures = proof(Packed(tmp_path / "m.gguf"), *cases_in(tmp_path))
    assert figures["tokens"] > 50
    # Positions that are not stretched as they should be make 0.006 of a difference.
    assert figures["largest_difference"] < (0.001 if architecture == "llama3.1" else 0.02)


def test_a_qwen2_trained_as_a_whole_is_proved(tmp_path: Path) -> None:
    """Biases, and an output matrix of its own; packed with the base's fields, and without."""
    base = build(tmp_path / "hf", "qwen2")
    result = train(base, tmp_path / "run", "ALL")
    assert packages.kind_of_result(result) == "model"
    pack.model_to_gguf(base, tmp_path / "base.gguf", dtype="f32")
    for name, template in (("own.gguf", None), ("copied.gguf", tmp_path / "base.gguf")):
        pack.model_to_gguf(result, tmp_path / name, template_gguf=template, dtype="f32")
        assert proof(Packed(tmp_path / name), *cases_in(result))["mean_difference"] < 0.02
    with pytest.raises(NotTheSame):
        proof(Packed(tmp_path / "base.gguf"), *cases_in(result))


def test_virtual_tokens_are_packed_with_their_template(llama: dict[str, Path], tmp_path: Path) -> None:
    """Prompt tuning extends the vocabulary; with the base's template its tokens are never said, and it fails."""
    result = train(llama["hf"], tmp_path / "run", "P-tuning")
    assert packages.kind_of_result(result) == "model"
    base = llama["folder"] / "base.gguf"
    pack.model_to_gguf(result, tmp_path / "m.gguf", template_gguf=base, dtype="f32")
    cases = cases_in(result)
    assert proof(Packed(tmp_path / "m.gguf"), *cases)["mean_difference"] < 0.02

    (result / "chat_template.jinja").write_text(tiny.TEMPLATE)
    settings = json.loads((result / "tokenizer_config.json").read_text())
    settings["chat_template"] = tiny.TEMPLATE
    (result / "tokenizer_config.json").write_text(json.dumps(settings))
    pack.model_to_gguf(result, tmp_path / "wrong.gguf", template_gguf=base, dtype="f32")
    with pytest.raises(
        NotTheSame, match=r"token 0 is '<\|virtual_0\|>' \(id \d+\) in training and '<\|im_start\|>'"
    ):
        proof(Packed(tmp_path / "wrong.gguf"), *cases)
