"""Every method of `Data` against a platform, sync and for asyncio: what it sends is taken, what it answers is documented."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.embedded import Embedded
from qianfan.errors import APIError
from qianfan.resources import Data
from qianfan.resources.console.consts import (
    DataExportDestinationType,
    DataProjectType,
    DataSetType,
    DataSourceType,
    DataTemplateType,
    EntityListingType,
)
from qianfan.resources.console.files import Files

ROW = [{"prompt": "What is 2+2?", "response": [["4"]]}]


def _names(text: str) -> set[str]:
    return set(text.split())


INFO = _names(
    "id groupId groupPK datasetId datasetPK versionId dataType projectType templateType storageType storage "
    "importStatus importProgress importRecordCount importErrorInfo exportStatus exportProgress exportRecordCount "
    "releaseStatus releaseProgress releaseErrCode releaseStoragePath entityCount annotatedEntityCount labelCount "
    "characterCount memorySize createTime modifyTime displayName remark bmlDatasetId userId errCode uniqueType "
    "isEnhancing enhanceStatus hasEnhance isSelfInstructEnhance etlStatus hasEtl isPipelineEtl teamAnnoStatus "
    "hasTeamAnno interAnnoRunning hardSampleCount promptOptimizeStatus demandStatus"
)
STATUS = _names(
    "importStatus importProgress releaseStatus releaseProgress exportStatus exportProgress enhanceStatus etlStatus "
    "importErrorInfo entityCount annotatedEntityCount labelCount qcLabelErrStatus characterCount modifyTime"
)
RECORD = _names(
    "id creatorName storageId storagePath size exportFormat exportType status recordNum exportTo downloadUrl "
    "startTime finishTime"
)
CREATED = _names(
    "id groupId groupPK datasetId versionId groupName displayName createFrom bmlDatasetId userId dataType projectType "
    "templateType remark storageInfo importStatus importProgress exportStatus releaseStatus ShouldHide status isUnique "
    "errCode createTime modifyTime"
)


@dataclass
class Life:
    """What earlier steps have answered, for later ones."""

    call: Callable[..., Any]  # (method name, arguments) → result
    folder: Path
    ids: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.ids[name]

    def uploaded(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(Files.upload(path, name)["result"]["path"])

    def info(self, name: str = "set") -> Any:
        return self.call("get_dataset_info", self[name])["versionInfo"]

    def until(self, look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + 60
        while not done(seen := look()):
            assert time.monotonic() < end, seen
            time.sleep(0.05)
        return seen


def _create(life: Life) -> None:
    text = (DataSetType.TextOnly, DataProjectType.Conversation, DataTemplateType.NonSortedConversation)
    made = life.call("create_bare_dataset", "of the table", *text)
    assert set(made) == CREATED
    assert set(made["storageInfo"]) >= {"storageId", "storagePath", "storageName"}
    assert isinstance(made["id"], int)
    assert made["datasetId"].startswith("ds-")
    assert made["groupPK"].startswith("dg-")
    assert made["versionId"] == 1
    life.ids.update(set=made["datasetId"], number=made["id"])
    other = life.call("create_bare_dataset", "refused", *text)
    life.ids["bad"] = other["datasetId"]
    for name in ("texts", "cleaned"):
        generic = (DataSetType.TextOnly, DataProjectType.GenericText, DataTemplateType.GenericText)
        life.ids[name] = life.call("create_bare_dataset", name, *generic)["id"]


def _import(life: Life) -> None:
    path = life.uploaded("rows.jsonl", (json.dumps(ROW) + "\n") * 5 + '[{"prompt": "bare"}]\n')
    assert life.call("create_data_import_task", life["set"], True, DataSourceType.PrivateBos, path) is True
    assert life.info()["importStatus"] in (1, 2)
    found = life.until(life.info, lambda info: info["importStatus"] != 1)
    assert (found["importStatus"], found["entityCount"], found["annotatedEntityCount"]) == (2, 6, 5)
    path = life.uploaded("texts.txt", "one plain text\nanother plain text\n")
    life.call("create_data_import_task", life["texts"], False, DataSourceType.PrivateBos, path)
    life.until(lambda: life.info("texts"), lambda info: info["importStatus"] == 2)


def _refused(life: Life) -> None:
    path = life.uploaded("bad.jsonl", json.dumps(ROW) + '\n{"prompt": 7}\n')
    life.call("create_data_import_task", life["bad"], True, DataSourceType.PrivateBos, path)
    found = life.until(lambda: life.info("bad"), lambda info: info["importStatus"] != 1)
    assert found["importStatus"] == 3
    detail = life.call("get_dataset_import_error_detail", life["bad"], found["importErrorInfo"][0]["code"])
    assert set(detail) == {"dataType", "downloadUrl", "isZip", "projectType", "content"}
    assert set(detail["content"][0]) >= {
        "sequence",
        "sampleFileName",
        "sampleName",
        "textLocation",
        "textContent",
    }
    assert "2" in detail["content"][0]["textLocation"]


def _info(life: Life) -> None:
    by_text, by_number = (
        life.call("get_dataset_info", life["set"]),
        life.call("get_dataset_info", life["number"]),
    )
    assert by_text == by_number
    assert set(by_text) >= {"groupId", "groupPK", "name", "dataType", "isPublic", "versionInfo"}
    info = by_text["versionInfo"]
    assert set(info) >= INFO
    assert info["groupPK"] == by_text["groupPK"]
    assert (info["datasetId"], info["datasetPK"]) == (life["number"], life["set"])
    assert set(info["storage"]) == {"storageId", "storageName", "storagePath", "rawStoragePath", "region"}
    for name in ("createTime", "modifyTime"):
        assert datetime.strptime(info[name], "%Y-%m-%d %H:%M:%S").tzinfo is None


def _statuses(life: Life) -> None:
    asked = [life["set"], life["number"], str(life["texts"])]
    answer = life.call("get_dataset_status_in_batch", asked)
    assert set(answer) == {str(one) for one in asked}
    assert all(set(status) == STATUS for status in answer.values())
    assert answer[life["set"]] == answer[str(life["number"])]
    assert (answer[life["set"]]["exportStatus"], answer[life["set"]]["importProgress"]) == (255, 100)


def _entities(life: Life) -> None:
    page = life.call(
        "list_all_entity_in_dataset", life["set"], 0, 30, listing_type=EntityListingType.NotAnnotatedOnly
    )
    assert (page["totalAll"], page["total"]) == (6, 1)
    item = page["items"][0]
    assert life.call("annotate_an_entity", item["id"], life["number"], content=ROW) is True
    assert life.info()["annotatedEntityCount"] == 6
    assert life.call("delete_an_entity", [item["id"]], life["set"]) == {"failedOnes": None}
    assert life.call("delete_an_entity", [item["id"]], life["set"]) == {"failedOnes": [item["id"]]}
    assert life.info()["entityCount"] == 5


def _export(life: Life) -> None:
    before = life.info()["modifyTime"]
    assert life.call("create_dataset_export_task", life["set"], DataExportDestinationType.PlatformBos) is True
    assert life.info()["exportStatus"] in (1, 2)
    found = life.until(life.info, lambda info: info["exportStatus"] != 1)
    assert (found["exportStatus"], found["exportRecordCount"], found["modifyTime"]) == (2, 1, before)
    (record,) = life.call("get_dataset_export_records", life["set"])
    assert set(record) == RECORD
    assert (record["recordNum"], record["exportTo"], record["exportFormat"]) == (5, 0, 0)
    assert datetime.strptime(record["finishTime"], "%Y-%m-%d %H:%M:%S").tzinfo is None
    with urllib.request.urlopen(record["downloadUrl"], timeout=20) as answer:
        archive = zipfile.ZipFile(BytesIO(answer.read()))
    assert [json.loads(line) for line in archive.read("data.jsonl").splitlines()] == [ROW] * 5


def _release(life: Life) -> None:
    assert life.call("release_dataset", life["set"]) is True
    assert life.info()["releaseStatus"] in (1, 2)
    found = life.until(life.info, lambda info: info["releaseStatus"] != 1)
    assert found["releaseStatus"] == 2
    assert found["releaseStoragePath"].endswith("/jsonl")
    with pytest.raises(APIError, match="frozen"):
        life.call(
            "create_data_import_task", life["set"], True, DataSourceType.PrivateBos, "bos:/local/file-x"
        )


def _clean(life: Life) -> None:
    stages = {"clean": [{"name": "remove_emoji", "args": {}}]}
    task = life.call("create_dataset_etl_task", life["texts"], life["cleaned"], stages)
    ended = life.until(
        lambda: life.call("get_dataset_etl_task_info", task), lambda found: found["processStatus"] != 1
    )
    assert (ended["processStatus"], ended["entityCount"]) == (2, 2)
    listed = life.call("get_dataset_etl_task_list", 10, 0)
    assert listed["items"][0]["etlStrId"] == task
    assert life.call("delete_dataset_etl_task", [task]) is True


def _augment(life: Life) -> None:
    text = (DataSetType.TextOnly, DataProjectType.QuerySet, DataTemplateType.QuerySet)
    target = life.call("create_bare_dataset", "more", *text)["id"]
    arguments = ("more like these", life["set"], target, "chat", "completions", 1, 1, 1, 0.5)
    task = life.call("create_dataset_augmenting_task", *arguments)
    assert task
    assert life.call("get_dataset_augmenting_task_info", task)["name"] == "more like these"
    listed = life.call("get_dataset_aug_task_list", "more like", True, 10, 0)
    assert listed["items"][-1]["name"] == "more like these"
    life.call("stop_dataset_augmenting_task", task)
    assert life.call("delete_dataset_augmenting_task", [task]) is True


def _delete(life: Life) -> None:
    for name in ("set", "bad", "texts", "cleaned"):
        assert life.call("delete_dataset", life[name]) == {"versionCount": 0}
        with pytest.raises(APIError, match="does not exist"):
            life.call("get_dataset_info", life[name])


STEPS = (
    _create,
    _import,
    _refused,
    _info,
    _statuses,
    _entities,
    _export,
    _release,
    _clean,
    _augment,
    _delete,
)


@pytest.mark.parametrize("way", ["sync", "aio"])
def test_every_method_works(way: str, platform: Embedded, tmp_path: Path) -> None:
    """One life of a few datasets, from their creation to their deletion, in both ways of calling."""
    called = set()

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        called.add(name)
        method = getattr(Data, name)
        answer = method(*args, **kwargs) if way == "sync" else asyncio.run(method.aio(*args, **kwargs))
        assert (answer["status"], answer["success"]) == (200, True)
        assert answer["log_id"]
        return answer["result"]

    life = Life(call, tmp_path, {})
    with embedded.configured(platform.environment):
        for step in STEPS:
            step(life)
    assert called == {name for name in vars(Data) if name[0].islower()}
