"""Trainer guide, quick start: train_type and dataset only."""

import logging
import os

from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
from qianfan.utils.logging import enable_log

enable_log(logging.DEBUG)
# A dataset of the platform; is_download_to_local=False uses it where it is.
ds: Dataset = Dataset.load(qianfan_dataset_id=int(os.environ["GUIDE_DATASET"]), is_download_to_local=False)
print(ds)

trainer = LLMFinetune(
    train_type="ERNIE-Bot-turbo-0725",
    dataset=ds,
)

trainer.run()

result = trainer.result[0]
assert {"task_id", "job_id", "model_id", "model_version_id"} <= set(result), result
assert trainer.output == result
assert trainer.status == "ModelPublished", trainer.status
