"""`TrainConfig` and `DeployConfig`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from qianfan.contract.enums import DeployPoolType
from qianfan.errors import InvalidArgumentError
from qianfan.trainer.actions import TrainAction
from qianfan.trainer.configs import DeployConfig, TrainConfig
from qianfan.trainer.consts import PeftType, ServiceType


def test_epochs_is_epoch() -> None:
    """The guides' spelling counts; two different values do not."""
    assert TrainConfig(epochs=3).epoch == TrainConfig(epoch=3).epochs == 3
    with pytest.raises(InvalidArgumentError, match="one and the same"):
        TrainConfig(epochs=3, epoch=2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", 0),
        ("epoch", "many"),
        ("learning_rate", -1),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("trainset_rate", 80),
        ("peft_type", "QLoRA"),
        ("lora_dropout", 1),
        ("extras", [1]),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(field: str, value: Any) -> None:
    """The error names field and value, and what to do."""
    with pytest.raises(InvalidArgumentError, match=rf"TrainConfig\.{field} cannot be .*: .*mend {field}"):
        TrainConfig(**{field: value})


def test_an_unknown_field_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With the one that was meant; the rest counts."""
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        config = TrainConfig(learning_rat=0.1, epoch=1)
    assert "'learning_rat'" in caplog.text
    assert "did you mean 'learning_rate'" in caplog.text
    assert config.epoch == 1
    assert config.learning_rate is None


def test_hyper_parameters_have_the_names_of_the_wire() -> None:
    """What is not set is not sent; extras are merged; a boolean is the text that the wire wants."""
    config = TrainConfig(epoch=1, max_seq_len=512, lora_all_linear=True, extras={"grad_clip": 1.0, "x": None})
    assert config.hyper_parameters() == {
        "epoch": 1,
        "maxSeqLen": 512,
        "loraAllLinear": "True",
        "gradClip": 1.0,
    }


def test_what_only_this_platform_takes_is_no_concern_of_the_clouds_limits() -> None:
    """It is sent by its own name."""
    config = TrainConfig(peft_type="LoRA", too_long="drop", checkpoints_kept=3, beta=0.2)
    assert TrainAction("ERNIE-Speed", config).train_config is config
    assert config.hyper_parameters() == {"tooLong": "drop", "checkpointsKept": 3, "beta": 0.2}


def test_a_configuration_may_be_a_file(tmp_path: Path) -> None:
    """JSON here; another suffix, a missing file and other content are refused."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"epoch": 2, "peft_type": "LoRA"}))
    assert TrainConfig.load(path).epoch == 2
    with pytest.raises(InvalidArgumentError, match=r"neither .yaml nor .json"):
        TrainConfig.load(tmp_path.joinpath("c.toml").touch() or tmp_path / "c.toml")
    with pytest.raises(FileNotFoundError):
        TrainConfig.load(tmp_path / "none.json")
    path.write_text("[1]")
    with pytest.raises(InvalidArgumentError, match="no table"):
        TrainConfig.load(path)


def test_a_configuration_may_be_yaml(tmp_path: Path) -> None:
    """The same fields, a line each."""
    pytest.importorskip("yaml")
    path = tmp_path / "c.yaml"
    path.write_text("epoch: 2\nlearning_rate: 0.001\n")
    assert TrainConfig.load(str(path)).learning_rate == 0.001


def test_a_deployment_needs_no_type() -> None:
    """Chat by default; the pool may be an int."""
    config = DeployConfig(replicas=1, pool_type=1)
    assert (config.pool_type, config.service_type) == (DeployPoolType.PublicResource, ServiceType.Chat)
    with pytest.raises(InvalidArgumentError, match="pool_type"):
        DeployConfig(pool_type=9)


def test_the_tuning_method_is_taken_in_every_spelling() -> None:
    """V1 words, V2 words and the enum; the default is that of the train type."""
    kind = "ERNIE-Bot-turbo-0704"
    for word, wire in (
        ("ALL", "ALL"),
        (PeftType.PTuning, "P-tuning"),
        ("FullFineTuning", "ALL"),
        (None, "LoRA"),
    ):
        assert TrainAction(kind, TrainConfig(peft_type=word)).peft_type == wire
    assert TrainAction("ERNIE-Bot-turbo-0516").peft_type == "ALL"
    with pytest.raises(InvalidArgumentError, match="peft_type may be ALL"):
        TrainAction("ERNIE-Bot-turbo-0516", TrainConfig(peft_type="LoRA"))
    relaxed = TrainAction("ERNIE-Bot-turbo-0516", TrainConfig(peft_type="LoRA"), validate_strict=False)
    assert relaxed.peft_type == "LoRA"


def test_defaults_are_those_of_the_train_type() -> None:
    """An own base model lets a name pass that this release does not know."""
    action = TrainAction("SmolLM2-135M-Instruct")
    assert action.train_config is not None
    assert (action.train_config.epoch, action.train_config.learning_rate) == (3, 0.001)
    assert TrainAction("ERNIE-Bot-turbo-0999", base_model="ERNIE-Bot-turbo").base_model == "ERNIE-Bot-turbo"
