"""Actions and pipelines of one's own, and the events of both."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from qianfan.dataset.state import saved
from qianfan.errors import InternalError, InvalidArgumentError, UnsafeState
from qianfan.trainer import Event, EventHandler, loads
from qianfan.trainer.actions import DeployAction, LoadDataSetAction, ModelPublishAction, TrainAction
from qianfan.trainer.base import BaseAction, Pipeline, with_event
from qianfan.trainer.consts import ActionState
from qianfan.trainer.event import dispatch_event


class Ear(EventHandler):
    def __init__(self) -> None:
        self.told: list[tuple[str | None, str]] = []

    def dispatch(self, event: Event) -> None:
        self.told.append((event.action_class, event.action_state.value))


@saved
class Add(BaseAction[dict[str, Any], dict[str, Any]]):
    """Adds to `n`; fails once when it is told to."""

    kind = "test-add"

    def __init__(self, amount: int = 1, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amount, self.fails, self.runs = amount, fails, 0

    @with_event
    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Add."""
        self.runs += 1
        if self.fails:
            self.fails = False
            raise ValueError("not now")
        self.result = {"n": (input or {}).get("n", 0) + self.amount}
        return self.result

    @with_event
    def resume(self, **kwargs: Any) -> dict[str, Any]:
        """Add again, unless it was done."""
        return self.result or self.exec(self._input)

    def to_state(self) -> dict[str, Any]:
        return {**super().to_state(), "amount": self.amount, "fails": self.fails}


def test_an_action_takes_its_input_by_position_or_by_name() -> None:
    """As the pages show it, and as everyone writes it."""
    ear = Ear()
    action = Add(event_handler=ear)
    assert action.exec({"n": 1}) == action.exec(input={"n": 1}) == {"n": 2}
    assert action.exec.__doc__ == "Add."
    assert ear.told == [("Add", "Preceding"), ("Add", "Done")] * 2
    assert action.state is ActionState.Done


def test_nothing_is_told_twice() -> None:
    """A decorated method that calls another one is told once."""
    ear = Ear()
    action = Add(event_handler=ear)
    action.resume()
    assert ear.told == [("Add", "Preceding"), ("Add", "Done")]


def test_an_error_is_told_and_raised() -> None:
    """The text is in the event, the exception goes on."""
    heard: list[Event] = []

    class Keep(EventHandler):
        def dispatch(self, event: Event) -> None:
            heard.append(event)

    action = Add(fails=True, event_handler=Keep())
    with pytest.raises(ValueError, match="not now"):
        action.exec()
    assert heard[-1].data == {"error": "not now"}
    assert "action_error" in (heard[-1].description or "")
    assert action.state is ActionState.Error


def test_a_pipeline_hands_each_output_to_the_next() -> None:
    """The input is copied, the outcome kept; actions may be picked by id."""
    one, two, after = Add(1), Add(10), Add(100)
    pipeline = Pipeline([one, two], post_actions=[after])
    start = {"n": 1}
    assert pipeline.exec(start) == {"n": 12} == pipeline.result
    assert start == {"n": 1}
    assert after.result == {"n": 112}
    assert pipeline.seq == [one.id, two.id]
    assert pipeline[two.id] is two
    assert pipeline["none"] is None
    assert pipeline.current_action == two.id


def test_a_pipeline_may_start_anywhere() -> None:
    """By index or id; without an input with what the action before left."""
    one, two = Add(1, id="one"), Add(10, id="two")
    pipeline = Pipeline([one, two])
    assert pipeline.exec_from({"n": 5}, 1) == pipeline.exec_from({"n": 5}, "two") == {"n": 15}
    pipeline.exec()
    assert pipeline.exec_from(start="two") == {"n": 11}
    for wrong in ("three", 7, 1.5, None):
        with pytest.raises(InvalidArgumentError, match="one, two"):
            pipeline.exec_from({}, wrong)  # type: ignore[arg-type]


