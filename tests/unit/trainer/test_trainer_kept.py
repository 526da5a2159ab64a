"""Trainers that are kept on the machine: found again, gone on with, run by a process of their own."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stub_platform import StubPlatform

from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.dataset.state import saved
from qianfan.errors import InternalError, InvalidArgumentError, TrainingFailed
from qianfan.trainer import Event, EventHandler, LLMFinetune, PostPreTrain, TrainAction, kept, loads
from qianfan.trainer.base import BaseAction, Pipeline
from qianfan.trainer.configs import DeployConfig
from qianfan.trainer.consts import ActionState


@pytest.fixture(autouse=True)
def cache(platform: StubPlatform, tmp_path: Path) -> Path:
    """A cache folder of this test's own; the setting is restored with the others."""
    get_config().CACHE_DIR = str(tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def slow(platform: StubPlatform) -> Iterator[StubPlatform]:
    """A platform whose run goes on until the test lets it end."""
    platform.run_words, platform.released = ["RUNNING"], True
    yield platform
    platform.run_words = ["FINISH"]


def a_trainer(**kwargs: Any) -> LLMFinetune:
    return LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1), **kwargs)


def until(look: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_is_kept_and_found_again(cache: Path) -> None:
    """With its ids and its end; nobody else may read it, and no key is in it."""
    trainer = a_trainer(deploy_config=DeployConfig())
    assert LLMFinetune.list() == []
    trainer.run()
    (row,) = LLMFinetune.list()
    assert (row["id"], row["status"], row["ended"], row["running"]) == (trainer.id, "Deployed", True, False)
    assert (row["task_id"], row["job_id"], row["error"]) == (301, 401, None)
    assert PostPreTrain.list() == []
    file = Path(row["file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret-key" not in file.read_bytes()
    assert b"access-key" not in file.read_bytes()
    again = LLMFinetune.load(trainer.id)
    assert again.output["service_endpoint"] == "abcd_ep"
    assert again.info()["status"] == "Deployed"


def test_a_trainer_may_be_kept_in_a_file_of_ones_own(platform: StubPlatform, tmp_path: Path) -> None:
    """Before it ran it is a template; both kinds of loading say what they miss."""
    file = tmp_path / "mine" / "trainer.json"
    trainer = a_trainer(task_name="mine").save(file)
    assert trainer.info()["status"] == "Unknown"
    again = LLMFinetune.load(file=file)
    again.run()
    assert platform.bodies("finetune/createTask")[0]["name"] == "mine"
    with pytest.raises(InvalidArgumentError, match="no trainer 'none'"):
        LLMFinetune.load("none")
    with pytest.raises(InvalidArgumentError, match="an id or a file"):
        LLMFinetune.load()
    with pytest.raises(InvalidArgumentError, match="not of a PostPreTrain"):
        PostPreTrain.load(file=file)


def test_a_failure_is_kept_with_its_reason(platform: StubPlatform) -> None:
    """And gone on with from there."""
    platform.run_words, platform.reason = ["RUNNING", "FAIL"], "out of memory"
    trainer = a_trainer()
    with pytest.raises(TrainingFailed):
        trainer.run()
    (row,) = LLMFinetune.list()
    assert "out of memory" in row["error"]
    platform.run_words = ["FAIL"]  # until another run is made
    again = LLMFinetune.load(trainer.id).resume()
    assert again.output["job_id"] == 402


def test_nothing_is_kept_where_it_is_turned_off(cache: Path) -> None:
    """No folder is made, and nothing can be started in a process of its own."""
    get_config().DISABLE_CACHE = True
    trainer = a_trainer()
    trainer.run()
    assert not cache.exists()
    with pytest.raises(InvalidArgumentError, match="DISABLE_CACHE"):
        trainer.start()


class Plain(BaseAction[dict[str, Any], dict[str, Any]]):
    """An action of one's own that cannot be written down by name."""

    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        return {"seen": object()}

    def resume(self, **kwargs: Any) -> dict[str, Any]:
        return self.exec()


def test_what_cannot_be_written_down_runs_all_the_same() -> None:
    """It is only not kept; asking for it says why."""
    trainer = a_trainer()
    trainer.ppls = [Pipeline([Plain()])]
    trainer.run()
    assert "seen" in trainer.output
    with pytest.raises(InvalidArgumentError, match="cannot be saved"):
        trainer.save()


def test_a_trainer_runs_in_a_process_of_its_own(slow: StubPlatform) -> None:
    """start() returns at once; wait() takes over what it left. Two never run the same trainer."""
    trainer = a_trainer(deploy_config=DeployConfig())
    began = time.monotonic()
    assert trainer.start(input={"name": "my_model"}) is trainer
    assert time.monotonic() - began < 15
    until(lambda: "finetune/jobDetail" in slow.routes)
    until(lambda: trainer.info()["status"] == "Training")
    info = trainer.info()
    assert (info["running"], info["ended"], info["job_id"]) == (True, False, 401)
    assert trainer.get_log().ledger is not None
    with pytest.raises(InvalidArgumentError, match="runs already"):
        trainer.start()
    with pytest.raises(InvalidArgumentError, match="by another process"):
        LLMFinetune.load(trainer.id).resume()
    with pytest.raises(TimeoutError, match="still runs"):
        trainer.wait(timeout=0.05)
    slow.run_words = ["FINISH"]
    assert trainer.wait(timeout=30) is trainer
    assert trainer.output["service_endpoint"] == "abcd_ep"
    assert trainer.status == "Deployed"
    assert slow.bodies("modelrepo/publishTrainModel")[0]["modelName"] == "my_model"
    assert slow.jobs == 1


def test_a_trainer_in_a_process_of_its_own_is_stopped(slow: StubPlatform) -> None:
    """On the platform, too; another process may ask for it, and go on later."""
    trainer = a_trainer().start()
    until(lambda: "finetune/jobDetail" in slow.routes)
    LLMFinetune.load(trainer.id).stop()
    assert slow.bodies("finetune/stopJob") == [{"taskId": 301, "jobId": 401}]
    with pytest.raises(TrainingFailed, match="was stopped"):
        trainer.wait(timeout=30)
    assert trainer.status == "TrainStopped"
    trainer.resume()
    assert trainer.output["job_id"] == 402


FIRST = """
import sys
from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
config = get_config()
config.BASE_URL = config.CONSOLE_API_BASE_URL = sys.argv[1]
config.ACCESS_KEY, config.SECRET_KEY = "access-key", "secret-key"
trainer = LLMFinetune("ERNIE-Bot-turbo-0725", Dataset(id=1))
print(trainer.id, flush=True)
trainer.run()
"""


def test_a_process_killed_in_the_middle_of_a_training_is_gone_on_with(
    slow: StubPlatform, cache: Path
) -> None:
    """Its trainer is found here, is seen not to run any more, and waits for the same run."""
    environment = {**os.environ, "QIANFAN_CACHE_DIR": str(cache), "QIANFAN_PROGRESS": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", FIRST, slow.url], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    with process.stdout:
        id = process.stdout.readline().strip()
    until(lambda: (kept.row(id) or {}).get("status") == "Training")
    assert (kept.row(id) or {})["running"]
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    row = kept.row(id)
    assert row is not None
    assert (row["running"], row["ended"], row["status"]) == (False, False, "Training")
    slow.run_words = ["RUNNING", "FINISH"]
    trainer = LLMFinetune.load(id).resume()
    assert trainer.output["model_id"] == 501
    assert slow.jobs == 1


@pytest.mark.parametrize(
    ("words", "goes_on", "seen", "once"),
    [
        ("import_words", 1, "dataset/info", "dataset/create"),
        ("version_words", "Creating", "modelrepo/modelVersionDetail", "modelrepo/publishTrainModel"),
        ("service_words", "Deploying", "service/detail", "service/apply"),
    ],
    ids=["import", "publication", "deployment"],
)
def test_what_had_begun_when_a_process_died_is_not_begun_again(
    platform: StubPlatform, words: str, goes_on: Any, seen: str, once: str
) -> None:
    """What is kept in the middle of a wait knows what the platform was asked for."""
    ends = getattr(platform, words)
    setattr(platform, words, [goes_on])
    rows = Dataset.create_from_pyobj([[{"prompt": "a", "response": [["b"]]}]])
    trainer = LLMFinetune("ERNIE-Bot-turbo-0725", rows, deploy_config=DeployConfig())
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setattr("threading.excepthook", lambda _: None)  # the stop below is raised there
        thread = threading.Thread(target=trainer.run)
        thread.start()
        until(lambda: seen in platform.routes)
        left = kept.read(trainer.id, None)  # what a kill would leave
        trainer.stop()
        thread.join(20)
    setattr(platform, words, ends)
    again = loads(left)
    again.resume()
    assert again.output["service_endpoint"] == "abcd_ep"
    assert platform.routes.count(once) == 1


def test_a_run_of_another_process_is_stopped_on_the_platform(slow: StubPlatform) -> None:
    """run() of the other process ends by itself then."""
    trainer = a_trainer()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            trainer.run()
        except TrainingFailed as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: (kept.row(trainer.id) or {}).get("job_id") == 401)
    LLMFinetune.load(trainer.id).stop()
    thread.join(20)
    assert "was stopped" in str(failures[0])
    assert slow.bodies("finetune/stopJob") == [{"taskId": 301, "jobId": 401}]


def test_asking_for_the_log_too_early_leaves_the_run_alone(platform: StubPlatform) -> None:
    """The pipeline that runs here is not replaced by what is written down of it."""
    asked: list[str] = []

    class Early(EventHandler):
        def dispatch(self, event: Event) -> None:
            if event.action_class == "LoadDataSetAction":
                with pytest.raises(InternalError, match="no log yet"):
                    trainer.get_log()
                asked.append(event.action_state.value)

    trainer = a_trainer(event_handler=Early())
    pipeline = trainer.ppls[0]
    trainer.run()
    assert asked == ["Preceding", "Done"]
    assert trainer.ppls[0] is pipeline


def test_a_trainer_that_cannot_be_started_says_where_it_tells_why(cache: Path) -> None:
    """The log of the process has the reason."""
    trainer = a_trainer()

    @saved
    class Broken(LLMFinetune):
        kind = "unknown"  # to the process, which does not import this module

    trainer.__class__ = Broken
    with pytest.raises(InvalidArgumentError, match="could not be started"):
        trainer.start()
    assert "unknown" in (cache / "trainers" / f"{trainer.id}.log").read_text()


def test_a_handler_still_hears_everything_once(platform: StubPlatform) -> None:
    """Keeping a trainer tells nobody anything."""
    heard: list[Event] = []

    class Ear(EventHandler):
        def dispatch(self, event: Event) -> None:
            heard.append(event)

    trainer = a_trainer(event_handler=Ear())
    trainer.run()
    done = [event.action_class for event in heard if event.action_state is ActionState.Done]
    assert done == ["LoadDataSetAction", "TrainAction", "ModelPublishAction", "Pipeline"]
    assert all(not action._observers for action in trainer.actions.values())
    assert isinstance(trainer.train_action, TrainAction)
