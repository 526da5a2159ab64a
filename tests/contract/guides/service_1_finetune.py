"""Training and service guide: create a task, start a run, look at it, stop it."""

import os
import time

from qianfan.resources import FineTune

resp = FineTune.create_task(name="task_name", description="task_desc")
task_id = resp["result"]["id"]
print(task_id)

create_job_resp = FineTune.create_job(
    {
        "taskId": task_id,
        "baseTrainType": "ERNIE-Bot-turbo",
        "trainType": "ERNIE-Bot-turbo-0725",
        "trainMode": "SFT",
        "peftType": "LoRA",
        "trainConfig": {"epoch": 50, "learningRate": 0.00002, "batchSize": 4, "maxSeqLen": 4096},
        "trainset": [{"type": 1, "id": int(os.environ["GUIDE_DATASET"])}],
        "trainsetRate": 20,
    }
)
job_id = create_job_resp["result"]["id"]
print(job_id)

job = FineTune.get_job(task_id, job_id)
print(job["result"])
assert job["result"]["trainStatus"] == "RUNNING"

stop = FineTune.stop_job(task_id, job_id)
assert stop["result"] is True
began = time.monotonic()
while FineTune.get_job(task_id, job_id)["result"]["trainStatus"] != "STOP":
    assert time.monotonic() - began < 5, "the run did not stop"
    time.sleep(0.1)