def test_a_pipeline_may_stand_in_a_pipeline() -> None:
    """A stop of the outer one reaches the inner one, and is not forgotten by it."""
    first, last = Add(1), Add(100)
    inner = Pipeline([first, Add(10)])
    outer = Pipeline([inner, last])

    class StopInside(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_state is ActionState.Done:
                outer.stop()

    first.event_dispatcher = StopInside()
    assert outer.exec() == {"n": 1}
    assert last.runs == 0
    first.event_dispatcher = None
    assert outer.resume() == {"n": 111}


def test_two_actions_of_one_id_are_refused() -> None:
    """They could not be told apart."""
    with pytest.raises(ValueError, match="'a'"):
        Pipeline([Add(id="a"), Add(id="a")])


def test_a_failed_pipeline_resumes_at_the_action_that_failed() -> None:
    """What was done is not done again."""
    one, two, three = Add(1), Add(10, fails=True), Add(100)
    ear = Ear()
    pipeline = Pipeline([one, two, three], event_handler=ear)
    with pytest.raises(ValueError, match="not now"):
        pipeline.exec()
    assert ear.told[-1] == ("Pipeline", "Error")
    assert pipeline.resume() == {"n": 111}
    assert (one.runs, two.runs, three.runs) == (1, 2, 1)


def test_a_pipeline_that_has_ended_does_nothing_again() -> None:
    """resume() gives the same output; of the post_actions only those run that did not."""
    one, first, second = Add(1), Add(10), Add(100, fails=True)
    pipeline = Pipeline([one], post_actions=[first, second])
    with pytest.raises(ValueError, match="not now"):
        pipeline.exec({"n": 1})
    again = loads(pipeline.dumps() or b"")
    assert pipeline.resume() == pipeline.resume() == {"n": 2}
    assert (one.runs, first.runs, second.runs) == (1, 1, 2)
    assert again.resume() == {"n": 2}
    assert [post.runs for post in again.post_actions] == [0, 1]
    pipeline.exec({"n": 1})
    assert (one.runs, first.runs, second.runs) == (2, 2, 3)


def test_actions_of_ones_own_are_saved_with_their_pipeline() -> None:
    """A registered class comes back with what it adds to the state."""
    pipeline = Pipeline([Add(1, id="one"), Add(10, fails=True, id="two"), Add(100, id="three")])
    with pytest.raises(ValueError, match="not now"):
        pipeline.exec()
    again = loads(pipeline.dumps() or b"")
    assert again.resume() == {"n": 111}
    unknown = (pipeline.dumps() or b"").replace(b"test-add", b"not-here")
    with pytest.raises(UnsafeState, match="'not-here'"):
        loads(unknown)


def test_a_class_that_would_come_back_as_another_is_not_saved() -> None:
    """It is refused when it is written down, not when somebody wants it back."""

    class Plain(BaseAction[dict[str, Any], dict[str, Any]]):
        def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
            return {**(input or {}), "plain": True}

        def resume(self, **kwargs: Any) -> dict[str, Any]:
            return self.exec(self._input)

    class More(Add):
        pass

    for action in (Plain(), More()):
        pipeline = Pipeline([action])
        with pytest.raises(
            InvalidArgumentError, match=rf"a {type(action).__name__}, a class that is not saved"
        ):
            pipeline.dumps()
        assert pipeline.exec({"n": 1})["n"] >= 1  # it runs all the same
    last = Pipeline([Plain(), Add(2)])
    last.exec({"n": 1})
    assert last.exec_from(start=1) == {"n": 3}  # what the one before left, though that did not keep it


def test_a_stop_is_told_and_nothing_started_cannot_be_stopped() -> None:
    """By the action itself, and by the pipeline."""
    ear = Ear()
    Add(event_handler=ear).stop()
    assert ear.told == [("Add", "Stopped")]
    with pytest.raises(InternalError, match="run it first"):
        Pipeline([Add()]).stop()


def test_an_event_is_given_only_to_a_handler() -> None:
    """Without one of the two nothing happens."""
    ear = Ear()
    event = Event("id", ActionState.Done, "text", {"a": 1})
    dispatch_event(ear, None)
    dispatch_event(None, event)
    assert ear.told == []
    dispatch_event(ear, event)
    assert ear.told == [(None, "Done")]
    assert (event.action_id, event.description, event.data, event.action_class) == (
        "id",
        "text",
        {"a": 1},
        None,
    )


@pytest.mark.parametrize(
    ("action", "input", "words"),
    [
        (LoadDataSetAction(), {}, "dataset must be set"),
        (LoadDataSetAction(object()), {}, "invalid dataset"),
        (TrainAction("ERNIE-Bot-turbo-0725"), {}, "train set must be set"),
        (TrainAction("ERNIE-Bot-turbo-0725"), {"datasets": {"a": 1}}, "V1 shape"),
        (ModelPublishAction(), {"task_id": 1}, "no job_id"),
        (DeployAction(), {}, "deploy_config must be set"),
    ],
)
def test_an_input_that_lacks_something_is_refused(action: Any, input: dict[str, Any], words: str) -> None:
    """Each action says what it needs."""
    with pytest.raises(InvalidArgumentError, match=words):
        action.exec(input)


def test_importing_the_trainer_stays_light() -> None:
    """Neither pydantic nor rich nor the HTTP client is loaded by the package itself."""
    code = (
        "import sys, qianfan.trainer, qianfan.dataset;"
        "print([m for m in ('pydantic', 'rich', 'pyreqwest', 'numpy', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]", out.stderr
