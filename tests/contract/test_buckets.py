"""Datasets in buckets: private storage, imports, releases, exports; the SDK and the platform against an S3 server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.config import get_config
from qianfan.dataset import Dataset
from qianfan.embedded import Embedded
from qianfan.errors import APIError, QianfanError
from qianfan.resources import BatchInference, Data, FineTune, Model
from qianfan.resources.console.consts import (
    DataExportDestinationType,
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataStorageType,
    DataTemplateType,
    EvaluationResultExportDestinationType,
    TrainMode,
)
from qianfan.resources.console.files import Files
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import TrainConfig
from tests.bucket_server import ABSENT, LOCKED, MINE, REGION, BucketServer, bucket_server
from tests.contract.conftest import conversations

__all__ = ["bucket_server"]

FOLDER = "/datasets/one/"
CATALOGUE = """
[models.parrot]
engine = "echo"
kinds = ["chat"]
languages = ["en"]
[serves]
parrot = "parrot"
[stand_ins]
training = "tiny"
"""


def lines(count: int, *, start: int = 0) -> str:
    return "".join(json.dumps(row) + "\n" for row in conversations(count, start=start))


@pytest.fixture(scope="module")
def with_buckets(bucket_server: BucketServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A platform with three buckets connected: one of ours, one of others, one that does not exist."""
    folder = tmp_path_factory.mktemp("buckets")
    stores = bucket_server.stores(folder)
    catalogue = folder / "catalogue.toml"
    catalogue.write_text(CATALOGUE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bucket_server.environment.items():
            patch.setenv(name, value)
        running = embedded.start(folder / "data", use=False, objects=stores, catalogue=catalogue)
    with running:
        yield running
        log = running.log_file.read_text(encoding="utf-8")
        assert bucket_server.access_key not in log
        assert bucket_server.secret_key not in log


@pytest.fixture
def store_keys(bucket_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's settings lead to the store, with keys that are not the platform's."""
    for name, value in (
        ("BOS_ENDPOINT", bucket_server.url),
        ("BOS_ACCESS_KEY", bucket_server.access_key),
        ("BOS_SECRET_KEY", bucket_server.secret_key),
        ("CACHE_DIR", str(tmp_path / "cache")),
    ):
        monkeypatch.setitem(get_config().__dict__, name, value)


@pytest.fixture(autouse=True)
def configured_buckets(with_buckets: Embedded) -> Iterator[None]:
    with embedded.configured(with_buckets.environment):
        yield


def make(bucket: str | None = MINE, folder: str = FOLDER, template: Any = None) -> dict[str, Any]:
    """The result of creating a dataset of conversations; in private storage unless the bucket is None."""
    storage = DataStorageType.PrivateBos if bucket else DataStorageType.PublicBos
    kind = template or DataTemplateType.NonSortedConversation
    project = DataProjectType(kind.value // 100)
    made = Data.create_bare_dataset("set", DataSetType.TextOnly, project, kind, storage, bucket, folder)
    result: dict[str, Any] = made["result"]
    return result


def settled(ident: Any, status: str) -> dict[str, Any]:
    """versionInfo once the status is no longer that of something running."""
    end = time.monotonic() + 30
    while True:
        info: dict[str, Any] = Data.get_dataset_info(ident)["result"]["versionInfo"]
        if info[status] != 1:
            return info
        assert time.monotonic() < end, info
        time.sleep(0.05)


def imported(ident: Any, path: str) -> dict[str, Any]:
    Data.create_data_import_task(ident, True, DataSourceType.PrivateBos, path)
    return settled(ident, "importStatus")


@pytest.fixture(scope="module")
def filled(with_buckets: Embedded, bucket_server: BucketServer) -> dict[str, Any]:
    """A private dataset of 40 conversations, released."""
    bucket_server.write("datasets/one/data.jsonl", lines(40))
    with embedded.configured(with_buckets.environment):
        made = make()
        assert imported(made["datasetId"], f"bos:/{MINE}/datasets/one/data.jsonl")["importStatus"] == 2
        Data.release_dataset(made["datasetId"])
        info = settled(made["datasetId"], "releaseStatus")
        assert info["releaseStatus"] == 2
    return info


def test_a_private_dataset_says_where_it_lies(filled: dict[str, Any]) -> None:
    """The block `storage` has all five members, in create and in info."""
    storage = filled["storage"]
    place = f"{FOLDER}_system_/dataset/{filled['datasetPK']}/texts"
    assert filled["storageType"] == "usrBos"
    assert storage == {
        "storageId": MINE,
        "storageName": MINE,
        "storagePath": place,
        "rawStoragePath": FOLDER,
        "region": REGION,
    }
    assert set(make()["storageInfo"]) == set(storage)


def test_a_release_is_written_into_the_bucket(filled: dict[str, Any], bucket_server: BucketServer) -> None:
    """All records lie under releaseStoragePath, which is storagePath and `/jsonl`."""
    path = filled["releaseStoragePath"]
    assert path == filled["storage"]["storagePath"] + "/jsonl"
    (key,) = bucket_server.keys(path.lstrip("/"))
    rows = [json.loads(line) for line in bucket_server.read(key).splitlines()]
    assert rows == conversations(40)


@pytest.mark.parametrize("form", ["bos:/{}", "{}"])
def test_every_form_of_a_path_is_imported(form: str, bucket_server: BucketServer) -> None:
    """With `bos:` and without, into platform storage as well."""
    bucket_server.write("forms/data.jsonl", lines(3))
    info = imported(make(None)["datasetId"], form.format(f"{MINE}/forms/data.jsonl"))
    assert (info["importStatus"], info["entityCount"]) == (2, 3)


@pytest.mark.parametrize("path", ["folder/", "folder"])
def test_a_folder_is_imported_whole(path: str, bucket_server: BucketServer) -> None:
    """All its objects, in the order of their names; an archive among them is unpacked."""
    bucket_server.write("folder/a.jsonl", lines(2))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("rows.jsonl", lines(4, start=2))
    bucket_server.write("folder/deeper/b.zip", packed.getvalue())
    bucket_server.write("folderly/other.jsonl", lines(1))
    info = imported(make()["datasetId"], f"bos:/{MINE}/{path}")
    assert (info["importStatus"], info["entityCount"]) == (2, 6)


def test_an_upload_of_ours_goes_into_a_private_dataset(bucket_server: BucketServer) -> None:
    """`/v2/files` serves both kinds of storage."""
    path = Files.upload(lines(5).encode(), "mine.jsonl")["result"]["path"]
    assert imported(make()["datasetId"], path)["entityCount"] == 5


def test_an_object_that_is_not_there_is_error_300(bucket_server: BucketServer) -> None:
    """The import fails, says so, and `importErrorDetail` finds it by its code."""
    ident = make()["datasetId"]
    for path in (f"bos:/{MINE}/not/there.jsonl", f"bos:/{ABSENT}/data.jsonl"):
        info = imported(ident, path)
        assert info["importStatus"] == 3
        (problem,) = info["importErrorInfo"]
        assert problem["code"] == 300
        content = Data.get_dataset_import_error_detail(ident, 300)["result"]["content"]
        assert path in content[0]["what"] or ABSENT in content[0]["what"]


def test_a_bucket_that_the_store_locks_is_told() -> None:
    """The store's refusal is passed on as what it is, in imports and releases."""
    info = imported(make()["datasetId"], f"bos:/{LOCKED}/data.jsonl")
    assert info["importStatus"] == 3
    assert "AccessDenied" in info["importErrorInfo"][0]["what"]
    assert info["importErrorInfo"][0]["code"] == 100


def test_a_release_that_cannot_be_written_fails_with_its_reason(bucket_server: BucketServer) -> None:
    """A dataset in a bucket that may not be written is not half released; it can be released again later."""
    bucket_server.write("release/data.jsonl", lines(2))
    ident = make(LOCKED)["datasetId"]
    assert imported(ident, f"bos:/{MINE}/release/data.jsonl")["importStatus"] == 2
    Data.release_dataset(ident)
    info = settled(ident, "releaseStatus")
    assert info["releaseStatus"] == 3
    assert "AccessDenied" in info["progressDetail"]["reason"]


@pytest.mark.parametrize(
    "path",
    ["bos:/not-connected/x", "bos:/../x", f"bos:/{MINE}/../{LOCKED}/x", "file:///etc/passwd", "s3://other-tenant/x",
     f"bos:/{MINE}/a\x00b", "/etc/passwd", f"bos:/{MINE}/a/./b"],
)  # fmt: skip
def test_a_path_out_of_the_buckets_is_refused_at_once(path: str) -> None:
    """Nothing is started: the status stays what it was."""
    ident = make()["datasetId"]
    with pytest.raises(APIError) as refused:
        Data.create_data_import_task(ident, True, DataSourceType.PrivateBos, path)
    assert refused.value.error_code == 500001
    assert Data.get_dataset_info(ident)["result"]["versionInfo"]["importStatus"] == -1


@pytest.mark.parametrize("bucket", ["not-connected", "..", "local"])
def test_private_storage_needs_a_connected_bucket(bucket: str) -> None:
    """A dataset is not made where it could not lie."""
    with pytest.raises(APIError, match="not connected"):
        make(bucket)


@pytest.mark.parametrize("folder", ["/../", "/a/../b", "a\tb", "/a//b/"])
def test_private_storage_needs_a_plain_folder(folder: str) -> None:
    """A folder that leads out of itself is none."""
    with pytest.raises(APIError, match="rawStoragePath"):
        make(MINE, folder)


def test_an_export_goes_to_a_bucket(filled: dict[str, Any], bucket_server: BucketServer) -> None:
    """The record names bucket and path, the object is the zip, and the link gives the same bytes."""
    ident = filled["datasetPK"]
    Data.create_dataset_export_task(ident, DataExportDestinationType.PrivateBos, MINE)
    assert settled(ident, "exportStatus")["exportStatus"] == 2
    record = Data.get_dataset_export_records(ident)["result"][-1]
    assert (record["exportTo"], record["storageId"], record["recordNum"]) == (1, MINE, 40)
    assert record["storagePath"].startswith(f"{FOLDER}_system_/dataset/{ident}/export/")
    packed = bucket_server.read(record["storagePath"].lstrip("/"))
    assert zipfile.ZipFile(io.BytesIO(packed)).read("data.jsonl").decode().count("\n") == 40
    with urllib.request.urlopen(record["downloadUrl"]) as link:
        assert link.read() == packed


def test_an_export_to_a_bucket_that_locks_us_fails_with_its_reason(filled: dict[str, Any]) -> None:
    """exportStatus is 3, and the reason is told; a bucket that is not connected is refused at once."""
    ident = filled["datasetPK"]
    Data.create_dataset_export_task(ident, DataExportDestinationType.PrivateBos, LOCKED)
    info = settled(ident, "exportStatus")
    assert info["exportStatus"] == 3
    assert "AccessDenied" in info["progressDetail"]["reason"]
    with pytest.raises(APIError, match="not connected"):
        Data.create_dataset_export_task(ident, DataExportDestinationType.PrivateBos, "not-connected")


@pytest.mark.usefixtures("store_keys")
def test_the_sdk_reads_and_writes_objects(bucket_server: BucketServer) -> None:
    """bos_source_args of load and of save: the platform has no part in it."""
    bucket_server.write("sdk/rows.jsonl", lines(6))
    dataset = Dataset.load(
        bos_source_args={"region": REGION, "bucket": MINE, "bos_file_path": "sdk/rows.jsonl"}
    )
    assert dataset.to_pylist() == conversations(6)
    kept = dataset.filter(lambda row: row[0]["prompt"] != "question 0")
    assert kept.save(bos_source_args={"region": REGION, "bucket": MINE, "bos_file_path": "sdk/kept.jsonl"})
    assert [json.loads(row) for row in bucket_server.read("sdk/kept.jsonl").splitlines()] == conversations(
        5, start=1
    )


def test_the_sdk_makes_a_dataset_of_an_object(bucket_server: BucketServer) -> None:
    """bos_load_args: created in private storage, imported from there, downloaded."""
    bucket_server.write("sdk/made.jsonl", lines(4))
    dataset = Dataset.load(
        bos_load_args={
            "name": "of an object",
            "template_type": DataTemplateType.NonSortedConversation,
            "storage_id": MINE,
            "storage_path": "/sdk/",
            "file_name": "made.jsonl",
            "is_data_annotated": True,
        }
    )
    assert dataset.to_pylist() == conversations(4)
    assert dataset.inner_data_source_cache.storage_type == DataStorageType.PrivateBos


@pytest.mark.usefixtures("store_keys")
def test_the_sdk_saves_into_private_storage_by_the_bucket(bucket_server: BucketServer) -> None:
    """Rows go into the dataset's folder as `data_….jsonl`, and are imported from there; more can be added."""
    arguments = {
        "storage_type": DataStorageType.PrivateBos,
        "storage_id": MINE,
        "storage_path": "/sdk-private/",
    }
    dataset = Dataset.create_from_pyobj(conversations(3))
    assert dataset.save(qianfan_dataset_create_args={"name": "private", **arguments}, replace_source=True)
    assert len(bucket_server.keys("sdk-private/data_")) == 1
    source = dataset.inner_data_source_cache
    more = Dataset.create_from_pyobj(conversations(2, start=3))
    assert more.save(qianfan_dataset_id=source.id)
    assert len(bucket_server.keys("sdk-private/data_")) == 2
    assert source.refresh()["versionInfo"]["entityCount"] == 5


def test_the_sdk_saves_into_private_storage_by_the_platform(bucket_server: BucketServer) -> None:
    """Where the SDK knows no store, the platform takes the rows, and the release brings them into the bucket."""
    arguments = {
        "storage_type": DataStorageType.PrivateBos,
        "storage_id": MINE,
        "storage_path": "/by-platform/",
    }
    dataset = Dataset.create_from_pyobj(conversations(3))
    assert dataset.save(qianfan_dataset_create_args={"name": "private", **arguments}, replace_source=True)
    assert bucket_server.keys("by-platform/") == []
    assert dataset.inner_data_source_cache.release_dataset()
    assert len(bucket_server.keys("by-platform/_system_/dataset/")) == 1


def train(uri: str) -> tuple[str, dict[str, Any]]:
    """(run, its detail at the end) of a short run of the tiny model on data in a bucket."""
    job = FineTune.V2.create_job("buckets", "tiny", TrainMode.SFT)["result"]["jobId"]
    made = FineTune.V2.create_task(
        job,
        "LoRA",
        {"epoch": 1, "batchSize": 8, "learningRate": 0.002},
        {"sourceType": "Bos", "versions": [{"versionBosUri": uri}], "splitRatio": 0},
    )
    run, end = made["result"]["taskId"], time.monotonic() + 120
    while True:
        detail = FineTune.V2.task_detail(run)["result"]
        if detail["runStatus"] != "Running":
            return run, detail
        assert time.monotonic() < end, detail
        time.sleep(0.1)


def test_a_model_is_tuned_on_what_lies_in_a_bucket(bucket_server: BucketServer) -> None:
    """All objects of a folder are one dataset, which is frozen before the run begins."""
    bucket_server.write("train/a.jsonl", lines(20))
    bucket_server.write("train/b.jsonl", lines(20, start=20))
    _, detail = train(f"bos:/{MINE}/train")
    assert detail["runStatus"] == "Done", detail
    pinned = make()["id"] - 1  # made just before this one
    result = Data.get_dataset_info(pinned)["result"]
    assert result["name"] == f"bos:/{MINE}/train"
    assert (result["versionInfo"]["releaseStatus"], result["versionInfo"]["entityCount"]) == (2, 40)
    with pytest.raises(APIError, match="frozen"):
        Data.create_data_import_task(pinned, True, DataSourceType.PrivateBos, f"bos:/{MINE}/train")


def test_a_stopped_run_goes_on_with_what_lay_in_the_bucket(bucket_server: BucketServer) -> None:
    """The same task again: its checkpoint and its frozen data are used, whatever lies there by now."""
    bucket_server.write("going/a.jsonl", lines(8))
    job = FineTune.V2.create_job("going on", "tiny", TrainMode.SFT)["result"]["jobId"]
    data = {"sourceType": "Bos", "versions": [{"versionBosUri": f"bos:/{MINE}/going"}], "splitRatio": 0}

    def start() -> str:
        config = {"epoch": 400, "batchSize": 8, "checkpointSteps": 1}
        return str(FineTune.V2.create_task(job, "LoRA", config, data)["result"]["taskId"])

    first, end = start(), time.monotonic() + 120
    while FineTune.V2.task_detail(first)["result"]["progressDetail"]["step"] < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    FineTune.V2.stop_task(first)
    bucket_server.write("going/b.jsonl", lines(8, start=8))
    again = start()
    stopped, goes_on = (FineTune.V2.task_detail(run)["result"] for run in (first, again))
    FineTune.V2.stop_task(again)
    assert goes_on["progressDetail"]["resumes"] is not None
    assert goes_on["datasetConfig"] == stopped["datasetConfig"]


def test_a_trainer_goes_from_a_bucket_to_a_model(bucket_server: BucketServer) -> None:
    """`LLMFinetune(dataset_bos_path=…)` as published scripts call it, to a version that is ready."""
    bucket_server.write("trainer/data.jsonl", lines(16))
    config = TrainConfig(epoch=1, batch_size=8, learning_rate=0.01, peft_type="LoRA")
    trainer = LLMFinetune("tiny", dataset_bos_path=f"bos:/{MINE}/trainer/", train_config=config)
    trainer.run()
    assert trainer.result[0]["datasets"] == [{"type": 2, "bosPath": f"bos:/{MINE}/trainer/"}]
    made = Model.detail(trainer.result[0]["model_version_id"])["result"]
    assert made["state"] == "Ready"


def test_data_that_cannot_be_trained_on_fails_the_run_with_its_line(bucket_server: BucketServer) -> None:
    """A bad line is named, a missing object as well; a bucket that is not connected is refused at the call."""
    bucket_server.write("bad/a.jsonl", lines(2) + '[{"prompt": 3}]\n')
    for path, words in ((f"bos:/{MINE}/bad/a.jsonl", "line 3"), (f"bos:/{MINE}/nothing/", "no object under")):
        run, detail = train(path)
        assert detail["runStatus"] == "Fail"
        assert words in detail["progressDetail"]["reason"]
        last = FineTune.V2.task_log(run)["result"]["lines"][-1]
        assert (last["level"], last["text"]) == ("error", detail["progressDetail"]["reason"])
    with pytest.raises(QianfanError, match="not connected"):
        train("bos:/not-connected/x")


def test_the_first_generation_names_data_in_buckets_as_type_2(bucket_server: BucketServer) -> None:
    """`bosPath` in a training set; a bucket that is not connected is 510102 at the call."""
    task = FineTune.create_task("buckets", base_train_type="tiny", train_type="tiny")["result"]["id"]
    job = {
        "taskId": task,
        "baseTrainType": "tiny",
        "trainType": "tiny",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": {"epoch": 1, "batchSize": 8, "learningRate": 0.002},
        "trainsetRate": 0,
    }
    made = FineTune.create_job({**job, "trainset": [{"type": 2, "bosPath": f"bos:/{MINE}/none/"}]})["result"][
        "id"
    ]
    detail = until(lambda: FineTune.get_job(task, made)["result"], "trainStatus", "RUNNING")
    assert detail["trainStatus"] == "FAIL"
    assert "no object under" in json.dumps(detail["progressDetail"])
    with pytest.raises(APIError, match="not connected") as refused:
        FineTune.create_job({**job, "trainset": [{"type": 2, "bosPath": "bos:/not-connected/x"}]})
    assert refused.value.error_code == 510102


def test_answers_of_an_evaluation_go_into_a_bucket(
    filled: dict[str, Any], bucket_server: BucketServer
) -> None:
    """The dataset of answers as private storage, released there; an export of the results as two files."""
    made = Model.create_evaluation_task(
        "private",
        [{"endpoint": "parrot"}],
        filled["datasetPK"],
        {"evalMode": "rule", "scoreModes": ["accuracy"]},
        result_dataset_storage_type=DataStorageType.PrivateBos,
        result_dataset_storage_id=MINE,
        result_dataset_raw_path="/answers/",
    )["result"]
    detail = until(
        lambda: Model.get_evaluation_info(made["evalIdStr"])["result"], "state", "Pending", "Doing"
    )
    assert detail["state"] == "Done", detail
    answers = settled(detail["evalStandardConf"]["resultDatasetIdStr"], "releaseStatus")
    assert (answers["storageType"], answers["storage"]["rawStoragePath"]) == ("usrBos", "/answers/")
    (key,) = bucket_server.keys(answers["releaseStoragePath"].lstrip("/"))
    assert len(bucket_server.read(key).splitlines()) == 40
    to_bucket = EvaluationResultExportDestinationType.PrivateBos
    export = Model.create_evaluation_result_export_task(made["evalIdStr"], to_bucket, bos_bucket_id=MINE)[
        "result"
    ]
    status = Model.get_evaluation_result_export_task_status
    done = until(lambda: status(export["exportIDStr"])["result"], "state", "Pending", "Uploading")
    assert (done["state"], done["exportType"], done["volumeId"]) == ("Done", "storage", MINE), done
    kept = bucket_server.keys(done["exportPath"].lstrip("/"))
    assert [key.rpartition("/")[2] for key in kept] == ["results.csv", "results.zip"]
    with urllib.request.urlopen(done["downloadUrl"]) as link:
        assert link.read() in [bucket_server.read(key) for key in kept]
    with pytest.raises(APIError, match="not connected"):
        Model.create_evaluation_result_export_task(made["evalIdStr"], to_bucket, bos_bucket_id="others")


def until(look: Any, member: str, *running: str) -> dict[str, Any]:
    """The first look at something whose state is none of `running`."""
    end = time.monotonic() + 60
    while (found := look())[member] in running:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return dict(found)


def test_a_server_does_not_start_with_stores_it_cannot_use(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    """The member and the variable are named at the start, not at the first import."""
    command = [sys.executable, "-m", "qianfan_platform", "--data", str(tmp_path / "data"), "--port", "0"]
    stores = bucket_server.stores(tmp_path)
    ended = subprocess.run([*command, "--objects", str(stores)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "TEST_BUCKETS_AK is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_batch_reads_a_folder_and_writes_into_another(bucket_server: BucketServer) -> None:
    """Batch inference from bucket to bucket: all lines of the folder, in the order of its objects."""
    bucket_server.write("asked/a.jsonl", '{"prompt": "one"}\n{"prompt": "two"}')
    bucket_server.write("asked/b.jsonl", '{"prompt": "three"}\n')
    bucket_server.write("asked/read.me", "not a line")
    places = (f"bos:/{MINE}/asked/", f"bos:/{MINE}/answered")
    task = BatchInference.create("buckets", {}, *places, endpoint="parrot")["result"]["taskId"]
    end = time.monotonic() + 30
    while (detail := BatchInference.detail(task)["result"])["runStatus"] == "Running":
        assert time.monotonic() < end, detail
        time.sleep(0.1)
    assert (detail["runStatus"], detail["outputDir"]) == ("Done", f"bos:/{MINE}/answered/{task}"), detail
    rows = [json.loads(line) for line in bucket_server.read(f"answered/{task}/output.jsonl").splitlines()]
    assert [row["model_response"][0]["content"] for row in rows] == ["one", "two", "three"]
    with pytest.raises(QianfanError, match="others"):
        BatchInference.create("refused", {}, "bos:/others/in/", places[1], endpoint="parrot")
