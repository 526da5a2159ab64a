"""Clients in other languages: how they prove who they are, and the types that theirs are strict about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qianfan.embedded import Embedded
from tests.contract.generations import shapes, wires
from tests.contract.generations.shapes import fits
from tests.contract.generations.wires import Wire
from tests.contract.speaking import Speaker

V1, V2 = "/wenxinworkshop", "/v2/finetuning"
WIRES = {
    "python": Wire(("content-type", "host", "request-source", "x-bce-date"), source="qianfan_py_sdk_v0.4.12"),
    "go": wires.GO,
    "go with app keys": wires.GO_WITH_APP_KEYS,
    "java": wires.JAVA,
    "node": wires.NODE,
}


@pytest.fixture(scope="module")
def task(platform: Embedded) -> dict[str, Any]:
    """A container of runs, under both of its ids."""
    made = Speaker(platform).v1("finetune/createTask", name="languages", trainType="tiny")
    return dict(fits(made, shapes.TASK_MADE))


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


def ask(platform: Embedded, wire: Wire, path: str, body: Any, action: str = "") -> tuple[int, Any]:
    query = {"Action": action} if action else {}
    status, raw = wire.send(platform, path, json.dumps(body).encode(), query)
    return status, json.loads(raw)


def test_every_language_reads_the_list_of_services(platform: Embedded, wire: Wire) -> None:
    """Go reads `log_id` and `serviceId` as texts, Java the latter as a number of 32 bits; a body may be null."""
    for body in (None, {}, {"apiTypefilter": ["chat"]}, {"apiTypeFilter": ["chat"]}):
        status, told = ask(platform, wire, f"{V1}/service/list", body)
        assert status == 200
        assert isinstance(told["log_id"], str)
        assert not told.keys() & {"error_code", "error_msg"}  # Java takes the second for a refusal
        result = told["result"]
        assert isinstance(result["custom"], list)
        for row in [*result["common"], *result["custom"]]:
            fits(row, shapes.SERVICE_ITEM)
            assert int(row["serviceId"]) < 2**31
            assert row["url"].split("/")[-2] == row["apiType"]
            assert body != {"apiTypefilter": ["chat"]} or row["apiType"] == "chat"


def test_every_language_pages_with_the_documented_words(
    platform: Embedded, wire: Wire, task: dict[str, Any]
) -> None:
    """The public documentation's `marker` and `trainMode`, in all but old Python; `requestId` is a text."""
    body = {"trainMode": "SFT", "marker": task["uuid"], "maxKeys": 1, "pageReverse": True}
    status, told = ask(platform, wire, V2, body, "DescribeFineTuningJobs")
    assert status == 200
    assert isinstance(told["requestId"], str)
    assert [row["jobId"] for row in told["result"]["jobList"]] == [task["uuid"]]
    fits(told["result"]["pageInfo"], {"marker": str, "maxKeys": int, "isTruncated": bool})


def test_an_id_is_taken_as_each_language_writes_it(
    platform: Embedded, wire: Wire, task: dict[str, Any]
) -> None:
    """Java's untyped maps make 7.0 of a 7 that they were given; `true` is no 1."""
    for ident in (task["id"], float(task["id"]), str(task["id"]), task["uuid"]):
        status, told = ask(platform, wire, V2, {"jobId": ident}, "DescribeFineTuningTasks")
        assert (status, told["result"]["taskList"]) == (200, []), ident
    for ident in (True, [task["id"]], task["id"] + 0.5, {}):
        status, told = ask(platform, wire, V2, {"jobId": ident}, "DescribeFineTuningTasks")
        assert (status, told["code"]) == (400, "InappropriateJSON"), ident
        assert "param[jobId] invalid" in told["message"]


def test_every_language_finds_the_error_where_it_looks(platform: Embedded, wire: Wire) -> None:
    """V1: HTTP 200 and a number, which Go must be able to read; V2: HTTP above 400 and a word."""
    status, told = ask(platform, wire, f"{V1}/modelrepo/modelDetail", {"modelId": 999_999})
    assert status == 200
    fits(told, {"error_code": int, "error_msg": "model 999999 does not exist.*", "log_id": str})
    status, told = ask(platform, wire, "/v2/model", {"modelSetId": "am-nobodyknows1"}, "DescribeModelSet")
    assert status == 404
    fits(
        told,
        {"requestId": str, "code": "NoSuchResource", "message": "model am-nobodyknows1 does not exist.*"},
    )


