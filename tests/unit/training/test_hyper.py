"""From the wire's configuration to what the trainer does."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.contract import train_types
from qianfan.contract.enums import TrainMode
from qianfan.contract.errors import BAD_TRAIN_CONFIG, Fault
from qianfan_platform.training import keys
from qianfan_platform.training.hyper import Plan, Wish, as_json, mode_of, resolve, told


def plan(
    name: str = "ERNIE-Bot-turbo-0725",
    peft: str | None = "LoRA",
    mode: TrainMode = TrainMode.SFT,
    v2: bool = False,
    **config: Any,
) -> Plan:
    return resolve(train_types.table()[name], Wish(mode, peft, config, v2), context=4096, records=200)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("name", [row.name for row in train_types.table().values()])
def test_every_train_type_trains_by_its_own_defaults(name: str, v2: bool) -> None:
    """Every method in every mode, in either generation: no default is refused, none is out of the cloud's range."""
    for mode in TrainMode:
        for method in keys.ALL_METHODS:
            made = plan(name, method, mode, v2)
            assert made.method == method
            assert not [text for text in made.warnings if "the cloud takes" in text]


def test_the_two_generations_have_defaults_of_their_own() -> None:
    """0725 by LoRA: 3e-5 in the documented trainer of V1, 3e-4 in the tables of V2."""
    assert plan().hyper.learning_rate == 3e-5
    assert plan(v2=True).hyper.learning_rate == 3e-4
    assert plan(peft="FullFineTuning", v2=True).hyper.learning_rate == 3e-5


def test_what_has_no_default_anywhere_gets_one_that_learns() -> None:
    """SQLCoder-7B has limits and no defaults in V2; preferences are in no table."""
    assert plan("SQLCoder-7B", "ALL", v2=True).hyper.learning_rate == 1e-4
    assert plan("ERNIE-Speed", "LoRA", TrainMode.DPO, v2=True).hyper.learning_rate == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", 0),
        ("epoch", 1.5),
        ("epoch", True),
        ("epoch", "many"),
        ("batchSize", 0),
        ("batchSize", 100_000),
        ("learningRate", 0),
        ("learningRate", -1e-3),
        ("learningRate", 5),
        ("maxSeqLen", 2),
        ("schedulerName", "zigzag"),
        ("loraRank", 0),
        ("loraAllLinear", "Maybe"),
        ("loraTargetModules", "q_proj"),
        ("learningRate", float("nan")),
        ("beta", 0),
        ("virtualTokens", 0),
        ("seed", -1),
        ("loraDropout", 1.5),
        ("warmupRatio", -0.1),
        ("tooLong", "ignore"),
        ("checkpointSteps", 0),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_name(field: str, value: Any) -> None:
    """The error names field and value, and says what would be right."""
    with pytest.raises(Fault) as refused:
        plan(**{field: value})
    assert refused.value.row is BAD_TRAIN_CONFIG
    assert field in refused.value.text
    assert repr(value) in refused.value.text


def test_a_mode_that_is_not_trained_here_is_refused_with_those_that_are() -> None:
    """KTO is known to newer clients."""
    with pytest.raises(Fault, match="'KTO' is not trained here") as refused:
        mode_of("KTO")
    assert "PostPretrain" in refused.value.text
    assert "DPO learns preferences" in refused.value.text


def test_a_mode_is_known_in_any_case() -> None:
    """The documentation itself writes it in two ways."""
    assert mode_of("PostPreTrain") is TrainMode.PostPretrain
    assert mode_of("sft") is TrainMode.SFT
    assert TrainMode("dpo") is TrainMode.DPO


def test_a_method_or_mode_that_the_cloud_does_not_offer_is_a_warning() -> None:
    """The model that trains can do it, so it is done."""
    assert any("does not offer SFT by P-tuning" in text for text in plan(peft="P-tuning").warnings)
    assert any("does not offer DPO by LoRA" in text for text in plan(mode=TrainMode.DPO).warnings)
    assert not any("offer" in text for text in plan("Llama-2-7b", "P-tuning").warnings)


def test_layers_are_named_in_either_way() -> None:
    """loraAllLinear is a text on the wire; module names may be written with what stands before them."""
    assert plan().hyper.lora_targets == ()
    assert plan(loraAllLinear="False").hyper.lora_targets == ("q_proj", "v_proj")
    assert plan(loraAllLinear=False).hyper.lora_targets == ("q_proj", "v_proj")
    chosen = plan(loraTargetModules=["self_attn.q_proj", "o_proj"])
    assert chosen.hyper.lora_targets == ("q_proj", "o_proj")


def test_schedules_mean_what_their_names_say() -> None:
    """Constant has no warm-up unless one is asked for; polynomial is linear, and told."""
    assert plan(schedulerName="constant").hyper.warmup_ratio == 0
    assert plan(schedulerName="constant_with_warmup").hyper.warmup_ratio == 0.05
    assert plan(schedulerName="cosine").hyper.scheduler == "cosine"
    made = plan(schedulerName="polynomial")
    assert made.hyper.scheduler == "linear"
    assert any("polynomial" in text for text in made.warnings)


