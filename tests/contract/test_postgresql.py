"""The whole road on PostgreSQL: the same server, the same script, another database."""

from __future__ import annotations

from pathlib import Path

import psycopg

from qianfan import embedded
from qianfan.dataset import Dataset
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DeployConfig, TrainConfig

from .conftest import write_conversations


def test_the_road_is_the_same_on_postgresql(
    postgresql_server: str, tiny_catalogue: Path, tmp_path: Path
) -> None:
    """Import, train, publish, deploy, chat; then a restart finds everything again."""
    url = _fresh_database(postgresql_server)
    data = tmp_path / "data"
    with embedded.start(data, catalogue=tiny_catalogue, database=url) as platform:
        trainer = LLMFinetune(
            train_type="ERNIE-Bot-turbo-0725",
            dataset=Dataset.load(data_file=str(write_conversations(tmp_path / "rows.jsonl", 6))),
            train_config=TrainConfig(epoch=1, peft_type="LoRA"),
            deploy_config=DeployConfig(replicas=1, pool_type=1),
        ).run()
        service = trainer.result[0]["service"]
        body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.01, "max_output_tokens": 6}
        before = service.exec(body)["result"]
        assert not (platform.data / "platform.db").exists()
    with embedded.start(data, catalogue=tiny_catalogue, database=url):
        assert service.status == "Done"
        assert service.exec(body)["result"] == before


def _fresh_database(server: str) -> str:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE road")
    return f"{server}/road"
