"""What published clients of three generations send, from dataset to deployed answer, stopped and resumed in the middle.

Each sequence is replayed as signed HTTP with the header of its client. Every documented member must be in the answers,
as what typed clients read it; what clients leak into bodies must not matter.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from qianfan.embedded import Embedded
from tests.contract.generations import shapes, wires
from tests.contract.generations.shapes import fits, unfinished
from tests.contract.speaking import Speaker, until

ROWS = [[{"prompt": f"Which colour has thing {n}?", "response": [["blue"]]}] for n in range(8)]
QUESTION = "Which colour has thing 3?"
STEPS = 40  # of one batch each; enough that a stop comes in the middle, and that "blue" is learned
CONFIG: dict[str, Any] = {
    "epoch": STEPS,
    "batchSize": 8,
    "learningRate": 0.01,
    "maxSeqLen": 64,
    "checkpointSteps": 1,
}


def test_a_0_2_client_speaks_v1_with_numbers(platform: Embedded) -> None:
    """createTask, createJob, stop, createJob again; published before it has finished; everything by number."""
    secret = "0leaked2by0every2body0of0this2client"
    leaks = (("ak", "leaked"), ("sk", secret), ("retry_count", 3), ("backoff_factor", 3))
    client = Speaker(platform, "qianfan_py_sdk_v0.2.2", leaks)
    dataset = released(client, "id", "blue of 0.2")
    task = fits(client.v1("finetune/createTask", name="task_ab12c", description=""), shapes.TASK_MADE)["id"]
    job = {
        "taskId": task,
        "description": None,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": CONFIG,
        "trainset": [{"type": 1, "id": dataset}],
        "trainsetRate": 0,
    }

    def detail(run: int) -> Any:
        seen = client.v1("finetune/jobDetail", taskId=task, jobId=run)
        running = seen["trainStatus"] == "RUNNING"
        fits(seen, unfinished(shapes.JOB_DETAIL) if running else shapes.JOB_DETAIL)
        assert seen["progress"] < 100 or not running
        return seen

    first = fits(client.v1("finetune/createJob", **job), shapes.JOB_MADE)["id"]
    stopped_at = until(lambda: detail(first), lambda seen: seen["progress"] > 0, "the first step")["progress"]
    assert client.v1("finetune/stopJob", taskId=task, jobId=first) is True
    assert detail(first)["trainStatus"] == "STOP"
    assert client.refused("/wenxinworkshop/finetune/stopJob", {"taskId": task, "jobId": first}).code == 510302
    meta = {"taskId": task, "iterationId": first}
    told = client.refused(
        "/wenxinworkshop/modelrepo/publishTrainModel",
        {"isNewModel": True, "modelName": "m", "versionMeta": meta},
    )
    assert (told.code, "ended as Stop" in told.text) == (510302, True)

    second = client.v1("finetune/createJob", **job)["id"]
    published = publish(client, task, second, "m_1_2")
    model, version = published["modelId"], published["versionId"]
    seen = client.v1("modelrepo/modelVersionDetail", modelVersionId=version)
    assert (seen["state"], detail(second)["trainStatus"]) == ("Creating", "RUNNING")
    seen = until(lambda: detail(second), lambda seen: seen["trainStatus"] != "RUNNING", "the run")
    assert (seen["trainStatus"], seen["progress"], seen["version"]) == ("FINISH", 100, 2), seen
    went_on(client, second, first, stopped_at)
    (row,) = fits(client.v1("modelrepo/modelDetail", modelId=model), shapes.MODEL_DETAIL)["modelVersionList"]
    assert fits(row, shapes.VERSION_ITEM)["modelVersionId"] == version
    source = ready(client, version)["sourceExtra"]["trainSourceExtra"]
    assert (source["taskId"], source["runId"]) == (task, second)
    (item,) = client.v1("modelrepo/model/user/list", pageNo=1, pageSize=20, nameFilter="m_1_2")["items"]
    assert fits(item, shapes.USER_ITEM)["latestVersionInfo"]["versionId"] == version
    (own,) = [row for row in client.v1("modelrepo/eval/model/list") if row["modelId"] == model]
    (row,) = fits(own, shapes.EVALUABLE)["modelVersionList"]
    assert fits(row, shapes.EVALUABLE_VERSION)["modelVersionId"] == version
    told = client.refused("/v2/finetuning", {"taskId": second}, "DeleteFineTuningTask")
    assert "is published" in told.text
    made = fits(
        client.v1("service/apply", modelId=model, modelVersionId=version, name="svc02", uri="ep02", replicas=1,
                  poolType=1), shapes.SERVICE_MADE)  # fmt: skip
    seen = deployed(client, made["serviceId"])
    assert (seen["modelId"], seen["iterationId"], seen["payType"]) == (model, version, 1)
    answer = json.loads(wires.chat(platform, wires.TOKEN, seen["uri"], QUESTION, client.source))
    assert fits(answer, shapes.ANSWER)["result"] == "blue"
    forget(client, made["serviceUuid"])
    for path in (platform.log_file, *platform.data.glob("platform.db*")):
        assert secret.encode() not in path.read_bytes(), path


def test_a_0_3_client_speaks_v2_and_stops_through_v1(platform: Embedded) -> None:
    """Public ids in the new routes, publishing and services in the old ones; ids are swapped when it stops."""
    client = Speaker(platform, "qianfan_py_sdk_v0.3.0", (("ak", None), ("sk", None)))
    dataset = released(client, "datasetId", "blue of 0.3")
    job = client.tune("CreateFineTuningJob", name="turbo_0725_ab12c", model="ERNIE-Speed", trainMode="SFT", description=None)["jobId"]  # fmt: skip
    body = new_task(job, dataset)

    def detail(run: str) -> Any:
        seen = client.tune("DescribeFineTuningTask", taskId=run, incrementTaskId=None)
        running = seen["runStatus"] == "Running"
        fits(seen, unfinished(shapes.TASK_DETAIL) if running else shapes.TASK_DETAIL)
        assert seen["runStatus"] in ("Running", "Done", "Fail", "Stopped")  # it knows no other word
        return seen | {"percent": int(seen["runProgress"][:-1])}

    first = client.tune("CreateFineTuningTask", **body)["taskId"]
    stopped_at = until(lambda: detail(first), lambda seen: seen["percent"] > 0, "the first step")["percent"]
    early = publish(client, job, first, "published, then stopped")
    assert client.v1("finetune/stopJob", taskId=first, jobId=job) is True
    assert detail(first)["runStatus"] == "Stopped"
    assert detail(first)["runProgress"] == "100%"
    lost = settled(client, early["versionIdStr"])  # or it would be looked at for ever
    assert (lost["state"], "stopped" in lost["reason"].lower()) == ("Fail", True), lost["reason"]
    assert client.v1("modelrepo/model/batchDelete", modelIDs=[early["modelIDStr"]]) == {}

    second = client.tune("CreateFineTuningTask", **body)["taskId"]
    published = publish(client, job, second, f"m_{job}_{second}")
    seen = until(lambda: detail(second), lambda seen: seen["runStatus"] != "Running", "the run")
    assert (seen["runStatus"], seen["model"]) == ("Done", "ERNIE-Speed"), seen
    went_on(client, second, client.v1("finetune/jobDetail", taskId=job, jobId=first)["id"], stopped_at)
    model = published["modelIDStr"]
    (row,) = fits(client.v1("modelrepo/modelDetail", modelId=model), shapes.MODEL_DETAIL)["modelVersionList"]
    version = row["modelVersionIdStr"]
    source = ready(client, version)["sourceExtra"]["trainSourceExtra"]
    assert (source["taskIdStr"], source["runIdStr"]) == (job, second)
    made = fits(
        client.v1("service/apply", modelId=model, modelVersionId=version, name=f"svc{model}_{version}",
                  uri=f"ep{model}_{version}", replicas=1, poolType=2, description=None), shapes.SERVICE_MADE)  # fmt: skip
    seen = deployed(client, made["serviceId"])
    assert seen["uri"].endswith(f"_ep{model}_{version}")
    assert seen["payType"] == 3
    raw = wires.chat(platform, wires.PYTHON_ASKS, seen["uri"], QUESTION, client.source, stream=True)
    events = raw.decode().split("\n\n")
    assert all(event.startswith("data: {") for event in events if event), (
        "0.3.0 reads nothing else, and no [DONE]"
    )
    pieces = [fits(json.loads(event[6:]), shapes.CHUNK) for event in events if event]
    assert [piece["sentence_id"] for piece in pieces] == [*range(len(pieces))]
    assert [piece["is_end"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece["result"] for piece in pieces) == "blue"
    forget(client, made["serviceUuid"])


def test_a_0_4_client_asks_what_can_be_trained_and_speaks_v2_throughout(platform: Embedded) -> None:
    """Its defaults come from us; it knows Waiting and Failed; model sets and services are of V2."""
    client = Speaker(platform, "qianfan_py_sdk_v0.4.12")
    models = client.tune("DescribeFineTuningSupportModels")
    (row,) = [row for row in models if row["model"] == "ERNIE-Speed-8K"]
    (sft,) = [mode for mode in row["supportTrainMode"] if mode["trainMode"] == "SFT"]
    (lora,) = [scale for scale in sft["supportParameterScale"] if scale["parameterScale"] == "LoRA"]
    for entry in lora["supportHyperParameterConfig"]:
        fits(entry, shapes.SUPPORTED)
    dataset = released(client, "datasetId", "blue of 0.4")
    job = client.tune("CreateFineTuningJob", name="job_ab12c", model="ERNIE-Speed-8K", trainMode="SFT")[
        "jobId"
    ]
    body = new_task(job, dataset)

    def detail(run: str) -> Any:
        seen = fits(client.tune("DescribeFineTuningTask", taskId=run), shapes.TASK_DETAIL)
        assert seen["runStatus"] in ("Waiting", "Running", "Done", "Failed", "Stopped")
        return seen | {"percent": int(seen["runProgress"][:-1])}

    first = client.tune("CreateFineTuningTask", **body)["taskId"]
    stopped_at = until(lambda: detail(first), lambda seen: seen["percent"] > 0, "the first step")["percent"]
    assert client.tune("StopFineTuningTask", taskId=first) is True
    assert detail(first)["runStatus"] == "Stopped"
    assert client.tune("StopFineTuningTask", taskId=first) is False

    second = client.tune("CreateFineTuningTask", **body)["taskId"]
    seen = until(
        lambda: detail(second), lambda seen: seen["runStatus"] not in ("Waiting", "Running"), "the run"
    )
    assert seen["runStatus"] == "Done", seen
    went_on(client, second, client.v1("finetune/jobDetail", taskId=job, jobId=first)["id"], stopped_at)
    (checkpoint,) = seen["checkpointList"]
    published = publish(client, job, second, f"m_{job}_{second}", step=checkpoint["step"])
    owner = published["modelIDStr"]
    model_set = client.result("/v2/model", {"modelSetId": owner}, "DescribeModelSet")
    (model,) = fits(model_set, shapes.MODEL_SET)["modelIds"]
    # 0.3.1 to 0.4.0 ask the old route instead, and get the same version
    (row,) = client.v1("modelrepo/modelDetail", modelId=owner)["modelVersionList"]
    assert row["modelVersionIdStr"] == model
    ready(client, model)
    shown = fits(client.result("/v2/model", {"modelId": model}, "DescribeModel"), shapes.MODEL_OF_SET)
    assert (shown["modelSetId"], shown["sourceInfo"]["trainTaskId"]) == (owner, second)
    resources = {"type": "GPU-I-2", "replicasCount": 2, "qps": 1.5}
    billing = {
        "paymentTiming": "Prepaid",
        "reservation": {"reservationLength": 1, "reservationTimeUnit": "Hour"},
    }
    wanted = {
        "modelSetId": owner,
        "modelId": model,
        "name": "svc04",
        "urlSuffix": "ep04",
        "resourceConfig": resources,
        "billing": billing,
    }
    service = client.result("/v2/service", wanted, "CreateService")
    ident = fits(service, shapes.SERVICE_MADE_V2)["serviceId"]
    seen = until(
        lambda: fits(
            client.result("/v2/service", {"serviceId": ident}, "DescribeService"), shapes.SERVICE_V2
        ),
        lambda seen: seen["runStatus"] not in ("New", "Deploying"),
        "the service",
    )
    assert (seen["runStatus"], seen["chargeType"], seen["resourceConfig"]) == (
        "Serving",
        "Prepaid",
        resources,
    )
    assert seen["engines"]["wanted"] == 2
    endpoint = seen["url"].rsplit("/", 1)[-1]
    listed = client.v1("service/list")["custom"]  # asked before the first question, and every ten minutes
    (mine,) = [fits(one, shapes.SERVICE_ITEM) for one in listed if one["serviceUuid"] == ident]
    assert (mine["url"], mine["versionList"][0]["trainType"]) == (seen["url"], "ERNIE-Speed-8K")
    for wish, found in (({"chargeType": "Prepaid"}, True), ({"chargeType": "Postpaid"}, False),
                        ({"payType": "Free"}, True), ({"payType": "Monthly"}, False)):  # fmt: skip
        listed = client.result("/v2/service", wish, "DescribeServices")["serviceList"]
        assert (ident in [one["serviceId"] for one in listed]) is found, wish
    again = {"serviceId": ident, "modelSetId": owner, "modelId": model}
    fewer = client.result("/v2/service", {**again, "resourceConfig": {"replicasCount": 1}}, "ModifyService")
    assert fits(fewer, shapes.SERVICE_V2)["resourceConfig"] == {**resources, "replicasCount": 1}
    answer = json.loads(wires.chat(platform, wires.PYTHON_ASKS, endpoint, QUESTION, client.source))
    assert fits(answer, shapes.ANSWER)["result"] == "blue"
    forget(client, ident)


def released(client: Speaker, by: str, name: str) -> Any:
    """A released dataset of ROWS; its id of the kind that the client reads from `by` when it is made."""
    asked = {"versionId": 1, "projectType": 20, "templateType": 2000, "dataType": 4, "storageType": "sysBos"}
    ident = fits(client.v1("dataset/create", name=name, **asked), shapes.DATASET_MADE)[by]

    def info() -> Any:
        return fits(client.v1("dataset/info", datasetId=ident), shapes.DATASET_INFO)["versionInfo"]

    assert (info()["importStatus"], info()["releaseStatus"]) == (-1, 0)
    path = client.file("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    assert client.v1("dataset/import", datasetId=ident, annotated=True, importFrom=1, files=[path]) is True
    assert info()["importStatus"] in (1, 2)  # 0.3.0 takes any other for a failure
    until(info, lambda seen: seen["importStatus"] == 2, "the import")
    assert client.v1("dataset/release", datasetId=ident) is True
    assert info()["releaseStatus"] in (1, 2)  # and here any other for success
    seen = until(info, lambda seen: seen["releaseStatus"] == 2, "the release")
    assert seen["entityCount"] == len(ROWS)
    return ident


def new_task(job: str, dataset: str) -> dict[str, Any]:
    return {
        "jobId": job,
        "parameterScale": "LoRA",
        "hyperParameterConfig": {**CONFIG, "loraAllLinear": "True"},
        "datasetConfig": {"sourceType": "Platform", "versions": [{"versionId": dataset}], "splitRatio": 0},
    }


def went_on(client: Speaker, second: Any, first: int, percent: int) -> None:
    """The second run went on where the first was when it was stopped, at `percent` or later."""
    seen = client.tune("DescribeFineTuningTask", taskId=second)["progressDetail"]
    assert (seen["resumes"], seen["steps"]) == (first, STEPS)
    log = "\n".join(line["text"] for line in client.tune("DescribeFineTuningTaskLog", taskId=second)["lines"])
    begun = re.search(r"goes on from step (\d+)", log)
    assert begun, log
    assert percent * STEPS // 100 <= int(begun[1]) < STEPS


def publish(client: Speaker, task: Any, run: Any, name: str, **meta: Any) -> Any:
    """What publishTrainModel says of a new model; each generation reads other ids of it."""
    told = client.v1(
        "modelrepo/publishTrainModel",
        isNewModel=True,
        modelName=name,
        versionMeta={"taskId": task, "iterationId": run, **meta},
    )
    return fits(told, shapes.PUBLISHED)


def settled(client: Speaker, version: int | str) -> Any:
    """Look at the version until it is made, as every generation does."""
    return until(
        lambda: fits(
            client.v1("modelrepo/modelVersionDetail", modelVersionId=version), shapes.VERSION_DETAIL
        ),
        lambda seen: seen["state"] != "Creating",
        "the version",
    )


def ready(client: Speaker, version: int | str) -> Any:
    """The version, which must become Ready."""
    seen = settled(client, version)
    assert seen["state"] == "Ready", seen
    return seen


def deployed(client: Speaker, service: int) -> Any:
    """Look at the service until it is Done, as it is shown then."""
    seen = until(
        lambda: fits(client.v1("service/detail", serviceId=service), shapes.SERVICE_DETAIL),
        lambda seen: seen["serviceStatus"] not in ("New", "Deploying"),
        "the service",
    )
    assert seen["serviceStatus"] == "Done", seen
    return seen


def forget(client: Speaker, service: str) -> None:
    """Free what it holds; published clients have no call for that."""
    assert client.result("/v2/service", {"serviceId": service}, "DeleteService") is True


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("", "Fail"),
        ("qianfan_py_sdk_v0.3.0", "Fail"),
        ("qianfan_py_sdk_v0.4.2", "Fail"),
        ("qianfan_py_sdk_v0.4.3", "Failed"),
        ("qianfan_go_sdk_v0.0.1", "Failed"),
        ("qianfan_java_sdk_v0.1.6", "Failed"),
        ("qianfan_js_sdk_v1.0.0", "Failed"),
    ],
)
def test_a_failed_run_is_told_in_the_word_the_client_knows(
    platform: Embedded, failed: str, source: str, word: str
) -> None:
    """0.3.0 would poll for ever on Failed; 0.4.3 raises on Fail. V1 says FAIL to everybody."""
    client = Speaker(platform, source)
    seen = client.tune("DescribeFineTuningTask", taskId=failed)
    assert (seen["runStatus"], seen["runProgress"]) == (word, "100%")
    (listed,) = client.tune("DescribeFineTuningTasks", jobId=seen["jobId"])["taskList"]
    assert listed["runStatus"] == word
    assert seen["progressDetail"]["reason"]
    assert client.v1("finetune/jobDetail", jobId=failed)["trainStatus"] == "FAIL"


@pytest.fixture(scope="module")
def failed(platform: Embedded) -> str:
    """A run that is refused by its trainer: a sample is too long, and the policy is to refuse."""
    client = Speaker(platform)
    _, ident = client.upload([[{"prompt": "long " * 40, "response": [["x"]]}]] * 2, name="long")
    job = client.tune("CreateFineTuningJob", name="fails", model="tiny", trainMode="SFT")["jobId"]
    run = client.tune("CreateFineTuningTask", **new_task(job, ident))["taskId"]
    until(
        lambda: client.tune("DescribeFineTuningTask", taskId=run),
        lambda seen: seen["runStatus"] == "Fail",
        "the failure",
    )
    return str(run)
