"""Stopping, going on, and going on in another process."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.errors import InternalError, InvalidArgumentError, QianfanError, TrainingFailed, UnsafeState
from qianfan.trainer import (
    Event,
    EventHandler,
    LLMFinetune,
    LoadDataSetAction,
    Model,
    Service,
    TrainAction,
    loads,
)
from qianfan.trainer.configs import DeployConfig, TrainConfig
from qianfan.trainer.consts import ActionState, FinetuneStatus


def a_trainer(**kwargs: Any) -> LLMFinetune:
    return LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1), **kwargs)


def test_a_stop_from_another_thread_ends_the_run_at_once(platform: StubPlatform) -> None:
    """Within 0.2 s, though the next look is 30 s away; the platform is told before run() returns."""
    platform.run_words, platform.hint = ["RUNNING"], {}
    platform.released = True
    trainer = a_trainer()
    caught: list[tuple[float, BaseException]] = []

    def run() -> None:
        try:
            trainer.run()
        except TrainingFailed as error:
            caught.append((time.monotonic(), error))

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and "finetune/jobDetail" not in platform.routes:
        time.sleep(0.01)
    time.sleep(0.05)
    asked = time.monotonic()
    assert trainer.stop() is trainer
    thread.join(5)
    assert caught[0][0] - asked < 0.2
    assert "301/401 was stopped" in str(caught[0][1])
    assert platform.bodies("finetune/stopJob") == [{"taskId": 301, "jobId": 401}]
    assert trainer.status == FinetuneStatus.TrainStopped


class StopsAt(EventHandler):
    """Stops its trainer at the first Running of a training."""

    def __init__(self) -> None:
        self.trainer: LLMFinetune | None = None
        self.told: list[tuple[str | None, str]] = []

    def dispatch(self, event: Event) -> None:
        self.told.append((event.action_class, event.action_state.value))
        if event.action_class == "TrainAction" and event.action_state is ActionState.Running and self.trainer:
            trainer, self.trainer = self.trainer, None
            trainer.stop()


def test_a_stop_from_a_handler_is_told_once_and_resume_trains_again(platform: StubPlatform) -> None:
    """Stopped of action and pipeline, no Error; resume makes a new run in the same task and ends the road."""
    platform.run_words = ["RUNNING"]
    handler = StopsAt()
    trainer = handler.trainer = a_trainer(event_handler=handler)
    with pytest.raises(TrainingFailed, match="resume"):
        trainer.run()
    assert handler.told[-3:] == [
        ("TrainAction", "Running"),
        ("TrainAction", "Stopped"),
        ("Pipeline", "Stopped"),
    ]
    assert trainer.status == FinetuneStatus.TrainStopped
    first = len(platform.calls)
    assert trainer.resume() is trainer
    assert trainer.output["job_id"] == 402
    assert platform.routes[first : first + 4] == [
        "finetune/jobDetail",
        "finetune/createJob",
        "finetune/jobDetail",
        "finetune/jobDetail",
    ]
    jobs = platform.bodies("finetune/createJob")
    assert jobs[0] == jobs[1]
    assert platform.routes.count("finetune/createTask") == 1
    assert platform.routes.count("finetune/stopJob") == 1


class Unplug(EventHandler):
    """Ctrl-C, at the first look at a training."""

    def dispatch(self, event: Event) -> None:
        if event.action_class == "TrainAction" and event.action_state is ActionState.Running:
            raise KeyboardInterrupt


def test_resume_waits_for_a_run_that_goes_on(
    platform: StubPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """After Ctrl-C no second run is made; what goes on, and what to do, is said."""
    platform.run_words = ["RUNNING", "RUNNING", "FINISH"]
    trainer = a_trainer(event_handler=Unplug())
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert "run 301/401 goes on on the platform: trainer.resume()" in caplog.text
    trainer.register_event_handler(EventHandler())
    trainer.resume()
    assert trainer.output["model_id"] == 501
    assert platform.jobs == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
def test_a_run_that_nobody_waits_for_can_be_stopped(
    platform: StubPlatform, tmp_path: Path, elsewhere: bool
) -> None:
    """After Ctrl-C, or a crash: the platform is told, the trainer knows it, and it can go on."""
    get_config().CACHE_DIR = str(tmp_path)
    platform.run_words = ["RUNNING"]
    trainer = a_trainer(event_handler=Unplug())
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    left = LLMFinetune.load(trainer.id) if elsewhere else trainer
    left.stop()
    assert platform.bodies("finetune/stopJob") == [{"taskId": 301, "jobId": 401}]
    assert left.status == FinetuneStatus.TrainStopped
    assert LLMFinetune.load(trainer.id).info()["status"] == "TrainStopped"
    left.register_event_handler(EventHandler())
    left.resume()
    assert left.output["job_id"] == 402


def test_a_second_run_does_not_fall_back_on_the_first(platform: StubPlatform) -> None:
    """Where its own training could not be created, resume() creates it, and does not publish the old one."""
    trainer = a_trainer()
    trainer.run()
    platform.refuses = {"finetune/createJob"}
    with pytest.raises(QianfanError):
        trainer.run()
    platform.refuses = set()
    trainer.resume()
    assert trainer.output["job_id"] == 402


def test_a_run_stopped_on_the_platform_fails_here(platform: StubPlatform) -> None:
    """The status is TrainStopped, and the pipeline tells the error."""
    platform.run_words = ["RUNNING", "STOP"]
    handler = StopsAt()
    trainer = a_trainer(event_handler=handler)
    with pytest.raises(TrainingFailed, match="was stopped"):
        trainer.run()
    assert trainer.status == FinetuneStatus.TrainStopped
    assert handler.told[-2:] == [("TrainAction", "Stopped"), ("Pipeline", "Error")]
    assert "finetune/stopJob" not in platform.routes


def test_a_stop_between_actions_starts_no_other(platform: StubPlatform) -> None:
    """The last output is returned, and resume goes on with the next action."""

    class After(EventHandler):
        trainer: LLMFinetune | None = None

        def dispatch(self, event: Event) -> None:
            if (
                event.action_class == "LoadDataSetAction"
                and event.action_state is ActionState.Done
                and self.trainer
            ):
                self.trainer.stop()
                self.trainer = None

    handler = After()
    trainer = handler.trainer = a_trainer(event_handler=handler)
    trainer.run()
    assert trainer.output == {"datasets": [{"id": 77, "type": 1, "name": "stub"}]}
    assert "finetune/createTask" not in platform.routes
    trainer.resume()
    assert trainer.output["model_version_id"] == 601
    assert platform.routes.count("dataset/release") == 1


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "not kept"])
def test_a_trainer_runs_once_at_a_time(platform: StubPlatform, tmp_path: Path, kept: bool) -> None:
    """A second run() is refused, and the first goes on."""
    get_config().CACHE_DIR, get_config().DISABLE_CACHE = str(tmp_path), not kept
    refused: list[str] = []

    class Again(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_class == "TrainAction" and event.action_state is ActionState.Preceding:
                with pytest.raises(InvalidArgumentError, match="runs already"):
                    trainer.run()
                refused.append(event.action_class)

    trainer = a_trainer(event_handler=Again())
    trainer.run()
    assert (refused, trainer.output["job_id"], platform.jobs) == (["TrainAction"], 401, 1)


def test_stopping_what_was_not_started_is_an_error(platform: StubPlatform) -> None:
    """There is nothing to stop."""
    with pytest.raises(InternalError, match="not started"):
        a_trainer().stop()


def test_resume_after_a_failed_publication_does_not_train_again(platform: StubPlatform) -> None:
    """The finished training is kept; the version is looked at again."""
    platform.version_words = ["Fail"]
    trainer = a_trainer()
    with pytest.raises(InternalError):
        trainer.run()
    platform.version_words = ["Ready"]
    trainer.resume()
    assert trainer.output["model_id"] == 501
    assert platform.jobs == 1
    assert platform.routes.count("modelrepo/publishTrainModel") == 1


OTHER_PROCESS = """
import sys
from qianfan.trainer import loads
from qianfan.config import get_config
config = get_config()
config.BASE_URL = config.CONSOLE_API_BASE_URL = sys.argv[1]
config.ACCESS_KEY, config.SECRET_KEY = "access-key", "secret-key"
trainer = loads(sys.stdin.buffer.read())
print(trainer.status.value)
trainer.resume()
print(trainer.status.value, trainer.output["job_id"], trainer.output["service_endpoint"])
"""


def test_a_trainer_saved_in_the_middle_is_resumed_by_another_process(platform: StubPlatform) -> None:
    """The state is taken while the training runs; the other process waits for the same run."""
    saved: list[bytes] = []

    class Save(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_class == "TrainAction" and event.action_state is ActionState.Running:
                saved.append(trainer.dumps())
                raise KeyboardInterrupt

    platform.run_words = ["RUNNING", "RUNNING", "FINISH"]
    trainer = a_trainer(event_handler=Save(), deploy_config=DeployConfig())
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    other = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, platform.url], input=saved[0], capture_output=True, timeout=60
    )
    assert other.stdout.decode().split("\n")[:2] == ["Training", "Deployed 401 abcd_ep"], (
        other.stderr.decode()
    )
    assert platform.jobs == 1
    assert platform.routes.count("dataset/release") == 1


def test_every_part_survives_saving(platform: StubPlatform) -> None:
    """Actions, pipeline, model, service: each by its own loads, and by loads()."""
    trainer = a_trainer(
        train_config=TrainConfig(epoch=2, lora_rank=8), deploy_config=DeployConfig(name="n"), task_name="mine"
    )
    trainer.run()
    train = list(trainer.actions.values())[1]
    assert isinstance(train, TrainAction)
    again = train.loads(train.dumps() or b"")
    assert (again.id, again.task_name, again.train_config.lora_rank, again.job_id) == (
        train.id,
        "mine",
        8,
        401,
    )
    assert (again.state, again.is_incr) == (ActionState.Done, False)
    pipeline = trainer.ppls[0].loads(trainer.ppls[0].dumps() or b"")
    assert list(pipeline.actions) == list(trainer.actions)
    model, service = trainer.output["model"], trainer.output["service"]
    same = model.loads(model.dumps())
    assert (same.id, same.version_id, same.service.endpoint) == (501, 601, "abcd_ep")
    assert same.service.model is same
    other = service.loads(service.dumps())
    assert (other.id, other.service_type, other.model.id) == (701, "Chat", 501)
    assert other.exec({"messages": [{"role": "user", "content": "hi"}]})["result"] == "hello"
    assert loads(trainer.dumps()).status == trainer.status
    with pytest.raises(InvalidArgumentError, match="of a Service, not of a Model"):
        Model().loads(service.dumps())


def test_pickled_state_is_refused() -> None:
    """Whatever is asked to read it."""
    for thing in (Model(id=1), Service(id=1), LoadDataSetAction(), TrainAction("ERNIE-Bot-turbo-0725")):
        with pytest.raises(UnsafeState, match="dumps"):
            thing.loads(pickle.dumps({"id": 1}))


def test_what_holds_no_plain_values_is_not_saved() -> None:
    """The error names the place."""
    action = LoadDataSetAction()
    action._input = {"name": object()}
    with pytest.raises(InvalidArgumentError, match=r"LoadDataSetAction.input.name is a object"):
        action.dumps()
