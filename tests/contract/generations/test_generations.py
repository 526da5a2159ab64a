"""What published clients of three generations send, from dataset to deployed answer, with a stop in the middle.

Each sequence is replayed as signed HTTP with the header of its client. What a client indexes without asking
must be in the answers; what it leaks into bodies must not matter.
"""

from __future__ import annotations

from typing import Any

import pytest

from qianfan.embedded import Embedded
from tests.contract.speaking import Speaker, until

ROWS = [[{"prompt": f"Which colour has thing {n}?", "response": [["blue"]]}] for n in range(8)]
STEPS = 40  # of one batch each; enough that a stop comes in the middle, and that "blue" is learned
CONFIG: dict[str, Any] = {
    "epoch": STEPS,
    "batchSize": 8,
    "learningRate": 0.01,
    "maxSeqLen": 64,
    "checkpointSteps": 1,
}
ALWAYS = ("groupPK", "name", "versionInfo")
VERSION = (
    "datasetPK", "versionId", "dataType", "projectType", "templateType", "storageType", "storage", "importStatus",
    "exportStatus", "releaseStatus", "releaseErrCode", "exportRecordCount", "entityCount", "modifyTime",
)  # fmt: skip
STORAGE = ("storageId", "storageName", "storagePath", "rawStoragePath", "region")


@pytest.fixture(scope="module")
def blue(platform: Embedded) -> tuple[int, str]:
    """The released dataset that all of them train on."""
    return Speaker(platform).upload(ROWS, name="blue")


def needs(told: Any, *names: str) -> Any:
    """`told`, which must have all that the client reads."""
    assert set(names) <= set(told), f"missing: {set(names) - set(told)}"
    return told


def dataset_info(client: Speaker, ident: Any, *more: str) -> None:
    info = needs(client.v1("dataset/info", datasetId=ident), *ALWAYS)["versionInfo"]
    needs(needs(info, *VERSION, *more)["storage"], *STORAGE)
    assert info["releaseStatus"] == 2


def answers(client: Speaker, endpoint: str) -> str:
    """What the deployed model says to a question it was trained on."""
    path = f"/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/{endpoint}"
    asked = {"messages": [{"role": "user", "content": "Which colour has thing 3?"}]}
    told = client.ask(path, {**asked, "extra_parameters": {"request_source": client.source}})
    assert needs(told.json, "id", "object", "created", "result", "usage"), told
    return str(told.json["result"])


def test_a_0_2_client_speaks_v1_with_numbers(platform: Embedded, blue: tuple[int, str]) -> None:
    """createTask, createJob, stop, createJob again; published before it has finished; everything by number."""
    leaks = (("ak", None), ("sk", None), ("retry_count", 3), ("backoff_factor", 3))
    client = Speaker(platform, "qianfan_py_sdk_v0.2.2", leaks)
    dataset_info(client, blue[0], "datasetId", "groupId")
    task = needs(client.v1("finetune/createTask", name="task_ab12c", description=""), "id")["id"]
    job = {
        "taskId": task,
        "description": None,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": CONFIG,
        "trainset": [{"type": 1, "id": blue[0]}],
        "trainsetRate": 0,
    }

    def detail(run: int) -> Any:
        return needs(client.v1("finetune/jobDetail", taskId=task, jobId=run), "trainStatus", "vdlLink")

    first = needs(client.v1("finetune/createJob", **job), "id")["id"]
    assert isinstance(first, int)
    until(lambda: detail(first), lambda seen: seen["progress"] > 0, "the first step")
    assert client.v1("finetune/stopJob", taskId=task, jobId=first) is True
    assert detail(first)["trainStatus"] == "STOP"

    second = client.v1("finetune/createJob", **job)["id"]
    published = client.v1(
        "modelrepo/publishTrainModel",
        isNewModel=True,
        modelName="m_1_2",
        versionMeta={"taskId": task, "iterationId": second},
    )
    model = needs(published, "modelIDStr", "modelId")["modelId"]
    seen = until(lambda: detail(second), lambda seen: seen["trainStatus"] != "RUNNING", "the run")
    assert seen["trainStatus"] == "FINISH", seen
    assert seen["progressDetail"]["resumes"] == first
    versions = client.v1("modelrepo/modelDetail", modelId=model)["modelVersionList"]
    version = needs(versions[0], "modelVersionId", "modelVersionIdStr", "modelId")["modelVersionId"]
    ready(client, version)
    told = client.refused("/v2/finetuning", {"taskId": second}, "DeleteFineTuningTask")
    assert "is published" in told.text
    service = client.v1(
        "service/apply", modelId=model, modelVersionId=version, name="svc02", uri="ep02", replicas=1, poolType=2
    )["serviceId"]  # fmt: skip
    assert answers(client, deployed(client, service)) == "blue"


