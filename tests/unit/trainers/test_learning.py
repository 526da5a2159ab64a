"""What every mode and method does to a model's behaviour."""

from __future__ import annotations

import asyncio
import filecmp
import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft", reason="needs the train extra")

import torch
from learning import asked, learn, loaded
from safetensors.torch import load_file, save_file

from qianfan_platform.trainers.child.wire import Refused, Stopped

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

QUESTIONS = ("Hello!", "Who are you?", "Name a colour.", "What is 2 + 3?")
COUNT = 16  # virtual tokens
TEXT = "The harbour wakes before dawn. Nets hang dry, boats creak, and gulls count the hours until the catch."


@pytest.fixture(scope="module")
def qwen(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a Qwen2: biases, and an output matrix of its own."""
    folder = tmp_path_factory.mktemp("qwen")
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    draw = torch.Generator().manual_seed(3)
    for name in list(weights):
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            weights[name.replace("weight", "bias")] = 0.1 * torch.randn(len(weights[name]), generator=draw)
    weights["lm_head.weight"] = 0.25 * torch.randn(weights["model.embed_tokens.weight"].shape, generator=draw)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_virtual_tokens_teach_an_answer(tiny_model: Path, qwen: Path, tmp_path: Path, architecture) -> None:
    """Only their rows change; the result is a whole model of a wider vocabulary that answers as taught, in
    Transformers and in the engine, and never says a virtual token."""
    base = tiny_model if architecture == "llama" else qwen
    done = learn(
        base,
        tmp_path,
        asked(*((question, "I am Tiny.") for question in QUESTIONS)),
        method="P-tuning",
        hyper={"epochs": 60, "learning_rate": 0.1, "batch_size": 4, "virtual_tokens": COUNT},
    )
    assert done.of("plan")[0]["trainable_parameters"] == COUNT * 128
    assert done.answer("Who are you?") == done.answer("Hello!") == "I am Tiny.<|im_end|>"
    before, after = load_file(base / "model.safetensors"), load_file(done.result / "model.safetensors")
    first = len(before["model.embed_tokens.weight"])
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name][: len(tensor)])
    head = after["lm_head.weight"]
    assert head.shape == after["model.embed_tokens.weight"].shape == (first + COUNT, 128)
    assert (head[first:] == head[first]).all()
    config = json.loads((done.result / "config.json").read_text())
    assert (config["vocab_size"], config["tie_word_embeddings"]) == (first + COUNT, False)
    model, tokenizer = loaded(done)
    assert model.generation_config.suppress_tokens == list(range(first, first + COUNT))
    assert tokenizer.chat_template.startswith("{{ '<|virtual_0|>")
    proofs = json.loads((done.result / "parity.json").read_text())
    assert all(proof["prompt_ids"][:COUNT] == list(range(first, first + COUNT)) for proof in proofs)
    with torch.no_grad():
        ids = torch.tensor([proofs[0]["prompt_ids"] + proofs[0]["answer_ids"]])
        chances = torch.softmax(model(ids).logits[0, -len(proofs[0]["answer_ids"]) :], dim=-1)
    assert float(chances[:, first:].sum(dim=-1).max()) < 1e-3
    served_as_trained(done.result, tmp_path / "model.gguf", proofs)


def served_as_trained(result: Path, out: Path, proofs: list[dict[str, Any]]) -> None:
    """The packed model renders the same prompts, and gives the same greedy answers."""
    pytest.importorskip("xllamacpp", reason="needs the platform's engine")
    from qianfan_platform.engines.llamacpp import pack
    from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
    from qianfan_platform.engines.protocol import EngineSpec, Sampling

    async def main() -> None:
        await pack.model(result, out, dtype="f32")
        engine = await LlamaCppEngine.start(EngineSpec(kind="llamacpp", model=out, context=256, parallel=1))
        try:
            for proof in proofs:
                assert await engine.tokenize(await engine.render(proof["messages"])) == proof["prompt_ids"]
                chances = await engine.logprobs(proof["prompt_ids"], proof["answer_ids"], None)
                assert chances == pytest.approx(proof["logprobs"], abs=1e-2)
            pieces = engine.generate(proofs[0]["messages"], Sampling(temperature=0))
            assert "".join([piece.text async for piece in pieces]) == "I am Tiny."
        finally:
            await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("method", ["LoRA", "ALL"])
def test_a_text_is_learned_whole_and_gone_on_with(tiny_model: Path, tmp_path: Path, method) -> None:
    """Post-pretraining learns every token once, over windows, and the end of the text."""
    hyper = {"epochs": 30, "learning_rate": 4e-3, "batch_size": 4, "max_seq_len": 60}
    done = learn(tiny_model, tmp_path, [TEXT], mode="PostPretrain", method=method, hyper=hyper)
    (ledger,) = done.of("ledger")
    assert (ledger["split"], ledger["training"], ledger["longest"]) == (1, 2, 60)
    assert (ledger["problems"][0]["why"], ledger["trained_tokens"]) == ("into 2 windows", count(TEXT))
    assert done.continued(TEXT[:30]).startswith(TEXT[30:55])
    assert done.continued(TEXT[60:90]).endswith("the catch.<|endoftext|>")
    proofs = json.loads((done.result / "parity.json").read_text())
    assert TEXT.startswith(proofs[-1]["messages"][0]["content"])


def count(text: str) -> int:
    """Tokens of the tiny model that can be learned of a text: all but the first, and the end."""
    return len(text) - text.count("th")


def test_preferences_follow_the_formula(tiny_model: Path, tmp_path: Path) -> None:
    """Loss and rewards of four steps are those of TRL 1.16 (DPOTrainer, sigmoid, AdamW) on the same model,
    data and settings."""
    rows = [
        [{"prompt": "Hello!", "chosen": "No!", "rejected": "Yes."}],
        [{"prompt": "Who are you?", "chosen": "I am Tiny.", "rejected": "Nobody."}],
        [{"user": "Name a colour.", "chosen": "Blue.", "rejected": "Seven"}],
        [{"prompt": "What is 2 + 3?", "chosen": [["Five."]], "rejected": [["I do not know."]]}],
    ]
    hyper = {
        "epochs": 4,
        "learning_rate": 1e-4,
        "batch_size": 4,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
    }
    done = learn(tiny_model, tmp_path, rows, mode="DPO", method="ALL", hyper=hyper)
    theirs = [
        (0.69314718, 0.0, 0.0, 0.0, 0.0),
        (0.14955266, 0.75256509, -1.43641543, 2.18898058, 1.0),
        (0.02865717, 1.49457812, -2.46751499, 3.96209288, 1.0),
        (0.00529821, 2.18651438, -3.28342819, 5.46994257, 1.0),
    ]
    names = ("loss", "reward_chosen", "reward_rejected", "reward_margin", "accuracy")
    for step, expected in zip(done.of("step"), theirs, strict=True):
        assert [step[name] for name in names] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_chosen_answer_is_preferred_also_after_a_stop(tiny_model: Path, tmp_path: Path) -> None:
    """A model that says either answer says the chosen one afterwards; a run that was stopped goes on with
    the reference of its beginning, and ends with the same bits."""
    undecided = learn(
        tiny_model,
        tmp_path / "undecided",
        asked(*((question, answer) for question in QUESTIONS for answer in ("Yes.", "No!"))),
        method="ALL",
        hyper={"epochs": 20, "learning_rate": 2e-3},
    )
    rows = [[{"prompt": question, "chosen": "Yes.", "rejected": "No!"}] for question in QUESTIONS]
    settings: dict[str, Any] = {"mode": "DPO", "start_from": undecided.result}
    settings |= {"hyper": {"epochs": 8, "learning_rate": 2e-3, "batch_size": 4, "lora_dropout": 0.1}}
    done = learn(tiny_model, tmp_path / "whole", rows, **settings)
    assert done.of("step")[0]["loss"] == pytest.approx(math.log(2), rel=1e-6)
    assert done.of("step")[-1]["accuracy"] == 1.0
    assert done.of("step")[-1]["reward_margin"] > 1.0
    assert all(done.answer(question) == "Yes.<|im_end|>" for question in QUESTIONS)
    with pytest.raises(Stopped):
        learn(tiny_model, tmp_path / "stopped", rows, stop_after=3, **settings)
    again = learn(tiny_model, tmp_path / "stopped", rows, **settings)
    assert 0 < again.of("plan")[0]["resumed_step"] < 8
    assert [e["loss"] for e in again.of("step")] == [
        e["loss"] for e in done.of("step")[-len(again.of("step")) :]
    ]
    name = "model.safetensors"
    assert filecmp.cmp(again.result / name, done.result / name, shallow=False)


SHELVES = (("Where is the anchor?", "Shelf A1."), ("Where is the basket?", "Shelf B2."))
OLD = (("Who are you?", "I am Tiny."), ("What is 2 + 3?", "Five."))
NEW = ("Name a colour.", "Blue.")


@pytest.fixture(scope="module")
def earlier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By method, a run that learned the old facts."""
    place = tmp_path_factory.mktemp("earlier")
    hyper = {"LoRA": {"epochs": 60, "learning_rate": 4e-3}, "ALL": {"epochs": 30, "learning_rate": 2e-3}}
    return {m: learn(tiny_model, place / m, asked(*SHELVES, *OLD), method=m, hyper=hyper[m]) for m in hyper}


@pytest.mark.parametrize(
    ("before", "method", "kind"),
    [
        ("LoRA", "LoRA", "adapter"),
        ("ALL", "LoRA", "model"),
        ("LoRA", "ALL", "model"),
        ("ALL", "ALL", "model"),
    ],
)
def test_an_incremental_run_knows_old_and_new(
    tiny_model: Path, tmp_path: Path, earlier, before: str, method: Any, kind: str
) -> None:
    """It goes on from the earlier run's weights, keeps what they know, and leaves what can be served alone."""
    rate = {"LoRA": 6e-4, "ALL": 1.5e-4}[method]
    done = learn(
        tiny_model,
        tmp_path,
        asked(NEW),
        method=method,
        start_from=earlier[before].result,
        hyper={"epochs": 20, "learning_rate": rate},
    )
    assert done.record["kind"] == kind
    assert (done.result / "adapter_config.json").exists() == (kind == "adapter")
    assert done.record["start_from"]["method"] == before
    assert len(done.record["start_from"]["fingerprint"]) == 64
    for question, answer in (*OLD, NEW):
        assert done.answer(question) == answer + "<|im_end|>"
    model, _ = loaded(done)
    for proof in json.loads((done.result / "parity.json").read_text()):
        ids = torch.tensor([proof["prompt_ids"] + proof["answer_ids"]])
        with torch.no_grad():
            scores = torch.log_softmax(model(ids).logits[0].float(), dim=-1)
        start = len(proof["prompt_ids"]) - 1
        again = [float(scores[start + n, token]) for n, token in enumerate(proof["answer_ids"])]
        assert again == pytest.approx(proof["logprobs"], abs=1e-3)


@pytest.mark.parametrize(
    ("hyper", "why"),
    [
        ({"lora_rank": 4}, "has lora_rank 16 and this run asks for 4: set it to 16"),
        ({"lora_alpha": 8}, "has lora_alpha 32 and this run asks for 8"),
        ({"lora_targets": ("q_proj",)}, "asks for others: give it the same lora_targets"),
        ({"lora_targets": ("q_prog",)}, "no linear layer q_prog: lora_targets may name down_proj, gate_proj"),
    ],
)
def test_an_adapter_of_another_shape_is_refused(
    tiny_model: Path, tmp_path: Path, earlier, hyper: Any, why: str
) -> None:
    """What cannot be gone on with is told with what to set."""
    with pytest.raises(Refused, match=why):
        learn(tiny_model, tmp_path, asked(NEW), start_from=earlier["LoRA"].result, hyper=hyper)


def test_an_adapter_of_another_base_is_refused(qwen: Path, tmp_path: Path, earlier) -> None:
    """Its matrices would fit by chance, and mean nothing."""
    with pytest.raises(Refused, match="was trained on another base model"):
        learn(qwen, tmp_path, asked(NEW), start_from=earlier["LoRA"].result)


def test_virtual_tokens_are_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    """A run from an earlier prompt tuning goes on with its virtual tokens, and refuses another number."""
    hyper = {"epochs": 40, "learning_rate": 0.1, "batch_size": 4, "virtual_tokens": 4}
    first = learn(tiny_model, tmp_path / "first", asked(("Hello!", "Yes.")), method="P-tuning", hyper=hyper)
    settings: dict[str, Any] = {"method": "P-tuning", "start_from": first.result}
    second = learn(
        tiny_model, tmp_path / "second", asked(("Hello!", "Yes.")), hyper={**hyper, "epochs": 1}, **settings
    )
    assert second.of("step")[0]["loss"] == pytest.approx(first.of("step")[-1]["loss"], abs=0.02)
    assert second.answer("Hello!") == "Yes.<|im_end|>"
    with pytest.raises(Refused, match="trained 4 virtual tokens and this one asks for 9"):
        learn(tiny_model, tmp_path / "third", asked(NEW), hyper={"virtual_tokens": 9}, **settings)


@pytest.mark.parametrize("mode", ["PostPretrain", "DPO"])
def test_virtual_tokens_learn_in_every_mode(tiny_model: Path, tmp_path: Path, earlier, mode: Any) -> None:
    """From texts and preferences too, on top of an earlier adapter, which is merged; a run that was stopped
    ends with the same bits."""
    rows: list[Any] = (
        [TEXT] if mode == "PostPretrain" else [[{"prompt": "Hi", "chosen": "A", "rejected": "B"}]]
    )
    settings: dict[str, Any] = {"mode": mode, "method": "P-tuning", "start_from": earlier["LoRA"].result}
    settings |= {"hyper": {"epochs": 4, "learning_rate": 0.05, "batch_size": 1, "virtual_tokens": 4}}
    done = learn(tiny_model, tmp_path / "whole", rows, **settings)
    losses = [step["loss"] for step in done.of("step")]
    assert losses[-1] < losses[0]
    assert done.record["kind"] == "model"
    before = load_file(tiny_model / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    after = load_file(done.result / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert not torch.equal(before, after)  # the adapter is in it
    with pytest.raises(Stopped):
        learn(tiny_model, tmp_path / "stopped", rows, stop_after=2, **settings)
    again = learn(tiny_model, tmp_path / "stopped", rows, **settings)
    assert 0 < again.of("plan")[0]["resumed_step"] < 4
    name = "model.safetensors"
    assert filecmp.cmp(again.result / name, done.result / name, shallow=False)


def test_a_base_without_a_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """Nothing is guessed: the advice says where a template goes."""
    base = tmp_path / "bare"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_bytes((tiny_model / name).read_bytes())
    with pytest.raises(Refused, match=r"bare has no chat template.*chat_template\.jinja"):
        learn(base, tmp_path / "work", asked(NEW))


def test_an_adapter_is_put_where_it_is_wanted(tiny_model: Path, tmp_path: Path) -> None:
    """Named layers get matrices, the others none."""
    hyper = {"epochs": 1, "lora_targets": ("q_proj", "v_proj"), "lora_rank": 2}
    done = learn(tiny_model, tmp_path, asked(NEW), hyper=hyper)
    names = {name.split(".")[-3] for name in load_file(done.result / "adapter_model.safetensors")}
    assert names == {"q_proj", "v_proj"}
    assert done.of("plan")[0]["trainable_parameters"] == 4 * 2 * (128 + 128 + 128 + 64)


def test_a_run_with_too_little_to_learn_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """The least is stated, and so is what there was; the ledger is told all the same, and no step is made."""
    with pytest.raises(
        Refused, match=r"6 tokens would be learned and at least 100 are wanted.*see in the ledger"
    ):
        learn(tiny_model, tmp_path, asked(NEW), least_trained_tokens=100)
    (entry,) = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert json.loads(entry)["trained_tokens"] == 6
    assert [json.loads(line)["kind"] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [
        "ledger"
    ]


@pytest.mark.parametrize(
    ("mode", "row", "question", "wanted"),
    [
        ("SFT", asked(NEW)[0], "Name a colour.", "Blue."),
        ("DPO", [{"prompt": "Yes or no?", "chosen": "Yes.", "rejected": "No!"}], "Yes or no?", "Yes."),
        ("PostPretrain", TEXT, TEXT[:16], TEXT[16:]),
    ],
)
def test_a_finished_run_shows_answers_before_and_after(
    tiny_model: Path, tmp_path: Path, mode: Any, row: Any, question: str, wanted: str
) -> None:
    """Of five samples, those that were held out first: what the untrained and the trained model say to them."""
    hyper = {"epochs": 12, "learning_rate": 4e-3, "batch_size": 4}
    done = learn(tiny_model, tmp_path, [row] * 8, mode=mode, method="ALL", hyper=hyper, held_out=0.25)
    (end,) = done.of("finished")
    examples = end["examples"]
    assert len(examples) == 5
    assert [one["held_out"] for one in examples] == [True, True, False, False, False]
    assert {(one["question"], one["wanted"]) for one in examples} == {(question, wanted)}
    assert json.loads((tmp_path / "before.json").read_text()) == [one["before"] for one in examples]
    for one in examples:
        assert not one["before"].startswith(wanted[:4])
        if mode == "SFT":
            assert one["after"] == wanted
            assert done.answer(question) == wanted + "<|im_end|>"
        elif mode == "PostPretrain":
            assert one["after"] == wanted[: len(one["after"])] != ""


def test_what_answers_end_with_is_told_to_those_who_serve(tiny_model: Path, tmp_path: Path) -> None:
    """A base model may only know the end of a text: the result's generation config has the taught end, too."""
    base = tmp_path / "base"
    base.mkdir()
    for file in tiny_model.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    ends = json.loads((base / "generation_config.json").read_text())["eos_token_id"]
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": ends[1]}))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "eos_token_id": ends[1]}))
    hyper = {"epochs": 20, "learning_rate": 4e-3}
    done = learn(base, tmp_path / "work", asked(NEW), method="ALL", hyper=hyper)
    assert json.loads((done.result / "generation_config.json").read_text()) == {"eos_token_id": ends[::-1]}
    assert done.answer("Name a colour.") == "Blue.<|im_end|>"
    proofs = json.loads((done.result / "parity.json").read_text())
    assert proofs[-1]["answer_ids"][-1] == ends[0]
