"""The cloud's limits, and the defaults by method and mode."""

from __future__ import annotations

import logging

import pytest

from qianfan.contract.enums import TrainMode
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import TrainAction
from qianfan.trainer.configs import TrainConfig
from qianfan.trainer.consts import PeftType
from qianfan.trainer.limits import check, defaults_of


def test_a_value_outside_the_limits_is_refused_for_v2() -> None:
    """The text names each field, value and limit; validate_strict=False logs them instead."""
    config = TrainConfig(epoch=80, batch_size=2, lora_rank=3, lora_alpha=8, peft_type="LoRA")
    with pytest.raises(InvalidArgumentError, match="invalid train_config, please check the config") as caught:
        TrainAction("ERNIE-Speed", config)
    text = str(caught.value)
    assert "epoch=80 is not from 1 to 50" in text
    assert "lora_rank=3 is not one of 2, 4, 8" in text
    assert "lora_alpha is not taken for LoRA" in text
    assert "batch_size" not in text
    assert TrainAction("ERNIE-Speed", config, validate_strict=False).train_config is config


def test_limits_go_by_the_method(caplog: pytest.LogCaptureFixture) -> None:
    """A learning rate for LoRA is too high for all weights; the argument fills what the config leaves open."""
    config = TrainConfig(learning_rate=3e-4)
    assert TrainAction("ERNIE-Speed", config, peft_type="LoRA").peft_type == "LoRA"
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        TrainAction("ERNIE-Speed", config, peft_type=PeftType.ALL)
    with caplog.at_level(logging.WARNING, logger="qianfan"):
        TrainAction("ERNIE-Speed", config, peft_type="ALL", validate_strict=False)
    assert "learning_rate=0.0003" in caplog.text


def test_alpha_is_a_choice_and_defaults_are_not_compared() -> None:
    """32 is taken; so is every documented default."""
    fits = TrainConfig(lora_alpha=32, lora_rank=64, lora_dropout=0.1, peft_type="LoRA")
    TrainAction("Qianfan-Chinese-Llama-2-7B", fits)
    with pytest.raises(InvalidArgumentError, match="lora_alpha=12"):
        TrainAction("Qianfan-Chinese-Llama-2-7B", TrainConfig(lora_alpha=12, peft_type="LoRA"))
    for name in ("ERNIE-Bot-turbo-0922", "CodeLlama-7B", "BLOOMZ-7B", "ChatGLM2-6B-32K"):
        assert TrainAction(name).train_config is not None


def test_v1_compares_only_when_it_is_asked_to() -> None:
    """The guide's batch_size for ERNIE-Bot-turbo-0725 is not in the cloud's table, and is taken."""
    guide = TrainConfig(epochs=1, batch_size=4, learning_rate=0.00003)
    TrainAction("ERNIE-Bot-turbo-0725", guide)
    with pytest.raises(InvalidArgumentError, match="batch_size is not taken"):
        TrainAction("ERNIE-Bot-turbo-0725", guide, validate_strict=True)
    check(guide, "a-name-of-ones-own", TrainMode.SFT, "LoRA", True)


def test_defaults_are_those_of_mode_and_method() -> None:
    """As the tables of each generation have them; where there are none, a config is wanted."""
    assert defaults_of("ERNIE-Speed", TrainMode.SFT, "ALL").learning_rate == 3e-5
    assert defaults_of("ERNIE-Speed", TrainMode.SFT, "LoRA").lora_rank == 8
    assert defaults_of("ERNIE-Speed", TrainMode.PostPretrain, "ALL").logging_steps is None
    assert defaults_of("ERNIE-Bot-turbo-0725").learning_rate == 3e-5
    assert defaults_of("ERNIE-Bot-turbo-0725", TrainMode.SFT, "ALL").max_seq_len == 4096
    assert TrainAction("ERNIE-Speed", train_mode="PostPretrain").peft_type == "ALL"
    with pytest.raises(InvalidArgumentError, match="can not find default config"):
        TrainAction("Qianfan-Chinese-Llama-2-7B-32K", peft_type="P-tuning")