def test_what_has_no_effect_is_told() -> None:
    """A key of another method, and one that nobody knows: kept, and said to do nothing."""
    told = plan(peft="ALL", loraRank=8, magic=1).warnings
    assert any("loraRank has no effect in SFT by ALL" in text for text in told)
    assert any("magic is no hyper-parameter" in text for text in told)


def test_a_name_that_is_nearly_right_is_told_with_the_right_one() -> None:
    """As Python spells it, in another case, in the plural; what is like nothing gets no guess."""
    told = plan(learning_rate=1, BatchSize=2, epochs=3, magic=1).warnings
    for wrong, right in (("learning_rate", "learningRate"), ("BatchSize", "batchSize"), ("epochs", "epoch")):
        assert any(text.startswith(wrong) and text.endswith(f"did you mean {right}?") for text in told)
    assert not any(text.startswith("magic") and "did you mean" in text for text in told)


def test_a_configuration_of_many_unknown_names_is_not_told_name_by_name() -> None:
    """Ten are named; more than 64 KiB are refused, and no value makes an error longer than a line."""
    told = plan(**{f"unknown{n}": n for n in range(50)}).warnings
    assert len([text for text in told if "is no hyper-parameter" in text]) == 10
    assert "so are 40 more names" in told
    with pytest.raises(Fault, match="more than 65536 bytes"):
        plan(**{f"unknown{n}": "x" * 1000 for n in range(70)})
    with pytest.raises(Fault) as refused:
        plan(epoch="x" * 10_000)
    assert len(refused.value.text) < 200


def test_each_generation_is_refused_in_its_own_words() -> None:
    """V1 says trainConfig and peftType, V2 param[hyperParameterConfig.…] and parameterScale."""
    for v2, words in (
        (False, "trainConfig.epoch is 0"),
        (True, "param[hyperParameterConfig.epoch] invalid: it is 0"),
    ):
        with pytest.raises(Fault) as refused:
            plan(v2=v2, epoch=0)
        assert words in refused.value.text
    for v2, words in ((False, "ALL, LoRA, P-tuning"), (True, "FullFineTuning, LoRA, PromptTuning")):
        with pytest.raises(Fault) as refused:
            plan(peft="Magic", v2=v2)
        assert words in refused.value.text


def test_virtual_tokens_leave_room_for_a_sample() -> None:
    """They are part of every sample; where they are not learned they do not matter."""
    with pytest.raises(Fault) as refused:
        plan(peft="P-tuning", virtualTokens=16, maxSeqLen=16)
    assert "virtualTokens is 16. it must be less than the 16 tokens of a sample" in refused.value.text
    assert plan(peft="P-tuning", virtualTokens=15, maxSeqLen=16).hyper.virtual_tokens == 15
    assert plan(peft="LoRA", virtualTokens=16, maxSeqLen=16).hyper.max_seq_len == 16


@pytest.mark.parametrize("mode", list(TrainMode))
@pytest.mark.parametrize("method", keys.ALL_METHODS)
def test_what_holds_can_be_sent_again(mode: TrainMode, method: str) -> None:
    """What a run tells of its hyper-parameters makes the same run, without a warning of no effect."""
    first = plan(peft=method, mode=mode, loraTargetModules=["q_proj"], epoch=3, seed=5)
    again = plan(peft=method, mode=mode, **told(as_json(first.hyper), mode.value, method))
    effective = told(as_json(first.hyper), mode.value, method)
    assert effective == told(as_json(again.hyper), mode.value, method)
    assert not [text for text in again.warnings if "no effect" in text]


def test_the_seed_and_the_checkpoints_can_be_chosen() -> None:
    """Every run can be told again from its data, its code and its seed."""
    made = plan(seed=11, checkpointsKept=4, checkpointSteps=10)
    assert (made.seed, made.checkpoints_kept, made.checkpoint_steps) == (11, 4, 10)
    assert plan().seed == 7


def test_what_only_the_cloud_refuses_is_a_warning() -> None:
    """A rate outside the cloud's range goes on, and is told."""
    made = plan(learningRate=2e-3)
    assert made.hyper.learning_rate == 2e-3
    assert any("the cloud takes learningRate" in text for text in made.warnings)


def test_a_run_that_can_hardly_learn_is_obeyed_and_told() -> None:
    """The guide's epochs=1 and 2e-5: obeyed, with a recommended configuration beside it."""
    made = plan("ERNIE-Bot-turbo-0516", "ALL", epoch=1, batchSize=32, learningRate=2e-5)
    assert made.hyper.learning_rate == 2e-5
    assert any("TrainConfig(" in text for text in made.warnings)


def test_a_length_beyond_the_model_is_cut_and_told() -> None:
    """The longest sample can be as long as the model's context, not longer."""
    made = plan("Qianfan-Chinese-Llama-2-7B-32K", "LoRA")
    assert made.hyper.max_seq_len == 4096
    assert any("32768" in text for text in made.warnings)
