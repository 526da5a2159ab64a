"""The trainer against the real platform: what it sends, what it tells, how it stops and goes on."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from qianfan.dataset import Dataset
from qianfan.embedded import Embedded
from qianfan.errors import QianfanError
from qianfan.trainer import LLMFinetune
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
        records = [  # the lines of a fifth of a second stand together, and the first of them after the head
            json.loads(line[line.index("{") :])
            for line in log
            if "qianfan_platform.access" in line or line.startswith('{"')
        ]
    return [route for route, _ in itertools.groupby(record["route"] for record in records)]


def test_a_run_sends_the_requests_of_its_generation_and_no_more(
    platform: Embedded, tmp_path: Path, configured: Embedded
) -> None:
    """From a local file to a deployed service: upload, dataset, V1 fine-tuning, model, service; nothing else."""
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


def test_a_train_type_of_the_second_generation_speaks_v2(platform: Embedded, cloud: Dataset) -> None:
    """ERNIE-Speed exists in V2 only; the result is the same."""
    offset = platform.log_file.stat().st_size
    trainer = LLMFinetune(train_type="ERNIE-Speed", dataset=cloud).run()
    assert trainer.result[0]["model_version_id"]
    sent = sent_since(platform, offset)
    assert "/v2/finetuning?Action=CreateFineTuningJob" in sent
    assert "/v2/finetuning?Action=CreateFineTuningTask" in sent
    assert not [route for route in sent if route.startswith(f"{CONSOLE}/finetune")]


def test_the_log_tells_every_step_and_every_sample(cloud: Dataset) -> None:
    """get_log: lines, a metric for each step, and a ledger that sums to the dataset."""
    trainer = LLMFinetune(
        train_type="ERNIE-Bot-turbo-0725",
        dataset=cloud,
        train_config=TrainConfig(epoch=2, batch_size=4, trainset_rate=0),
    ).run()
    log = trainer.get_log()
    steps = [event for event in log.metrics if event["kind"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 13))
    assert all(event["loss"] > 0 and event["tokens_per_second"] > 0 for event in steps)
    text = str(log)
    assert "step 12/12" in text
    assert "24 samples: 24 kept" in text
    assert "checkpoint" in text or "finished at step 12" in text
    ledger = log.ledger
    assert ledger is not None
    assert ledger["samples"] == 24
    assert ledger["kept"] + ledger["dropped"] == 24
    assert ledger["trained_tokens"] > 0


def test_a_stopped_trainer_resumes_from_its_checkpoint(cloud: Dataset) -> None:
    """stop() from another thread ends run() within seconds; resume() starts a new run where that one stopped."""
    trainer = LLMFinetune(
        train_type="tiny",
        dataset=cloud,
        train_config=TrainConfig(epoch=40, batch_size=4, learning_rate=5e-3, extras={"checkpoint_steps": 5}),
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
    assert result["model_version_id"]
    assert result["job_id"] != stopped_run
    assert "goes on from the last checkpoint" in " ".join(_warnings(result))


def _step(trainer: LLMFinetune) -> int:
    from qianfan.resources import FineTune

    for action in trainer.actions.values():
        task, job = getattr(action, "task_id", None), getattr(action, "job_id", None)
        if task and job:
            return int(FineTune.get_job(task, job)["result"]["progressDetail"]["step"])
    return 0


def _warnings(result: dict[str, Any]) -> list[str]:
    from qianfan.resources import FineTune

    return list(FineTune.get_job(result["task_id"], result["job_id"])["result"]["progressDetail"]["warnings"])


def test_a_pipeline_saved_in_one_process_is_finished_by_another(
    scripts: Scripts, cloud: Dataset, tmp_path: Path
) -> None:
    """The trainer's state is JSON: what one process saved after training, another publishes and deploys."""
    trainer = LLMFinetune(
        train_type="ERNIE-Bot-turbo-0725", dataset=cloud, deploy_config=DeployConfig(replicas=1, pool_type=1)
    )
    load, train, *_ = trainer.actions.values()
    train.exec(load.exec())
    saved = tmp_path / "trainer.json"
    saved.write_bytes(trainer.ppls[0].dumps())
    json.loads(saved.read_bytes())
    script = tmp_path / "go_on.py"
    script.write_text(
        "import sys\nfrom qianfan import trainer\n"
        "pipeline = trainer.loads(open(sys.argv[1], 'rb').read())\n"
        "train = list(pipeline.actions.values())[1]\n"
        "result = pipeline.exec_from(train.result, 2)\n"
        "print(result['service_endpoint'])\n"
    )
    done = scripts.run(script, str(saved))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "_" in done.stdout
