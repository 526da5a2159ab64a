"""The live picture of a run."""

from __future__ import annotations

import io
import re
import sys
from types import ModuleType

import pytest
from stub_platform import StubPlatform

from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.dataset.progress import wanted
from qianfan.trainer import LLMFinetune
from qianfan.trainer.live import facts_of, share_of

DETAILS = [
    {
        "phase": "waiting",
        "waiting": {"why": "another run is going on", "position": 2, "seconds": 7.4},
        "warnings": ["low rate"],
    },
    {"phase": "training", "step": 3, "steps": 10, "loss": 1.5, "tokensPerSecond": 90.4, "secondsLeft": 61},
    {
        "phase": "done",
        "step": 10,
        "steps": 10,
        "loss": 0.5,
        "warnings": ["low rate"],
        "report": {"steps": 10, "samples": 40, "lossFirst": 2.5, "lossLast": 0.5, "seconds": 7.2},
    },
]


def shown(platform: StubPlatform, monkeypatch: pytest.MonkeyPatch, **kwargs: object) -> str:
    platform.details = DETAILS
    platform.run_words = ["RUNNING", "RUNNING", "FINISH"]
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1)).run(**kwargs)
    return out.getvalue()


def test_nothing_is_shown_unless_it_is_wanted(
    platform: StubPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output is no terminal, and nobody asked."""
    get_config().PROGRESS = "auto"
    assert shown(platform, monkeypatch) == ""


def test_asked_for_it_is_lines_where_there_is_no_terminal(
    platform: StubPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phases, steps, loss; a warning once; then publishing. No request is made for it."""
    text = shown(platform, monkeypatch, show_progress=True)
    lines = text.splitlines()
    assert lines.count("! low rate") == 1
    assert "training: waiting  another run is going on, place 2, begins in about 7 s" in lines
    assert "training: training  step 3/10  loss 1.500  90 tok/s  1:01 left" in lines
    assert lines.count("10 steps on 40 samples, loss 2.500 → 0.500, 7 s") == 1
    assert lines[-1] == "publish: done"
    assert platform.routes.count("finetune/jobDetail") == 4


def test_on_a_terminal_it_is_bars(platform: StubPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each action, with the facts of the training beside it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    get_config().PROGRESS = True
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(platform, monkeypatch))
    assert "! low rate" in text
    for word in ("dataset", "training", "publish", "step 10/10  loss 0.500"):
        assert word in text


def test_in_a_notebook_it_is_one_picture(platform: StubPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with the run, and needs nothing but the notebook."""
    drawn: list[str] = []

    class Handle:
        def update(self, picture: object) -> None:
            drawn.append(repr(picture))

    class ZMQInteractiveShell:
        pass

    def display(picture: object, **kwargs: object) -> Handle:
        if "display_id" in kwargs:
            drawn.append(repr(picture))
        return Handle()

    python, module = ModuleType("IPython"), ModuleType("IPython.display")
    python.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    get_config().PROGRESS = "auto"
    monkeypatch.setattr("qianfan.dataset.board._EVERY_S", 0)
    shown(platform, monkeypatch)
    assert any("step 3/10  loss 1.500" in picture for picture in drawn)
    assert [line.split()[0] for line in drawn[-1].splitlines()] == ["dataset", "training", "publish"]
    assert drawn[-1].count("done") == 3


def test_one_switch_turns_it_off(platform: StubPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument goes before the setting."""
    get_config().PROGRESS = True
    assert shown(platform, monkeypatch, show_progress=False) == ""
    assert wanted()
    assert not wanted(False)
    get_config().PROGRESS = False
    assert not wanted()


def test_a_cloud_that_tells_only_percent_is_shown_as_that() -> None:
    """V1 gives a number, V2 a text; neither may be there."""
    assert share_of({"result": {"progress": 37}}) == share_of({"result": {"runProgress": "37%"}}) == 0.37
    assert facts_of({"result": {"runProgress": "37%"}}) == "37%"
    assert share_of({"result": {}}) is None
    assert facts_of(None) == ""