def test_a_0_3_client_speaks_v2_and_stops_through_v1(platform: Embedded, blue: tuple[int, str]) -> None:
    """Public ids in the new routes, publishing and services in the old ones; ids are swapped when it stops."""
    client = Speaker(platform, "qianfan_py_sdk_v0.3.0", (("ak", None), ("sk", None)))
    dataset_info(client, blue[1])
    job = needs(client.tune("CreateFineTuningJob", name="turbo_0725_ab12c", model="ERNIE-Speed", trainMode="SFT"), "jobId")["jobId"]  # fmt: skip
    body = new_task(job, blue)

    def detail(run: str) -> Any:
        seen = client.tune("DescribeFineTuningTask", taskId=run, incrementTaskId=None)
        needs(seen, "runStatus", "runProgress", "vdlLink")
        assert seen["runStatus"] in ("Running", "Done", "Fail", "Stopped")  # it knows no other word
        return seen | {"percent": int(seen["runProgress"][:-1])}

    first = needs(client.tune("CreateFineTuningTask", **body), "taskId")["taskId"]
    until(lambda: detail(first), lambda seen: seen["percent"] > 0, "the first step")
    assert client.v1("finetune/stopJob", taskId=first, jobId=job) is True
    assert detail(first)["runStatus"] == "Stopped"
    assert detail(first)["runProgress"] == "100%"

    second = client.tune("CreateFineTuningTask", **body)["taskId"]
    published = needs(
        client.v1(
            "modelrepo/publishTrainModel",
            isNewModel=True,
            modelName=f"m_{job}_{second}",
            versionMeta={"taskId": job, "iterationId": second},
        ),
        "modelIDStr",
        "modelId",
    )
    seen = until(lambda: detail(second), lambda seen: seen["runStatus"] != "Running", "the run")
    assert seen["runStatus"] == "Done", seen
    model = published["modelIDStr"]
    versions = client.v1("modelrepo/modelDetail", modelId=model)["modelVersionList"]
    version = versions[0]["modelVersionIdStr"]
    ready(client, version)
    service = client.v1(
        "service/apply", modelId=model, modelVersionId=version, name=f"svc{model}_{version}",
        uri=f"ep{model}_{version}"[-20:], replicas=1, poolType=2,
    )["serviceId"]  # fmt: skip
    assert answers(client, deployed(client, service)) == "blue"


