"""The page on actions, events and pipelines: its code runs, its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stub_platform import StubPlatform

from qianfan.trainer.actions import (
    DeployAction,
    EvaluateAction,
    LoadDataSetAction,
    ModelPublishAction,
    TrainAction,
)
from qianfan.trainer.consts import ActionState, status_of

PAGE = (Path(__file__).parents[3] / "docs/guides/pipelines.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_runs_from_top_to_bottom(
    platform: StubPlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    """All its blocks are one program."""
    platform.released = True
    platform.details = [{"phase": "training", "step": 3}]
    names: dict[str, object] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "pipelines.md", "exec"), names)
    answer, greeting = names["answer"], names["greeting"]
    assert (answer["result"], greeting) == ("hello", "hello")  # type: ignore[index]
    assert "'step': 3" in capsys.readouterr().out
    assert platform.bodies("modelrepo/publishTrainModel")[0]["modelName"] == "mine"
    assert platform.bodies("finetune/createJob")[1]["increConfig"] == {"taskId": 301, "jobId": 401}
    assert platform.routes.count("chat") == 4  # the question, post_actions, Greet alone and in a trainer


def test_the_states_of_the_page_are_those_of_the_table() -> None:
    """A row for each action, in the order of the states."""
    actions = {
        "load": LoadDataSetAction,
        "train": TrainAction,
        "publish": ModelPublishAction,
        "deploy": DeployAction,
        "evaluate": EvaluateAction,
    }
    states = list(ActionState)
    for word, action in actions.items():
        row = re.search(rf"^\| {word} \| (.*) \|$", PAGE, re.MULTILINE)
        assert row is not None
        told = [cell.strip("` ") for cell in row[1].split("|")]
        assert told == [status_of(action, state).value for state in states]  # type: ignore[attr-defined]