def test_a_preset_is_listed_with_every_member(platform: Embedded) -> None:
    """By V1 as a model and as one that can be evaluated, by V2 as a set."""
    client = Speaker(platform, "qianfan_py_sdk_v0.3.0")
    (item,) = client.v1("modelrepo/model/preset/list", pageNo=1, pageSize=1)["items"]
    (version,) = fits(item, shapes.PRESET_ITEM)["versionSummaries"]
    fits(version, shapes.PRESET_VERSION)
    evaluable = client.v1("modelrepo/eval/model/list")
    (again,) = [row for row in evaluable if row["modelIdStr"] == item["modelIdStr"]]
    for row in fits(again, shapes.EVALUABLE)["modelVersionList"]:
        fits(row, shapes.EVALUABLE_VERSION)
    told = client.result("/v2/model", {"maxKeys": 1}, "DescribeSystemModelSets")
    (shown,) = told["systemModelSetList"]
    fits(shown, shapes.SYSTEM_SET)
    assert (shown["modelSetId"], shown["modelIds"]) == (item["modelIdStr"], [version["versionIdStr"]])


def test_what_belongs_to_the_platform_is_nobodys_to_change(platform: Embedded) -> None:
    """Ids of presets are never those of one's own things, and say what they are where they cannot be used."""
    client = Speaker(platform)
    model = client.v1("modelrepo/model/preset/list", nameFilter="ERNIE-Bot-turbo", pageSize=1)["items"][0]
    version = model["versionSummaries"][0]
    for path, body in (
        ("modelrepo/model/batchDelete", {"modelIDs": [model["modelId"]]}),
        ("modelrepo/model/version/batchDelete", {"modelVersionIds": [version["versionIdStr"]]}),
        ("service/apply", {"modelId": model["modelId"], "modelVersionId": version["versionId"], "name": "n", "uri": "u"}),
        ("modelrepo/publishTrainModel", {"isNewModel": False, "modelId": model["modelIdStr"], "versionMeta": {"iterationId": 1}}),
    ):  # fmt: skip
        told = client.refused(f"{V1}/{path}", body)
        assert (told.code, "is ERNIE-Bot-turbo, a model of the platform itself" in told.text) == (
            500003,
            True,
        )
    rows = client.v1("service/list")["common"]
    (row,) = [row for row in rows if row["name"] == "ERNIE-Bot-turbo" and row["apiType"] == "chat"]
    told = client.refused(f"{V1}/service/detail", {"serviceId": row["serviceId"]})
    assert (told.code, "which the platform serves by itself" in told.text) == (500003, True)
    for action, more in (("StopService", {}), ("DeleteService", {}), ("ScaleService", {"replicas": 2})):
        told = client.refused("/v2/service", {"serviceId": row["serviceUuid"], **more}, action)
        assert (told.status, told.code) == (404, "NoSuchResource")
        assert 'ask it as model="ERNIE-Bot-turbo"' in told.text
    for ident in (row["serviceId"], row["serviceUuid"]):
        shown = client.result("/v2/service", {"serviceId": ident}, "DescribeService")
        assert (shown["serviceId"], shown["runStatus"]) == (row["serviceUuid"], "Serving")
        (same,) = client.result("/v2/service", {"serviceIds": [ident]}, "DescribePresetServices")[
            "serviceList"
        ]
        assert same == shown
    wish = {"chargeType": "Prepaid"}
    assert client.result("/v2/service", wish, "DescribePresetServices")["serviceList"] == []


@pytest.mark.parametrize("path", ["/v2/charge", "/v2/memory"])
def test_what_the_cloud_sells_is_refused_in_words(platform: Embedded, path: str) -> None:
    """Newer clients know calls that make no sense here; they are told why, not that the path is unknown."""
    told = Speaker(platform).refused(path, {}, "ChargeTpmResource")
    assert (told.status, told.code) == (400, "InappropriateJSON")
    assert "here" in told.text


def test_a_form_is_refused_as_one(platform: Embedded) -> None:
    """CreateModelCustomConf sends a file in a form; nothing here takes one."""
    wire = Wire(("host", "x-bce-date"), content_type="multipart/form-data; boundary=x")
    status, raw = wire.send(platform, "/v2/model", b"--x--\r\n", {"Action": "CreateModelCustomConf"})
    assert (status, json.loads(raw)["code"]) == (400, "InappropriateJSON")
    assert "takes no form" in json.loads(raw)["message"]
