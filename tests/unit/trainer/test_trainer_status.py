"""The status of a trainer: the action last started, and its state, in one word."""

from __future__ import annotations

from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.dataset import Dataset
from qianfan.errors import InvalidArgumentError
from qianfan.model.ledger import Ledger
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


def test_a_trainer_shows_where_it_stands(platform: StubPlatform) -> None:
    """As text and in a notebook: its actions, their states, and the ids that they left; no text becomes markup."""
    platform.released = True
    trainer = LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1))
    assert "status='Unknown'" in repr(trainer)
    trainer.run()
    assert "status='ModelPublished'" in repr(trainer)
    assert "actions=[LoadDataSetAction, TrainAction, ModelPublishAction], state='Done'" in repr(trainer)
    train = trainer.train_action
    assert repr(train) == f"TrainAction(id='{train.id}', state='Done')"
    picture = trainer._repr_html_()
    assert "<td>TrainAction</td><td>Done</td><td>task_id 301, job_id 401</td>" in picture
    assert train.result is not None
    train.result["job_id"] = "<b>"
    assert "<b>" not in trainer._repr_html_()


def test_a_ledger_is_a_table_in_a_notebook() -> None:
    """Its counts, and the samples with their reasons."""
    problem = {"sample": 2, "what": "dropped", "why": "no <answer>"}
    picture = Ledger({"samples": 3, "kept": 2, "dropped": 1, "problems": [problem]})._repr_html_()
    assert "<td>3</td><td>2</td>" in picture
    assert "sample 2: dropped: no &lt;answer&gt;" in picture
