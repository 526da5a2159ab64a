"""What is advertised can be had."""

from __future__ import annotations

import pytest

from qianfan.contract import train_types
from qianfan.contract.enums import TrainMode
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.training.hyper import Wish, resolve
from qianfan_platform.training.supported import models

ROWS = {row["model"]: row for row in models(Catalogue.load())}


def test_every_train_type_and_every_trainable_entry_is_there() -> None:
    """Newer clients cannot train what is not listed."""
    assert set(train_types.table()) <= set(ROWS)
    assert "SmolLM2-135M-Instruct" in ROWS


@pytest.mark.parametrize("name", ROWS)
def test_the_advertised_defaults_make_the_run_that_no_words_make(name: str) -> None:
    """In every mode by every method: sending all defaults, and sending nothing, come to the same."""
    row = train_types.table()[name]
    for mode in ROWS[name]["supportTrainMode"]:
        for scale in mode["supportParameterScale"]:
            told = {entry["key"]: entry["default"] for entry in scale["supportHyperParameterConfig"]}
            runs = [
                resolve(
                    row,
                    Wish(TrainMode(mode["trainMode"]), scale["parameterScale"], config, v2=True),
                    context=4096,
                    records=100,
                )
                for config in (told, {})
            ]
            assert runs[0].hyper == runs[1].hyper
            told_of = [text for text in runs[0].warnings if "the cloud takes" in text or "no effect" in text]
            # where the cloud has no default, ours is one that learns, whatever it takes
            assert not [text for text in told_of if "learningRate" not in text]
