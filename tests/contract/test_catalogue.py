"""An operator's own model: named in one file, trained and served under its name and in the place of others."""

from __future__ import annotations

from pathlib import Path

import pytest

import qianfan
from qianfan import embedded
from qianfan.dataset import Dataset
from qianfan.errors import InternalError
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DeployConfig, TrainConfig

from .conftest import write_conversations


def test_a_model_of_ones_own_trains_and_serves(tmp_path: Path) -> None:
    """A folder in Hugging Face layout, given by path, under a name of its own and as ERNIE-Bot."""
    from qianfan_platform.catalogue import tiny

    tiny.build(tmp_path / "weights")
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        '[models."my-chat"]\nsource = "path:weights"\ncontext = 512\ntrainable = true\ndtype = "f32"\n'
        '[serves]\n"ERNIE-Bot" = "my-chat"\n'
    )
    with embedded.start(tmp_path / "data", catalogue=catalogue):
        answer = qianfan.ChatCompletion().do(
            model="ERNIE-Bot", messages=[{"role": "user", "content": "hi"}], max_output_tokens=4
        )
        assert answer.headers["x-qianfan-served-by"] == "my-chat; stand-in"
        trainer = LLMFinetune(
            train_type="my-chat",
            base_model="my-chat",
            dataset=Dataset.load(data_file=str(write_conversations(tmp_path / "rows.jsonl", 6))),
            train_config=TrainConfig(epoch=1, peft_type="LoRA"),
            deploy_config=DeployConfig(replicas=1, pool_type=1),
            validate_strict=False,
        ).run()
        assert (
            trainer.result[0]["service"].exec({"messages": [{"role": "user", "content": "hi"}]}).code == 200
        )


def test_a_catalogue_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    """The message names the file, the key, and what is wrong."""
    catalogue = tmp_path / "models.toml"
    catalogue.write_text('[models."x"]\nsorce = "path:weights"\n')
    with pytest.raises(InternalError, match=r"models\.toml: models\.x\.sorce is unknown"):
        embedded.start(tmp_path / "data", catalogue=catalogue)
