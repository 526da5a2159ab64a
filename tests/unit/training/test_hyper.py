"""From the wire's configuration to what the trainer does."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.contract import train_types
from qianfan.contract.errors import BAD_TRAIN_CONFIG, Fault
from qianfan_platform.training.hyper import Plan, resolve


def plan(name: str = "ERNIE-Bot-turbo-0725", peft: str | None = "LoRA", **config: Any) -> Plan:
    return resolve(train_types.table()[name], peft, config, context=4096, records=200)


@pytest.mark.parametrize("name", [row.name for row in train_types.table().values()])
def test_every_train_type_trains_by_its_own_defaults(name: str) -> None:
    """LoRA where it is allowed, whole weights elsewhere; no default is refused."""
    row = train_types.table()[name]
    for method in ("LoRA", "ALL"):
        if method in row.peft:
            assert plan(name, method).method == method


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


def test_prompt_tuning_is_refused_with_a_way_out() -> None:
    """P-tuning is known; the engines cannot serve it."""
    with pytest.raises(Fault, match="P-tuning"):
        plan("Llama-2-7b", "P-tuning")


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
