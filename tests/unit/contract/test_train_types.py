"""The table of train types: whole, and true to what is documented of it."""

from __future__ import annotations

import pytest

from qianfan.contract import train_types
from qianfan.contract.train_types import Limit

TABLE = train_types.table()
# The cloud's own defaults that its own limits do not name.
ODD = {
    ("ERNIE-Bot-turbo-0922", "LoRA", "loraAllLinear"),
    ("BLOOMZ-7B", "LoRA", "maxSeqLen"),
    ("CodeLlama-7B", "LoRA", "loraTargetModules"),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_default_is_within_its_limits(name: str) -> None:
    """But for three, which the documentation itself has so."""
    for mode, methods in TABLE[name].modes.items():
        for method, tuning in methods.items():
            for key, value in (tuning.defaults or {}).items():
                if tuning.limits and (name, method, key) not in ODD:
                    assert key in tuning.limits, (mode, method, key)
                    assert tuning.limits[key].holds(value), (mode, method, key)


@pytest.mark.parametrize(
    ("name", "mode", "method", "key", "default", "limit"),
    [
        ("ERNIE-Speed", "SFT", "LoRA", "loraRank", 8, "one of 2, 4, 8"),
        ("ERNIE-Speed", "PostPretrain", "ALL", "epoch", 1, "from 1 to 10"),
        ("ERNIE-Bot-turbo-0704", "SFT", "P-tuning", "learningRate", 0.03, "from 0.003 to 0.1"),
        ("Qianfan-Chinese-Llama-2-13B", "SFT", "LoRA", "loraAlpha", 32, "one of 8, 16, 32, 64"),
        ("Qianfan-Chinese-Llama-2-13B", "PostPretrain", "ALL", "batchSize", 192, "from 48 to 960"),
        ("Qianfan-Chinese-Llama-2-7B-32K", "SFT", "ALL", "maxSeqLen", 32768, "one of 4096, 8192, 16384, 32768"),
        ("Baichuan2-7B", "SFT", "ALL", "learningRate", 1e-6, "from 1e-10 to 0.0002"),
    ],
)  # fmt: skip
def test_the_table_is_the_documented_one(
    name: str, mode: str, method: str, key: str, default: object, limit: str
) -> None:
    """Samples from each corner of it."""
    tuning = TABLE[name].tuning(mode, method)
    assert tuning is not None
    assert tuning.defaults is not None
    assert tuning.defaults[key] == default
    assert str(tuning.limits[key]) == limit


def test_what_the_cloud_does_not_offer_has_no_row() -> None:
    """ChatGLM2-6B-32K is tuned as a whole only; SQLCoder-7B has limits, and no defaults."""
    assert TABLE["ChatGLM2-6B-32K"].tuning("SFT", "LoRA") is None
    assert TABLE["ERNIE-Bot-turbo-0725"].tuning("PostPretrain", "ALL") is None
    sql = TABLE["SQLCoder-7B"].tuning("SFT", "ALL")
    assert sql is not None
    assert sql.defaults is None
    assert "batchSize" in sql.limits


def test_limits_hold_numbers_texts_and_lists() -> None:
    """A range takes numbers from end to end; a choice takes its values, and lists of them."""
    assert Limit(1, 4).holds(4)
    assert not Limit(1, 4).holds(4.1)
    assert not Limit(1, 4).holds(True)
    assert not Limit(1, 4).holds("2")
    assert Limit(choices=("True", "False")).holds(True)
    assert Limit(choices=("a", "b")).holds(["a", "b"])
    assert not Limit(choices=("a", "b")).holds(["a", "c"])
    assert Limit(1, 4).nearest(8) == 4
    assert Limit(choices=(2, 4, 8)).nearest(16) == 8
