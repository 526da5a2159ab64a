"""Tune a model on this machine and ask it. Run from the folder above: python examples/quickstart.py"""

import qianfan
from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DeployConfig, TrainConfig


def main() -> None:
    with qianfan.embedded.start():
        trainer = LLMFinetune(
            train_type="SmolLM2-135M-Instruct",
            dataset=Dataset.load(data_file="examples/tickets/train.jsonl"),
            train_config=TrainConfig(epoch=3, batch_size=8, learning_rate=1e-3),
            deploy_config=DeployConfig(replicas=1, pool_type=2),
        ).run()
        messages = [{"role": "user", "content": "Ticket: Where is my Kettle?"}]
        print(trainer.result[0]["service"].exec({"messages": messages})["result"])


if __name__ == "__main__":
    main()
