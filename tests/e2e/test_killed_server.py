"""Killed on purpose: the server in the middle of a training. It goes on, and ends with the same weights."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from tests.processes import family

ROWS = 24


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [
        json.dumps(
            [{"prompt": f"color of box {n}", "response": [[f"box {n} is {'red' if n % 2 else 'blue'}"]]}]
        )
        for n in range(ROWS)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def wait(look: Callable[[], Any], good: Callable[[Any], bool], what: str, seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not good(value := look()):
        assert time.monotonic() < end, f"{what}: still {value}"
        time.sleep(0.05)
    return value


def begin(rows: Path, method: str) -> tuple[int, int]:
    """Import the rows and start a run of the tiny model; (task id, run id)."""
    from qianfan.dataset import Dataset
    from qianfan.resources import Data, FineTune
    from qianfan.resources.console.consts import DataTemplateType

    dataset = Dataset.load(data_file=str(rows))
    dataset.save(
        replace_source=True,
        qianfan_dataset_create_args={
            "name": "boxes",
            "template_type": DataTemplateType.NonSortedConversation,
        },
    )
    ident = dataset.inner_data_source_cache.id
    Data.release_dataset(ident)
    wait(
        lambda: Data.get_dataset_info(ident)["result"]["versionInfo"]["releaseStatus"],
        lambda s: s == 2,
        "release",
    )
    task = FineTune.create_task(name="boxes")["result"]["id"]
    run = FineTune.create_job(
        {
            "taskId": task,
            "trainType": "tiny",
            "trainMode": "SFT",
            "peftType": method,
            "trainConfig": {
                "epoch": 10,
                "batchSize": 4,
                "learningRate": 5e-3 if method == "LoRA" else 1e-3,
                "checkpointSteps": 5,
            },
            "trainset": [{"type": 1, "id": ident}],
            "trainsetRate": 0,
        }
    )["result"]["id"]
    return task, run


def detail(task: int, run: int) -> dict[str, Any]:
    from qianfan.resources import FineTune

    return dict(FineTune.get_job(task, run)["result"])


def finish(task: int, run: int) -> dict[str, Any]:
    last = wait(lambda: detail(task, run), lambda d: d["trainStatus"] != "RUNNING", "the run")
    assert last["trainStatus"] == "FINISH", last["progressDetail"]["reason"]
    return last


def weights(data: Path) -> list[str]:
    """What stands for the bytes of every trained weight file that this platform keeps."""
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((data / "files").rglob("*model.safetensors"))
    ]


def trainers_of(platform: Embedded) -> list[psutil.Process]:
    return family("trainers.child", platform.process.pid)


@pytest.mark.parametrize("method", ["LoRA", pytest.param("ALL", marks=pytest.mark.soak)])
def test_a_killed_server_goes_on_from_the_last_checkpoint_to_the_same_weights(
    tmp_path: Path, rows: Path, method: str
) -> None:
    """kill -9 of the server at step 12 or later; the weights equal those of a run that nobody touched."""
    with embedded.start(tmp_path / "untouched"):
        task, run = begin(rows, method)
        finish(task, run)
    expected = weights(tmp_path / "untouched")
    assert len(expected) == 1

    data = tmp_path / "killed"
    with embedded.start(data) as platform:
        task, run = begin(rows, method)
        step = wait(lambda: detail(task, run)["progressDetail"]["step"], lambda s: s >= 12, "step 12")
        trainers = trainers_of(platform)
        assert trainers, "the run trains, so a trainer must be there"
        os.kill(platform.process.pid, signal.SIGKILL)
        platform.process.wait()
        _, alive = psutil.wait_procs(trainers, timeout=10)
        assert not alive, "a killed server leaves no trainer behind"
    with embedded.start(data):
        last = finish(task, run)
        from qianfan.resources.console.finetune import FineTune

        assert last["version"] == 1, "it is the same run"
        assert len(list(FineTune.V2.task_list(detail(task, run)["taskId"])["result"]["taskList"])) == 1
    assert step < 60
    assert weights(data) == expected


@pytest.mark.soak  # in little: tests/contract/test_trainer.py
def test_a_stopped_run_is_gone_on_with_by_the_same_configuration(tmp_path: Path, rows: Path) -> None:
    """STOP is final for a run; the same createJob again starts a new run from its last checkpoint."""
    from qianfan.resources import FineTune

    with embedded.start(tmp_path / "data"):
        task, run = begin(rows, "LoRA")
        wait(lambda: detail(task, run)["progressDetail"]["step"], lambda s: s >= 12, "step 12")
        began = time.monotonic()
        assert FineTune.stop_job(task, run)["result"] is True
        stopped = detail(task, run)
        assert stopped["trainStatus"] == "STOP"
        assert time.monotonic() - began < 3
        body = {
            "taskId": task,
            "trainType": "tiny",
            "trainMode": "SFT",
            "peftType": "LoRA",
            "trainConfig": {"epoch": 10, "batchSize": 4, "learningRate": 5e-3, "checkpointSteps": 5},
            "trainset": [{"type": 1, "id": 1}],
            "trainsetRate": 0,
        }
        again = FineTune.create_job(body)["result"]["id"]
        assert again != run
        last = finish(task, again)
        assert any("goes on from the last checkpoint" in text for text in last["progressDetail"]["warnings"])
        first = wait(lambda: detail(task, again), lambda d: True, "detail")
        assert first["progressDetail"]["step"] == 60


def test_a_trainer_that_is_killed_is_begun_again_by_the_server(tmp_path: Path, rows: Path) -> None:
    """kill -9 of the trainer alone: the same run goes on from its checkpoint, and says what happened."""
    with embedded.start(tmp_path / "data") as platform:
        task, run = begin(rows, "LoRA")
        wait(lambda: detail(task, run)["progressDetail"]["step"], lambda s: s >= 7, "step 7")
        for trainer in trainers_of(platform):
            trainer.kill()
        last = finish(task, run)
        assert last["version"] == 1
        (warning,) = (text for text in last["progressDetail"]["warnings"] if "SIGKILL" in text)
        assert "goes on from its last checkpoint" in warning
        folders = tmp_path / "data" / "work" / "runs"
        wait(lambda: list(folders.iterdir()), lambda left: not left, "a finished run keeps no work folder")
