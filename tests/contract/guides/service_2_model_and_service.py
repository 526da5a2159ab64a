"""Training and service guide: publish a trained run, list its versions, deploy one, call it."""

import os
import time
from collections.abc import Callable
from typing import Any

import qianfan
from qianfan.resources import FineTune, Model, Service


def wait(look: Callable[[], Any], wanted: str, bad: tuple[str, ...]) -> None:
    end = time.monotonic() + 180
    while (state := look()) != wanted:
        assert state not in bad, state
        assert time.monotonic() < end, state
        time.sleep(0.2)


task_id = FineTune.create_task(name="task_name", description="task_desc")["result"]["id"]
job_id = FineTune.create_job(
    {
        "taskId": task_id,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": {"epoch": 1, "learningRate": 0.00002, "batchSize": 4, "maxSeqLen": 4096},
        "trainset": [{"type": 1, "id": int(os.environ["GUIDE_DATASET"])}],
        "trainsetRate": 20,
    }
)["result"]["id"]

# Publishing before the run has finished is allowed: the version is Ready when the run is done.
g = Model.publish(
    is_new=True, model_name="sdk_test_1", version_meta={"taskId": task_id, "iterationId": job_id}
)
model_id = g["result"]["modelId"]
model_list = Model.list(model_id=model_id)
assert model_list["result"]["modelVersionList"][0]["modelName"] == "sdk_test_1"
version_id = model_list["result"]["modelVersionList"][0]["modelVersionId"]
wait(lambda: Model.detail(model_version_id=version_id)["result"]["state"], "Ready", ("Fail",))
model = Model.detail(model_version_id=version_id)
assert model["result"]["modelName"] == "sdk_test_1"

g = Service.create(
    model_id=model_id,
    model_version_id=version_id,
    name="sdk_test",
    uri="svc_uri",
    replicas=1,
    pool_type=2,
)
print(g["result"])
service_id = g["result"]["serviceId"]
wait(lambda: Service.get(id=service_id)["result"]["serviceStatus"], "Done", ("Failed", "Stopped"))
svc = Service.get(id=service_id)
assert svc["result"]["id"] == service_id
chat = qianfan.ChatCompletion(endpoint=svc["result"]["uri"])
answer = chat.do(messages=[{"role": "user", "content": "hi"}])
assert isinstance(answer["body"]["result"], str)

# The README shows the older name of the same argument.
older = Service.create(
    model_id=model_id, iteration_id=version_id, name="sdk_test", uri="svc_uri", replicas=1, pool_type=2
)
assert older["result"]["serviceId"] != service_id
