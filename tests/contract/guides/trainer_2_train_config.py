"""Trainer guide, own parameters: the guide writes epochs=, the reference epoch=; both are meant."""

import logging
import os

from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import TrainConfig
from qianfan.utils.logging import enable_log

enable_log(logging.DEBUG)
ds = Dataset.load(qianfan_dataset_id=int(os.environ["GUIDE_DATASET"]), is_download_to_local=False)

trainer = LLMFinetune(
    train_type="ERNIE-Bot-turbo-0516",
    dataset=ds,
    train_config=TrainConfig(
        epochs=1,
        batch_size=32,
        learning_rate=0.00002,
    ),
)
trainer.run()

assert trainer.result[0]["model_version_id"], trainer.result
assert trainer.result[0]["model"].id == trainer.result[0]["model_id"]
