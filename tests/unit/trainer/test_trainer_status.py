"""The status of a trainer: the action last started, and its state, in one word."""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.dataset import Dataset
from qianfan.errors import InvalidArgumentError
from qianfan.trainer import LLMFinetune
from qianfan.trainer.actions import (
    DeployAction,
    EvaluateAction,
    LoadDataSetAction,
    ModelPublishAction,
    TrainAction,
)
from qianfan.trainer.consts import ActionState, FinetuneStatus, TrainStatus, status_of

STATES = ("Preceding", "Running", "Done", "Error", "Stopped")
# action: its word in each of the states
TABLE: list[tuple[type, str]] = [
    (LoadDataSetAction, "DatasetLoading DatasetLoading DatasetLoaded DatasetLoadFailed DatasetLoadStopped"),
    (TrainAction, "TrainCreated Training TrainFinished TrainFailed TrainStopped"),
    (
        ModelPublishAction,
        "ModelPublishing ModelPublishing ModelPublished ModelPublishFailed ModelPublishFailed",
    ),
    (DeployAction, "Created Deploying Deployed DeployFailed DeployStopped"),
    (
        EvaluateAction,
        "EvaluationCreated EvaluationRunning EvaluationFinished EvaluationFailed EvaluationStopped",
    ),
]


@pytest.mark.parametrize(("action", "words"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
def test_each_state_of_each_action_has_its_word(action: type, words: str) -> None:
    """As documented; an action of one's own that is made of one of these counts as that one."""

    class Own(action):  # type: ignore[misc]
        pass

    for state, word in zip(STATES, words.split(), strict=True):
        assert status_of(action, ActionState(state)).value == word  # type: ignore[attr-defined]
        assert status_of(Own, ActionState(state)) == word


def test_another_action_has_no_word() -> None:
    """Unknown, whatever its state."""
    assert {status_of(object, state) for state in ActionState} == {FinetuneStatus.Unknown}
    assert TrainStatus is FinetuneStatus


def test_a_trainer_has_one_pipeline() -> None:
    """The status of none, or of two, cannot be told."""
    trainer: Any = LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1))
    assert trainer.status == FinetuneStatus.Unknown
    trainer.ppls = trainer.ppls * 2
    with pytest.raises(InvalidArgumentError, match="2 pipelines"):
        trainer.status
