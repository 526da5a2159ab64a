"""Bad input: refused at the call, typed, with what happened, to what, and what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import qianfan
from qianfan.dataset import Dataset
from qianfan.embedded import Embedded
from qianfan.errors import APIError, InvalidArgumentError, QianfanError, RequestError
from qianfan.resources import Data, FineTune, Model, Service
from qianfan.resources.console.consts import (
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
)
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import TrainConfig

from .conftest import conversations, write_conversations

pytestmark = pytest.mark.usefixtures("configured")


def job(task: int, dataset: Any, **changed: Any) -> dict[str, Any]:
    return {
        "taskId": task,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": {"epoch": 1, "learningRate": 0.001},
        "trainset": [{"type": 1, "id": dataset}],
        "trainsetRate": 20,
        **changed,
    }


@pytest.fixture(scope="module")
def task(platform: Embedded) -> int:
    from qianfan import embedded

    with embedded.configured(platform.environment):
        return int(FineTune.create_task(name="refusals")["result"]["id"])


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"trainType": "ERNIE-99"}, 510401, "ERNIE-99"),
        ({"trainConfig": {"epoch": 0}}, 510401, "epoch"),
        ({"trainConfig": {"learningRate": -1}}, 510401, "learningRate"),
        ({"peftType": "Magic"}, 510401, "Magic"),
        ({"trainMode": "KTO"}, 510401, "KTO"),
        ({"trainMode": "DPO"}, 510102, "template 2002"),
        ({"trainMode": "PostPretrain"}, 510102, "template 40100"),
        ({"trainset": [{"type": 1, "id": 999_999}]}, 510102, "999999"),
        ({"trainset": [{"type": 2, "bosPath": "bos:/bucket/x"}]}, 510102, "object store"),
        ({"trainset": []}, 500001, "trainset"),
        ({"trainsetRate": 90}, 500001, "trainsetRate"),
        ({"taskId": 999_999}, 510202, "999999"),
        ({"jobRunType": 1}, 510404, "increConfig"),
        ({"jobRunType": 1, "increConfig": {"jobId": 999_999}}, 510301, "999999"),
    ],
)
def test_a_run_that_cannot_work_is_refused_at_the_call(
    task: int, dataset_id: int, changed: dict[str, Any], code: int, says: str
) -> None:
    """Nothing is trained; the error has its code and names the member."""
    with pytest.raises(APIError) as refused:
        FineTune.create_job(job(task, dataset_id, **changed))
    assert refused.value.error_code == code
    assert says in str(refused.value)


def test_a_dataset_that_is_not_released_is_not_trained_on(task: int) -> None:
    """The error says which call is missing."""
    made = Data.create_bare_dataset(
        "bare", DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation
    )["result"]
    with pytest.raises(APIError, match="release") as refused:
        FineTune.create_job(job(task, made["datasetId"]))
    assert refused.value.error_code == 510102


def test_unknown_things_are_named() -> None:
    """Whatever is asked for by an id that does not exist."""
    for ask in (
        lambda: FineTune.get_job(1, 999_999),
        lambda: Model.list(model_id=999_999),
        lambda: Model.detail(model_version_id="amv-nosuchthing1"),
        lambda: Service.get(id=999_999),
    ):
        with pytest.raises(APIError, match=r"does not exist") as missing:
            ask()
        assert "999999" in str(missing.value) or "amv-nosuchthing1" in str(missing.value)
    with pytest.raises(QianfanError, match="999999"):
        Data.get_dataset_info(999_999)


def test_wrong_console_keys_are_told_apart_and_never_shown(platform: Embedded) -> None:
    """An unknown access key and a wrong secret key are two answers; neither holds a secret."""
    right = platform.environment["QIANFAN_ACCESS_KEY"]
    secret = "s3cr3t-canary-0123456789abcdef"
    with pytest.raises(RequestError, match="Could not find credential") as unknown:
        FineTune.create_task(name="x", ak="ALTAKnobody", sk=secret)
    with pytest.raises(RequestError, match="Signature does not match") as wrong:
        FineTune.create_task(name="x", ak=right, sk=secret)
    for error in (unknown.value, wrong.value):
        assert secret not in str(error) + repr(error)
    assert secret not in platform.log_file.read_text(encoding="utf-8")


def test_wrong_application_keys_are_refused(platform: Embedded) -> None:
    """A wrong secret key of an application: a typed error that says which half is wrong."""
    chat = qianfan.ChatCompletion(ak=platform.environment["QIANFAN_AK"], sk="wrong")
    with pytest.raises(QianfanError, match=r"SK|Client authentication failed"):
        chat.do(messages=[{"role": "user", "content": "hi"}])


def test_the_trainer_refuses_before_anything_is_sent(dataset_id: int) -> None:
    """Unknown train types and impossible parameters: before the first request."""
    cloud = Dataset.load(qianfan_dataset_id=dataset_id, is_download_to_local=False)
    with pytest.raises(InvalidArgumentError, match="ERNIE-Bot-turbo-0725"):
        LLMFinetune(train_type="ERNIE-Bot-turbo-0752", dataset=cloud)
    with pytest.raises((InvalidArgumentError, ValueError), match="epoch"):
        LLMFinetune(train_type="ERNIE-Bot-turbo-0725", dataset=cloud, train_config=TrainConfig(epoch=0))
    with pytest.raises(InvalidArgumentError, match="dataset"):
        LLMFinetune(train_type="ERNIE-Bot-turbo-0725", dataset=None)


BAD_LINES = {
    "not json": ('[{"prompt": "a", "response": [["b"]]}', "line 3"),
    "no response": (json.dumps([{"prompt": "a"}]), "response"),
    "empty response": (json.dumps([{"prompt": "a", "response": [[""]]}]), "response"),
    "two candidates": (json.dumps([{"prompt": "a", "response": [["b"], ["c"]]}]), "response"),
    "wrong order of roles": (json.dumps({"messages": [{"role": "assistant", "content": "a"}]}), "messages"),
    "not wrapped": (json.dumps({"prompt": "a", "response": "b"}), "line 3"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_named_before_anything_is_trained(kind: str, tmp_path: Path) -> None:
    """File, line, field and the fix, from the SDK, before anything is sent."""
    line, says = BAD_LINES[kind]
    path = tmp_path / "tickets.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in conversations(2)) + line + "\n", encoding="utf-8"
    )
    with pytest.raises(QianfanError) as refused:
        LLMFinetune(train_type="tiny", dataset=Dataset.load(data_file=str(path))).run()
    text = str(refused.value)
    assert "tickets.jsonl" in text
    assert "line 3" in text
    assert says in text
    assert "fix" in text


def settled(ident: Any) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        return dict(Data.get_dataset_info(ident)["result"]["versionInfo"])

    return wait(look, lambda info: info["importStatus"] in (2, 3))


def wait(look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not good(value := look()):
        assert time.monotonic() < end, value
        time.sleep(0.05)
    return value


def test_the_platform_checks_what_others_upload(tmp_path: Path) -> None:
    """A file that no client checked: the import fails as a whole, with every bad line listed."""
    rows = [json.dumps(row) for row in conversations(3)]
    rows[1] = json.dumps([{"prompt": "", "response": [["x"]]}])
    path = qianfan.resources.Files.upload("\n".join(rows).encode(), "raw.jsonl")["result"]["path"]
    made = Data.create_bare_dataset(
        "raw", DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation
    )["result"]["datasetId"]
    Data.create_data_import_task(made, True, DataSourceType.PrivateBos, path)
    info = settled(made)
    assert info["importStatus"] == 3
    assert info["entityCount"] == 0
    (refused,) = Data.get_dataset_import_error_detail(made, 13)["result"]["content"]
    assert (refused["sampleFileName"], refused["textLocation"]) == ("raw.jsonl", "line 2, field [0].prompt")
    assert orjson.loads(refused["textContent"]) == orjson.loads(rows[1])
    with pytest.raises(QianfanError, match="no imported content"):
        Data.release_dataset(made)


def test_an_import_from_a_private_address_is_refused() -> None:
    """The fetch gate: this server was not told to fetch from loopback."""
    made = Data.create_bare_dataset(
        "remote", DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation
    )["result"]["datasetId"]
    Data.create_data_import_task(made, True, DataSourceType.SharedZipUrl, "http://127.0.0.1:9/data.zip")
    info = settled(made)
    assert info["importStatus"] == 3
    assert "127.0.0.1" in info["importErrorInfo"][0]["what"]


def test_a_sample_that_does_not_fit_the_model_fails_the_run_with_its_number(
    task: int, tmp_path: Path
) -> None:
    """Nothing is dropped in silence: the run is Fail, and says which sample has how many tokens."""
    path = write_conversations(tmp_path / "rows.jsonl", 3)
    long = json.dumps([{"prompt": "word " * 400, "response": [["too long"]]}])
    path.write_text(path.read_text() + long + "\n", encoding="utf-8")
    dataset = Dataset.load(data_file=str(path))
    dataset.save(
        replace_source=True,
        qianfan_dataset_create_args={"name": "long", "template_type": DataTemplateType.NonSortedConversation},
    )
    ident = dataset.inner_data_source_cache.id
    Data.release_dataset(ident)
    wait(lambda: Data.get_dataset_info(ident)["result"]["versionInfo"]["releaseStatus"], lambda s: s == 2)
    run = FineTune.create_job(job(task, ident, trainConfig={"epoch": 1, "maxSeqLen": 128}))["result"]["id"]
    last = wait(
        lambda: FineTune.get_job(task, run)["result"], lambda result: result["trainStatus"] != "RUNNING", 120
    )
    assert last["trainStatus"] == "FAIL"
    reason = last["progressDetail"]["reason"]
    assert "sample 4" in reason
    assert "128" in reason
    with pytest.raises(APIError, match=r"FAIL|Fail") as refused:
        Model.publish(is_new=True, model_name="x", version_meta={"taskId": task, "iterationId": run})
    assert refused.value.error_code == 510302
