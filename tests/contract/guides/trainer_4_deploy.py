"""Trainer guide, deployment: train, publish, deploy, and talk to the service."""

import os

from qianfan.dataset import Dataset
from qianfan.resources.console import consts as console_consts
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DeployConfig
from qianfan.trainer.consts import ServiceType

ds = Dataset.load(qianfan_dataset_id=int(os.environ["GUIDE_DATASET"]), is_download_to_local=False)

trainer = LLMFinetune(
    train_type="ERNIE-Bot-turbo-0725",
    dataset=ds,
    deploy_config=DeployConfig(
        replicas=1,
        pool_type=console_consts.DeployPoolType.PrivateResource,
        endpoint_prefix="qfeb01",
        service_type=ServiceType.Chat,
    ),
)

trainer.run()
ft_res = trainer.result[0]
print(ft_res)

svc = ft_res["service"]
resp = svc.exec({"messages": [{"content": "hi", "role": "user"}]})
assert isinstance(resp["result"], str), resp
assert resp["result"] == resp["body"]["result"]
assert svc.status == "Done"
assert ft_res["service_endpoint"].endswith("qfeb01"), ft_res["service_endpoint"]
chunks = list(svc.exec({"messages": [{"content": "hi", "role": "user"}], "stream": True}))
assert chunks[-1]["is_end"] is True
