"""Packing: what llama.cpp does with the packed files equals what transformers does with the originals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qianfan_platform.engines.llamacpp import header, pack, widen
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.llamacpp.tensors import PackFailed
from qianfan_platform.engines.protocol import Adapter, EngineSpec, Sampling

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # two threads that wait for each other are slower here than one
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft asks for it

CHAT = [{"role": "user", "content": "Which shelf holds the ember? 你好"}]
PROMPTS = ["The fox", "def main():\n    return 1", "你好，世界", "th the 123 456", "x" * 80]


@pytest.fixture(scope="module")
def reference(tiny_hf: Path) -> Any:
    """The tiny model in transformers, float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_hf, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(tiny_hf: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tiny_hf / "tokenizer.json"))


@pytest.fixture(scope="module")
def peft_adapter(tiny_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEFT adapter on every linear layer, with large random weights and a rank of its own for one module."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        rank_pattern={"v_proj": 2},
        alpha_pattern={"o_proj": 3},
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_hf, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def greedy(model: Any, ids: list[int], count: int) -> tuple[list[int], list[float]]:
    """The likeliest `count` tokens after `ids`, and their log-probabilities."""
    found, scores = [], []
    with torch.no_grad():
        for _ in range(count):
            logits = model(torch.tensor([[*ids, *found]])).logits[0, -1].double()
            token = int(logits.argmax())
            if token in (257, 259):
                break
            found.append(token)
            scores.append(float(torch.log_softmax(logits, -1)[token]))
    return found, scores


@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_engine_cuts_any_text_as_the_tokenizer_does(text: str, engine, run, tokenizer) -> None:
    """Tokens of the packed vocabulary equal those of tokenizer.json."""
    assert run(engine.tokenize(text)) == tokenizer.encode(text, add_special_tokens=False).ids


def test_special_tokens_and_the_template_survive_packing(engine, run, tiny_hf, tokenizer) -> None:
    """The prompt that the engine renders equals the one that transformers renders, token by token."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_hf).apply_chat_template(
        CHAT, add_generation_prompt=True, tokenize=False
    )
    ours = run(engine.render(CHAT))
    assert ours == theirs
    assert run(engine.tokenize(ours)) == tokenizer.encode(theirs, add_special_tokens=False).ids


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_packed_model_answers_as_transformers_does(
    prompt: str, engine, run, reference, tokenizer
) -> None:
    """Greedy tokens are equal and their log-probabilities agree to 0.01 (the engine keeps keys and values as f16)."""
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    theirs, scores = greedy(reference, ids, 24)
    assert run(engine.complete(ids, len(theirs))) == theirs
    ours = run(engine.logprobs(ids, theirs[:8]))
    assert ours == pytest.approx(scores[: len(ours)], abs=1e-2)


def test_the_log_probability_of_an_end_token_is_reported(engine, run, reference, tokenizer) -> None:
    """Forcing the end token gives its probability, not an empty answer."""
    ids = tokenizer.encode("The fox", add_special_tokens=False).ids
    with torch.no_grad():
        expected = float(torch.log_softmax(reference(torch.tensor([ids])).logits[0, -1].double(), -1)[259])
    assert run(engine.logprobs(ids, [259])) == pytest.approx([expected], abs=1e-2)


def test_a_token_that_ends_within_a_character_has_no_log_probability(engine, run, tokenizer) -> None:
    """The first byte of an emoji: it is not told, and those around it are; no error as if the token were another."""
    ids = tokenizer.encode("The fox", add_special_tokens=False).ids
    first, within, last = run(engine.logprobs(ids, [65, 0xF0, 259]))
    assert math.isnan(within)
    assert max(first, last) < 0


def test_an_adapter_works_when_asked_for_and_only_then(
    tiny_hf, tiny_gguf, peft_adapter, reference, tokenizer, run, tmp_path
) -> None:
    """With the adapter the engine equals PEFT; without it, in the same process, it equals the base."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_hf, dtype=torch.float32), peft_adapter
    ).eval()
    run(pack.adapter(peft_adapter, tiny_gguf, tmp_path / "a.gguf"))
    ids = tokenizer.encode("The fox ran", add_special_tokens=False).ids
    with_it, scores = greedy(tuned, ids, 24)
    without, base_scores = greedy(reference, ids, 24)
    assert with_it != without

    async def ask() -> list[Any]:
        adapters = (Adapter("tuned", tmp_path / "a.gguf"),)
        spec = EngineSpec("llamacpp", tiny_gguf, adapters, context=256, parallel=1, threads=1)
        engine = await LlamaCppEngine.start(spec)
        try:
            found: list[Any] = []
            for name, tokens in (("tuned", with_it), (None, without), ("tuned", with_it)):
                found.append(await engine.complete(ids, len(tokens), adapter=name))
                found.append(await engine.logprobs(ids, tokens[:4], name))
            return found
        finally:
            await engine.close()

    found = run(ask())
    assert found[0] == with_it
    assert found[1] == pytest.approx(scores[:4], abs=1e-2)
    assert found[2] == without
    assert found[3] == pytest.approx(base_scores[:4], abs=1e-2)
    assert found[4] == with_it


