"""`qianfan finetune`: what it prints, and what it asks for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parents[1] / "dataset"))

from stub_platform import StubPlatform, pointed_to

from qianfan.cli import options
from qianfan.cli.main import app
from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.errors import TrainingFailed
from qianfan.trainer import LLMFinetune

RUN = "task-bbbbbbbbbbbb"


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubPlatform]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "160")
    with StubPlatform() as running, pointed_to(running.url):
        get_config().CACHE_DIR = str(tmp_path / "cache")
        yield running


def said(*arguments: str) -> str:
    result: Result = CliRunner().invoke(app, ["finetune", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_runs_are_listed_and_shown(platform: StubPlatform) -> None:
    """As a table, or as JSON."""
    assert RUN in said("list", "--mode", "SFT")
    assert platform.bodies("DescribeFineTuningJobs")[0]["trainMode"] == "SFT"
    assert json.loads(said("list", "--json"))["runs"][0]["taskId"] == RUN
    platform.details = [
        {"step": 3, "steps": 10, "loss": 1.25, "phase": "training", "estimate": {"seconds": 4}}
    ]
    told = said("show", RUN)
    for text in ("3 of 10", "1.2500", "training", "4 s"):
        assert text in told
    assert json.loads(said("show", RUN, "--json"))["progressDetail"]["step"] == 3
    for command in ("list", "models"):
        wrong = CliRunner().invoke(app, ["finetune", command, "--mode", "Magic"])
        assert wrong.exit_code == 2
        assert "SFT, PostPretrain, DPO" in wrong.stderr


def test_a_run_that_waits_shows_its_place_and_what_it_will_learn_with(platform: StubPlatform) -> None:
    """Why, where in the queue, until when; the hyper-parameters that hold."""
    waiting = {"why": "1 job is running in the queue 'train'", "position": 2, "seconds": 41.6}
    holds = {"epoch": 3, "learningRate": 0.001, "weightDecay": 0.0}
    platform.details = [{"phase": "waiting", "waiting": waiting, "hyperParameters": holds}]
    told = said("show", RUN)
    assert "place 2: 1 job is running in the queue 'train'; it begins in about 42 s" in told
    assert "epoch 3, learningRate 0.001, weightDecay 0.0" in told


def test_the_log_is_printed_whole_or_while_it_grows(platform: StubPlatform) -> None:
    """Each line once; a run by its number is taken, too."""
    assert said("log", "401").splitlines()[1] == "12:00:02 INFO line 2"
    assert platform.bodies("DescribeFineTuningTaskLog")[0] == {"taskId": "401", "after": 0}
    assert json.loads(said("log", RUN, "--json"))["ledger"] == {"samples": 1, "kept": 1}
    followed = [json.loads(line)["n"] for line in said("log", RUN, "--follow", "--json").splitlines()]
    assert followed == [1, 2, 3]
    assert len(said("log", RUN, "--follow").splitlines()) == 3


def test_a_server_that_starts_again_is_waited_for(
    platform: StubPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits or follows goes on; what only shows tells at once."""
    monkeypatch.setitem(options.PATIENT, "backoff_factor", 0.0)
    get_config().CONSOLE_API_RETRY_JITTER = 0.0
    platform.falters = 3
    assert len(said("log", RUN, "--follow").splitlines()) == 3
    platform.falters = 2
    assert said("wait", RUN).endswith("done\n")
    platform.falters = 1
    assert CliRunner().invoke(app, ["finetune", "show", RUN]).exit_code == 1


def test_curves_are_drawn(platform: StubPlatform, tmp_path: Path) -> None:
    """As text, as JSON, as a picture; a name that is no curve is refused."""
    assert said("curves", RUN).startswith("loss\n")
    assert json.loads(said("curves", RUN, "loss", "--json")) == {"loss": [[1.0, 2.0]]}
    assert said("curves", RUN, "--follow").startswith("loss")
    said("curves", RUN, "--svg", str(tmp_path / "c.svg"))
    assert (tmp_path / "c.svg").read_text().startswith("<svg")
    assert CliRunner().invoke(app, ["finetune", "curves", RUN, "precision"]).exit_code == 2


def test_samples_are_accounted_for_and_looked_through(platform: StubPlatform) -> None:
    """The sum, the dropped ones, and one as the trainer reads it."""
    assert said("ledger", RUN).startswith("1 samples: 1 kept")
    assert "3" in said("ledger", RUN, "--what", "dropped")
    assert [json.loads(line)["sample"] for line in said("ledger", RUN, "--json").splitlines()] == [1, 2, 3]
    assert "⟦hello⟧" in said("xray", RUN, "7")
    assert json.loads(said("xray", RUN, "7", "--json"))["sample"] == 7
    assert CliRunner().invoke(app, ["finetune", "ledger", RUN, "--what", "eaten"]).exit_code == 2


def test_a_run_is_stopped_and_deleted(platform: StubPlatform) -> None:
    """Told in a word, or as JSON."""
    assert said("stop", RUN) == "stopped\n"
    assert json.loads(said("stop", RUN, "--json")) == {"stopped": True}
    assert said("delete", RUN) == "deleted\n"


def test_a_trainer_that_is_kept_here_is_gone_on_with(platform: StubPlatform) -> None:
    """What failed is listed with its reason, and finished from there."""
    platform.run_words, platform.reason = ["RUNNING", "FAIL"], "no memory:\nsample 1\nsample 2"
    trainer = LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1))
    with pytest.raises(TrainingFailed):
        trainer.run()
    assert "no memory" in said("trainers")
    (row,) = json.loads(said("trainers", "--json"))["trainers"]
    assert (row["id"], row["running"], row["status"]) == (trainer.id, False, "TrainFailed")
    platform.run_words = ["FAIL"]  # until another run is made
    assert len(said("trainers").splitlines()) == 2
    assert json.loads(said("resume", trainer.id, "--json"))["status"] == "ModelPublished"
    assert "601" in said("resume", trainer.id)
    assert CliRunner().invoke(app, ["finetune", "resume", "none"]).exit_code != 0
