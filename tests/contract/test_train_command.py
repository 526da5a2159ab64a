"""`qianfan finetune run` against the platform: from a file to a model that answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Scripts
from .test_cli import Command

ROWS = [[{"prompt": f"say {word}", "response": [[word]]}] for word in ("one", "two", "three", "four")]


@pytest.fixture
def qianfan(scripts: Scripts, tmp_path: Path) -> Command:
    return Command(scripts, tmp_path)


def test_one_command_trains_publishes_and_deploys(qianfan: Command, tmp_path: Path) -> None:
    """Options go before the file of settings; what came out is told by its ids, and answers."""
    file, settings = tmp_path / "rows.jsonl", tmp_path / "settings.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings.write_text('{"epoch": 3, "batch_size": 4, "extras": {"loggingSteps": 1}}')
    made = qianfan.json(
        "finetune", "run", str(file), "-m", "ERNIE-Speed", "--config", str(settings), "--epochs", "1",
        "--method", "LoRA", "--held-out", "0", "--set", "lora_rank=8", "--deploy", "said",
    )  # fmt: skip
    assert made["service_endpoint"].endswith("_said")
    assert [made[key].split("-")[0] for key in ("run", "model_id", "model_version_id")] == [
        "task",
        "am",
        "amv",
    ]
    learnt = qianfan.json("finetune", "show", made["run"])["progressDetail"]["hyperParameters"]
    assert {name: learnt[name] for name in ("epoch", "batchSize", "loraRank", "loggingSteps")} == {
        "epoch": 1,
        "batchSize": 4,
        "loraRank": 8,
        "loggingSteps": 1,
    }
    answer = qianfan.json("chat", "-e", made["service_endpoint"], "say one")
    assert answer["usage"]["total_tokens"] > 0
    qianfan("service", "delete", str(made["service_id"]), "--yes")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.jsonl",), 1, "nowhere.jsonl"),
        (("rows.jsonl", "--set", "loraRank"), 2, "KEY=VALUE"),
        (("rows.jsonl", "--mode", "PostPretrain", "--deploy", "x"), 2, "only a model that is published"),
        (("rows.jsonl", "--mode", "PostPretrain"), 1, "a text is wanted"),
        (
            ("rows.jsonl", "-m", "Nobody"),
            1,
            "Nobody",
        ),  # the platform's word: it may know more than this release
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is_sent(
    qianfan: Command, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A file that is not there, a setting without a value, data of another kind, a model nobody knows."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    done = qianfan("finetune", "run", *arguments, code=code)
    assert said in done.stderr
