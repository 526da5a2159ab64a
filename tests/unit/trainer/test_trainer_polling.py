"""How often a run is looked at: as the platform hints, and never more often than the cloud's documents say."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.config import SETTINGS, get_config
from qianfan.dataset import Dataset
from qianfan.dataset.waiting import wait_until
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DeployConfig


class Noted:
    """A clock that does not wait."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def pause(self, seconds: float, stop: threading.Event | None) -> bool:
        self.pauses.append(seconds)
        return False


def detail(word: str, after: Any = None) -> dict[str, Any]:
    hint = {} if after is None else {"progressDetail": {"pollAfter": after}}
    return {"result": {"trainStatus": word, **hint}}


@pytest.mark.parametrize(
    ("after", "pause"), [(None, 30.0), (0.3, 0.3), (0, 0.05), (600, 30.0), ("soon", 30.0), (True, 30.0)]
)
def test_a_hint_shortens_the_documented_pause_and_never_lengthens_it(after: Any, pause: float) -> None:
    """Without a hint, as on the cloud, it is 30 s; the first look comes at once."""
    answers, clock = [detail("RUNNING", after)] * 2 + [detail("FINISH")], Noted()
    last = wait_until(lambda: answers.pop(0), lambda seen: seen == detail("FINISH"), 30.0, clock)
    assert last == detail("FINISH")
    assert clock.pauses == [pause, pause]


def test_the_pauses_are_the_documented_ones() -> None:
    """In seconds, each a setting."""
    for name in ("TRAIN_STATUS", "MODEL_PUBLISH_STATUS", "DEPLOY_STATUS", "BATCH_RUN_STATUS"):
        assert SETTINGS[f"{name}_POLLING_INTERVAL"] == ("float", 30.0)


def test_the_cloud_is_asked_no_more_than_a_hinting_platform(platform: StubPlatform) -> None:
    """The same requests in the same number: one for each state that there is to see."""
    platform.released = True

    def requests() -> list[str]:
        platform.calls.clear()
        platform._seen.clear()
        LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1), deploy_config=DeployConfig()).run()
        return platform.routes

    hinted = requests()
    platform.hint = {}
    config = get_config()
    for name in ("TRAIN_STATUS", "MODEL_PUBLISH_STATUS", "DEPLOY_STATUS"):
        setattr(config, f"{name}_POLLING_INTERVAL", 0.01)
    assert requests() == hinted
    assert hinted.count("finetune/jobDetail") == 3