def test_a_0_4_client_asks_what_can_be_trained_and_speaks_v2_throughout(
    platform: Embedded, blue: tuple[int, str]
) -> None:
    """Its defaults come from us; it knows Waiting and Failed; model sets and services are of V2."""
    client = Speaker(platform, "qianfan_py_sdk_v0.4.12")
    models = client.tune("DescribeFineTuningSupportModels")
    (row,) = [row for row in models if row["model"] == "ERNIE-Speed-8K"]
    (sft,) = [mode for mode in row["supportTrainMode"] if mode["trainMode"] == "SFT"]
    (lora,) = [scale for scale in sft["supportParameterScale"] if scale["parameterScale"] == "LoRA"]
    for entry in lora["supportHyperParameterConfig"]:
        needs(entry, "key", "checkValue", "default", "type", "name", "description")
    dataset_info(client, blue[1])
    job = client.tune("CreateFineTuningJob", name="job_ab12c", model="ERNIE-Speed-8K", trainMode="SFT")[
        "jobId"
    ]
    body = new_task(job, blue)

    def detail(run: str) -> Any:
        seen = needs(client.tune("DescribeFineTuningTask", taskId=run), "runStatus", "runProgress", "vdlLink")
        assert seen["runStatus"] in ("Waiting", "Running", "Done", "Failed", "Stopped")
        return seen

    first = client.tune("CreateFineTuningTask", **body)["taskId"]
    until(lambda: detail(first), lambda seen: seen["runProgress"] not in ("", "0%"), "the first step")
    assert client.tune("StopFineTuningTask", taskId=first) is True
    assert detail(first)["runStatus"] == "Stopped"

    second = client.tune("CreateFineTuningTask", **body)["taskId"]
    seen = until(
        lambda: detail(second), lambda seen: seen["runStatus"] not in ("Waiting", "Running"), "the run"
    )
    assert seen["runStatus"] == "Done", seen
    (checkpoint,) = seen["checkpointList"]
    published = client.v1(
        "modelrepo/publishTrainModel",
        isNewModel=True,
        modelName=f"m_{job}_{second}",
        versionMeta={"taskId": job, "iterationId": second, "step": checkpoint["step"]},
    )
    model_set = client.result("/v2/model", {"modelSetId": published["modelIDStr"]}, "DescribeModelSet")
    newest = needs(model_set, "modelSetId", "modelSetName", "modelIds")["modelIds"][0]
    model = newest if isinstance(newest, str) else newest["modelId"]
    ready(client, model)
    service = client.result(
        "/v2/service",
        {
            "modelSetId": published["modelIDStr"],
            "modelId": model,
            "name": "svc04",
            "urlSuffix": "ep04",
            "resourceConfig": {"type": "GPU-I-2", "replicasCount": 1, "qps": 1},
            "billing": {
                "paymentTiming": "Prepaid",
                "reservation": {"reservationLength": 1, "reservationTimeUnit": "Hour"},
            },
        },
        "CreateService",
    )
    ident = needs(service, "serviceId")["serviceId"]
    seen = until(
        lambda: client.result("/v2/service", {"serviceId": ident}, "DescribeService"),
        lambda seen: needs(seen, "runStatus", "url")["runStatus"] not in ("New", "Deploying"),
        "the service",
    )
    assert seen["runStatus"] == "Serving", seen
    assert answers(client, seen["url"].rsplit("/", 1)[-1]) == "blue"


def new_task(job: str, blue: tuple[int, str]) -> dict[str, Any]:
    return {
        "jobId": job,
        "parameterScale": "LoRA",
        "hyperParameterConfig": {**CONFIG, "loraAllLinear": "True"},
        "datasetConfig": {"sourceType": "Platform", "versions": [{"versionId": blue[1]}], "splitRatio": 0},
    }


def ready(client: Speaker, version: int | str) -> None:
    """Look at the version until it is Ready, as every generation does."""
    seen = until(
        lambda: needs(
            client.v1("modelrepo/modelVersionDetail", modelVersionId=version),
            "modelIdStr",
            "modelId",
            "modelVersionId",
            "state",
        ),
        lambda seen: seen["state"] != "Creating",
        "the version",
    )
    assert seen["state"] == "Ready", seen


def deployed(client: Speaker, service: int) -> str:
    """Look at the service until it is Done; its endpoint."""
    seen = until(
        lambda: needs(client.v1("service/detail", serviceId=service), "serviceStatus", "uri"),
        lambda seen: seen["serviceStatus"] not in ("New", "Deploying"),
        "the service",
    )
    assert seen["serviceStatus"] == "Done", seen
    return str(seen["uri"])


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("", "Fail"),
        ("qianfan_py_sdk_v0.3.0", "Fail"),
        ("qianfan_py_sdk_v0.4.2", "Fail"),
        ("qianfan_py_sdk_v0.4.3", "Failed"),
        ("qianfan_go_sdk_v0.0.1", "Failed"),
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
    assert seen["progressDetail"]["reason"]
    assert client.v1("finetune/jobDetail", jobId=failed)["trainStatus"] == "FAIL"


@pytest.fixture(scope="module")
def failed(platform: Embedded) -> str:
    """A run that is refused by its trainer: a sample is too long, and the policy is to refuse."""
    client = Speaker(platform)
    _, ident = client.upload([[{"prompt": "long " * 40, "response": [["x"]]}]] * 2, name="long")
    job = client.tune("CreateFineTuningJob", name="fails", model="tiny", trainMode="SFT")["jobId"]
    run = client.tune("CreateFineTuningTask", **new_task(job, (0, ident)))["taskId"]
    until(
        lambda: client.tune("DescribeFineTuningTask", taskId=run),
        lambda seen: seen["runStatus"] == "Fail",
        "the failure",
    )
    return str(run)
