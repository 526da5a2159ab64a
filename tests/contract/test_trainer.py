"""The trainer against the real platform: what it sends, what it tells, how it stops and goes on."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qianfan import embedded
from qianfan.cli.main import app
from qianfan.dataset import Dataset
from qianfan.embedded import Embedded
from qianfan.errors import QianfanError
from qianfan.resources import FineTune
from qianfan.trainer import LLMFinetune, PostPreTrain, kept
from qianfan.trainer.configs import DeployConfig, TrainConfig

from .conftest import Scripts, write_conversations

pytestmark = pytest.mark.usefixtures("configured")

CONSOLE = "/wenxinworkshop"


@pytest.fixture
def cloud(dataset_id: int) -> Dataset:
    return Dataset.load(qianfan_dataset_id=dataset_id, is_download_to_local=False)


def sent_since(platform: Embedded, offset: int) -> list[str]:
    """Routes in the order they were called, repeated ones once."""
    with platform.log_file.open(encoding="utf-8") as log:
        log.seek(offset)
        records = [json.loads(line) for line in log if line.startswith('{"')]
    return [route for route, _ in itertools.groupby(record["route"] for record in records)]


def test_a_run_sends_the_requests_of_its_generation_and_no_more(
    platform: Embedded, tmp_path: Path, configured: Embedded
) -> None:
    """From a local file to a deployed service: upload, dataset, V1 fine-tuning, model, service; nothing else."""
    time.sleep(0.5)  # the last lines of what was asked before
    offset = platform.log_file.stat().st_size
    dataset = Dataset.load(data_file=str(write_conversations(tmp_path / "rows.jsonl", 6)))
    LLMFinetune(
        train_type="ERNIE-Bot-turbo-0725",
        dataset=dataset,
        train_config=TrainConfig(epoch=1, peft_type="LoRA"),
        deploy_config=DeployConfig(replicas=1, pool_type=1),
    ).run()
    time.sleep(0.5)  # the last lines of the log
    assert sent_since(platform, offset) == [
        "/v2/files",
        f"{CONSOLE}/dataset/create",
        f"{CONSOLE}/dataset/import",
        f"{CONSOLE}/dataset/info",
        f"{CONSOLE}/dataset/release",
        f"{CONSOLE}/dataset/info",
        f"{CONSOLE}/finetune/createTask",
        f"{CONSOLE}/finetune/createJob",
        f"{CONSOLE}/finetune/jobDetail",
        f"{CONSOLE}/modelrepo/publishTrainModel",
        f"{CONSOLE}/finetune/jobDetail",
        f"{CONSOLE}/modelrepo/modelDetail",
        f"{CONSOLE}/modelrepo/modelVersionDetail",
        f"{CONSOLE}/service/apply",
        f"{CONSOLE}/service/detail",
    ]


def test_texts_are_read_before_answers_are_learned(platform: Embedded, cloud: Dataset) -> None:
    """PostPreTrain and what goes on from it speak V2 alone, of a train type that V2 has; nothing is published."""
    offset = platform.log_file.stat().st_size
    texts = PostPreTrain("ERNIE-Speed", Dataset.create_from_pyobj(["a text of some length"] * 8)).run()
    assert set(texts.result[0]) >= {"datasets", "task_id", "job_id"}
    tuned = LLMFinetune(dataset=cloud, previous_trainer=texts, model_not_publish=True).run()
    detail = FineTune.V2.task_detail(tuned.result[0]["task_id"])["result"]
    assert detail["progressDetail"]["startsFrom"] == texts.result[0]["task_id"]
    assert (detail["model"], detail["trainMode"]) == ("ERNIE-Speed", "SFT")
    sent = sent_since(platform, offset)
    assert sent.count("/v2/finetuning?Action=CreateFineTuningJob") == 2
    assert sent.count("/v2/finetuning?Action=CreateFineTuningTask") == 2
    assert not [route for route in sent if route.startswith((f"{CONSOLE}/finetune", f"{CONSOLE}/model"))]


@pytest.fixture(scope="module")
def trained(platform: Embedded, dataset_id: int) -> LLMFinetune:
    """A trainer that has run on 24 conversations, none of them held out."""
    with embedded.configured(platform.environment):
        trainer = LLMFinetune(
            train_type="ERNIE-Bot-turbo-0725",
            dataset=Dataset.load(qianfan_dataset_id=dataset_id, is_download_to_local=False),
            train_config=TrainConfig(epoch=2, batch_size=4, trainset_rate=0),
        )
        trainer.run()
    return trainer


def test_the_log_tells_every_step_and_every_sample(trained: LLMFinetune) -> None:
    """get_log: lines, a metric for each step, curves of them, and a ledger that sums to the dataset."""
    log = trained.get_log()
    steps = [event for event in log.metrics if event["kind"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 13))
    assert all(event["loss"] > 0 and event["tokens_per_second"] > 0 for event in steps)
    text = str(log)
    assert "step 12/12" in text
    assert "24 samples: 24 kept" in text
    assert "checkpoint" in text or "finished at step 12" in text
    assert [step for step, _ in log.curves["loss"]] == list(range(1, 13))
    assert "loss" in str(log.curves)
    ledger = log.ledger
    assert ledger is not None
    assert ledger["samples"] == 24
    assert ledger["kept"] + ledger["dropped"] == 24
    assert ledger["trained_tokens"] > 0
    entries = list(ledger.entries())
    assert [entry["sample"] for entry in entries] == list(range(1, 25))
    assert sum(entry["trainedTokens"] for entry in entries) == ledger["trained_tokens"]
    assert list(ledger.entries("dropped")) == []


def test_a_sample_is_seen_as_the_trainer_reads_it(trained: LLMFinetune) -> None:
    """The learned part is the answer and the end token, as many tokens as the ledger has."""
    log = trained.get_log()
    sample = log.xray(3)
    (sequence,) = sample["sequences"]
    learned = "".join(token["text"] for token in sequence["tokens"] if token["trained"])
    assert learned.startswith("answer 2")
    assert learned != "answer 2"
    assert "question 2" in sequence["rendered"]
    assert log.ledger is not None
    entry = next(one for one in log.ledger.entries() if one["sample"] == 3)
    assert sum(token["trained"] for token in sequence["tokens"]) == entry["trainedTokens"]
    assert "⟦answer 2" in str(sample)


def test_a_run_is_looked_at_from_the_command_line(trained: LLMFinetune) -> None:
    """By its number or its task-…: list, show, log, curves, ledger; a run that is over cannot be stopped."""
    run, public = str(trained.output["job_id"]), str(trained.train_action.reference.uuid)  # type: ignore[union-attr]

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["finetune", *arguments])
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    rows = json.loads(said("list", "--json"))["runs"]
    assert public in [row["taskId"] for row in rows]
    assert json.loads(said("show", public, "--json"))["runStatus"] == "Done"
    assert said("log", run) == said("log", public)
    assert len(said("log", public, "--follow").splitlines()) == len(trained.get_log())
    assert json.loads(said("curves", run, "loss", "--json"))["loss"][-1][0] == 12
    assert len(said("ledger", run, "--json").splitlines()) == 24
    assert "answer 0" in said("xray", public, "1")
    assert json.loads(said("stop", public, "--json")) == {"stopped": False}


def test_a_stopped_trainer_resumes_from_its_checkpoint(cloud: Dataset) -> None:
    """stop() from another thread ends run() within seconds; resume() starts a new run where that one stopped."""
    trainer = LLMFinetune(
        train_type="tiny",
        dataset=cloud,
        train_config=TrainConfig(epoch=40, batch_size=4, learning_rate=5e-3, extras={"checkpoint_steps": 5}),
        model_not_publish=True,
    )
    failures: list[BaseException] = []

    def run() -> None:
        try:
            trainer.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 60
    while not _step(trainer) >= 7:
        assert time.monotonic() < end
        time.sleep(0.1)
    trainer.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(failures[0], QianfanError)
    assert trainer.status == "TrainStopped"
    first = trainer.ppls[0].actions
    stopped_run = next(action.job_id for action in first.values() if getattr(action, "job_id", None))
    trainer.resume()
    result = trainer.result[0]
    assert result["job_id"] != stopped_run
    assert "goes on from the last checkpoint" in " ".join(_warnings(result))


def _step(trainer: LLMFinetune) -> int:
    for action in trainer.actions.values():
        task, job = getattr(action, "task_id", None), getattr(action, "job_id", None)
        if task and job:
            return int(FineTune.get_job(task, job)["result"]["progressDetail"]["step"])
    return 0


def _warnings(result: dict[str, Any]) -> list[str]:
    return list(FineTune.get_job(result["task_id"], result["job_id"])["result"]["progressDetail"]["warnings"])


def test_a_killed_process_leaves_a_trainer_that_another_finishes(
    scripts: Scripts, cloud: Dataset, tmp_path: Path
) -> None:
    """kill -9 in the middle of a training: the run goes on without it, and is waited for and published."""
    script = tmp_path / "begin.py"
    script.write_text(
        "import sys\nfrom qianfan.dataset import Dataset\nfrom qianfan.trainer import LLMFinetune\n"
        "from qianfan.trainer.configs import TrainConfig\n"
        "trainer = LLMFinetune('tiny', Dataset(id=sys.argv[1]), TrainConfig(epoch=3, batch_size=4))\n"
        "print(trainer.id, flush=True)\ntrainer.run()\n"
    )
    command = [sys.executable, str(script), str(cloud.inner_data_source_cache.id)]  # type: ignore[union-attr]
    first = subprocess.Popen(command, env=scripts.environment(), stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    with first.stdout:
        id = first.stdout.readline().strip()
    end = time.monotonic() + 60
    while not (kept.row(id) or {}).get("job_id"):
        assert time.monotonic() < end
        time.sleep(0.05)
    first.kill()
    first.wait(20)
    job = LLMFinetune.load(id).train_action.job_id
    finish = tmp_path / "finish.py"
    finish.write_text(
        "import sys\nfrom qianfan.trainer import LLMFinetune\n"
        "result = LLMFinetune.load(sys.argv[1]).resume().result[0]\n"
        "print(result['job_id'], result['model_version_id'])\n"
    )
    done = scripts.run(finish, id)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[0] == str(job)
    assert int(done.stdout.split()[1]) > 0
