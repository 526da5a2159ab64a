"""README, tuning, models and services: the calls in their order, with the ids that the platform gave."""

import os
import time
from collections.abc import Callable
from typing import Any

import qianfan


def wait(look: Callable[[], Any], wanted: str, bad: tuple[str, ...]) -> None:
    end = time.monotonic() + 180
    while (state := look()) != wanted:
        assert state not in bad, state
        assert time.monotonic() < end, state
        time.sleep(0.2)


access_key, secret_key = os.environ["QIANFAN_ACCESS_KEY"], os.environ["QIANFAN_SECRET_KEY"]
qianfan.AccessKey(access_key)
qianfan.SecretKey(secret_key)
task = qianfan.FineTune.create_task(name="by_keys", description="", ak=access_key, sk=secret_key)
assert task["result"]["id"]

resp = qianfan.FineTune.create_task(name="task_name", description="task_desc")
task_id = resp["result"]["id"]
print(task_id)


def configuration(epoch: int) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": {"epoch": epoch, "learningRate": 0.00002, "batchSize": 4, "maxSeqLen": 4096},
        "trainset": [{"type": 1, "id": int(os.environ["GUIDE_DATASET"])}],
        "trainsetRate": 20,
    }


create_job_resp = qianfan.FineTune.create_job(configuration(4))
job_id = create_job_resp["result"]["id"]
print(job_id)
job = qianfan.FineTune.get_job(task_id, job_id)
print(job["result"])
wait(lambda: qianfan.FineTune.get_job(task_id, job_id)["result"]["trainStatus"], "FINISH", ("FAIL", "STOP"))

g = qianfan.Model.publish(
    is_new=True, model_name="sdk_test_1", version_meta={"taskId": task_id, "iterationId": job_id}
)
model_id = g["result"]["modelId"]
model_list = qianfan.Model.list(model_id=model_id)
print(model_list["result"]["modelVersionList"][0]["modelName"])
version_id = model_list["result"]["modelVersionList"][0]["modelVersionId"]
wait(lambda: qianfan.Model.detail(model_version_id=version_id)["result"]["state"], "Ready", ("Fail",))
model = qianfan.Model.detail(model_version_id=version_id)
assert model["result"]["modelName"] == "sdk_test_1"

g = qianfan.Service.create(
    model_id=model_id,
    iteration_id=version_id,
    name="sdk_test",
    uri="svc_uri",
    replicas=1,
    pool_type=2,
)
print(g["result"])
svc = qianfan.Service.get(id=g["result"]["serviceId"])
assert svc["result"]["id"] == g["result"]["serviceId"]

stopped = qianfan.FineTune.create_job(configuration(50))["result"]["id"]
stop = qianfan.FineTune.stop_job(task_id, stopped)
assert stop["result"] is True