def test_what_the_base_remembers_of_a_prompt_never_reaches_an_adapter(
    tiny_gguf, peft_adapter, run, tmp_path
) -> None:
    """The same prompts, first to the base and then to the adapter: as if the base had never been asked."""
    run(pack.adapter(peft_adapter, tiny_gguf, tmp_path / "a.gguf"))
    questions = [
        f"Ticket number {number}: where is the fox that jumped over dog {number}?" for number in range(12)
    ]
    spec = EngineSpec(
        "llamacpp", tiny_gguf, (Adapter("tuned", tmp_path / "a.gguf"),), context=256, parallel=2
    )

    async def answers(engine: LlamaCppEngine, adapter: str | None) -> list[str]:
        async def one(question: str) -> str:
            asked = [{"role": "user", "content": question}]
            pieces = engine.generate(asked, Sampling(temperature=0, max_tokens=16), adapter=adapter)
            return "".join([delta.text async for delta in pieces])

        return [await one(question) for question in questions]

    async def ask(base_first: bool) -> list[str]:
        engine = await LlamaCppEngine.start(spec)
        try:
            if base_first:
                await answers(engine, None)
            return await answers(engine, "tuned")
        finally:
            await engine.close()

    assert run(ask(base_first=True)) == run(ask(base_first=False))


@pytest.mark.parametrize("dtype", ["f16", "bf16", "q8_0"])
def test_every_dtype_can_be_served(dtype: str, tiny_hf, tmp_path, run) -> None:
    """A model packed in each dtype loads and a token comes out."""
    run(pack.model(tiny_hf, tmp_path / "m.gguf", dtype=dtype))

    async def ask() -> int:
        engine = await LlamaCppEngine.start(
            EngineSpec("llamacpp", tmp_path / "m.gguf", context=256, parallel=1, threads=1)
        )
        try:
            deltas = [d async for d in engine.generate(CHAT, Sampling(temperature=0, max_tokens=3))]
            return deltas[-1].completion_tokens
        finally:
            await engine.close()

    assert run(ask()) >= 1


def test_a_template_gives_the_fields_and_the_folder_the_tensors(tiny_hf, tiny_gguf, tmp_path) -> None:
    """Packed with a template, the file equals one packed from config.json, fields and tensors."""
    import gguf
    import numpy as np

    pack.model_to_gguf(tiny_hf, tmp_path / "copy.gguf", template_gguf=tiny_gguf, dtype="f32")
    ours, theirs = gguf.GGUFReader(tmp_path / "copy.gguf"), gguf.GGUFReader(tiny_gguf)
    assert {k: f.contents() for k, f in ours.fields.items() if not k.startswith("GGUF.")} == {
        k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")
    }
    assert [t.name for t in ours.tensors] == [t.name for t in theirs.tensors]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(ours.tensors, theirs.tensors, strict=True))


def test_bfloat16_weights_are_read_exactly(tiny_hf, tmp_path, reference) -> None:
    """A bf16 checkpoint packed as f32 holds the very same numbers."""
    import gguf
    import numpy as np
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_hf, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "bf16")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "bf16" / name).write_bytes((tiny_hf / name).read_bytes())
    pack.model_to_gguf(tmp_path / "bf16", tmp_path / "m.gguf", dtype="f32")
    tensors = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    expected = model.model.layers[1].mlp.up_proj.weight.float().detach().numpy()
    assert np.array_equal(tensors["blk.1.ffn_up.weight"], expected)
    assert "output.weight" not in tensors


def test_a_quantised_file_is_widened_to_the_same_weights(tiny_hf, tiny_gguf, tmp_path, run) -> None:
    """Eight bits become sixteen: fields and tokenizer stay, and each matrix is what the eight bits said."""
    import gguf
    import numpy as np

    narrow, wide = tmp_path / "narrow.gguf", tmp_path / "wide.gguf"
    pack.model_to_gguf(tiny_hf, narrow, dtype="q8_0")
    run(widen.widened(narrow, wide, "f16"))
    before, after = header.read(narrow), header.read(wide)
    told = {key: value for key, value in before.fields.items() if key != "general.file_type"}
    assert {key: value for key, value in after.fields.items() if key != "general.file_type"} == told
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(wide).tensors}
    for tensor in gguf.GGUFReader(narrow).tensors:
        kept = tensors[tensor.name]
        if "norm" not in tensor.name:
            assert kept.tensor_type == gguf.GGMLQuantizationType.F16
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_allclose(np.asarray(kept.data, np.float32), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(PackFailed, match="cannot be widened"):
        run(widen.widened(tiny_hf / "config.json", wide, "f16"))


def test_an_adapter_of_another_model_is_refused(peft_adapter, tiny_gguf, tmp_path) -> None:
    """The shapes of adapter and base are compared, and the error names the module."""
    from safetensors.numpy import load_file, save_file

    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "adapter_config.json").write_text((peft_adapter / "adapter_config.json").read_text())
    tensors = load_file(peft_adapter / "adapter_model.safetensors")
    key = next(k for k in tensors if k.endswith("q_proj.lora_A.weight"))
    tensors[key] = tensors[key][:, :64].copy()
    save_file(tensors, wrong / "adapter_model.safetensors")
    with pytest.raises(PackFailed, match=r"does not fit the base: .*q_proj"):
        pack.adapter_to_gguf(wrong, tiny_gguf, tmp_path / "a.gguf")
    assert not list(tmp_path.glob("*.gguf")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("key", "value"), [("use_dora", True), ("peft_type", "PROMPT_TUNING"), ("lora_alpha", 0)]
)
def test_adapters_that_llama_cpp_cannot_apply_are_refused(
    key, value, peft_adapter, tiny_gguf, tmp_path
) -> None:
    """Nothing is packed that would be served as something else than it was trained as."""
    config = json.loads((peft_adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(PackFailed, match=r"cannot be applied|cannot apply|change nothing"):
        pack.adapter_to_gguf(tmp_path, tiny_gguf, tmp_path / "a.gguf")


def test_a_tokenizer_cut_in_an_unknown_way_is_refused(tiny_hf, tmp_path) -> None:
    """A wrong guess would tokenise silently otherwise."""
    for file in tiny_hf.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Metaspace"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(PackFailed, match="Metaspace"):
        pack.model_to_gguf(tmp_path, tmp_path / "m.gguf")


def test_the_child_says_why_it_failed(tmp_path, run) -> None:
    """The words of the child's error reach the caller."""
    with pytest.raises(PackFailed, match=r"adapter_config\.json"):
        run(pack.adapter(tmp_path, tmp_path / "base.gguf", tmp_path / "a.gguf"))


def test_the_header_gives_shapes_and_context(tiny_gguf) -> None:
    """Rows come first, and the context is the model's."""
    head = header.read(tiny_gguf)
    assert head.architecture == "llama"
    assert head.context == 1024
    assert head.tensors["blk.0.ffn_up.weight"] == (320, 128)


@given(cut=st.integers(min_value=0, max_value=4000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_header_cut_short_is_an_error_of_ours(cut: int, tiny_gguf, tmp_path_factory) -> None:
    """However little of the file is there, the answer is NotGguf."""
    part = tmp_path_factory.mktemp("cut") / "cut.gguf"
    part.write_bytes(tiny_gguf.read_bytes()[:cut])
    with pytest.raises(header.NotGguf):
        header.read(part)
