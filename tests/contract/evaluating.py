"""A platform of echoes that answer, judge and fail as they are told: for tests of evaluation and batch inference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qianfan import embedded
from qianfan.contract.lifecycle import EVALUATION
from qianfan.dataset import Dataset
from qianfan.embedded import Embedded
from qianfan.resources import Model as ModelCalls

from .gullible import gullible
from .served import within

QUESTIONS = {
    "capital of France?": "Paris",
    "capital of Spain?": "Madrid",
    "天空是什么颜色？": "蓝色",
    "give JSON": '{"a": 1}',
}
CATALOGUE = """\
[models.good]
engine = "echo"
source = "path:good.json"
kinds = ["chat", "completions"]
context = 4096
[models.poor]
engine = "echo"
source = "path:poor.json"
kinds = ["chat", "completions"]
context = 8
[models.referee]
engine = "echo"
source = "path:referee.json"
kinds = ["chat", "completions"]
context = 4096
[models.slow]
engine = "echo"
source = "path:slow.json"
kinds = ["chat", "completions"]
[models.brisk]
engine = "echo"
source = "path:brisk.json"
kinds = ["chat", "completions"]
[models."brisk judge"]
engine = "echo"
source = "path:brisk-judge.json"
kinds = ["chat", "completions"]
context = 4096
[models.broken]
engine = "echo"
source = "path:broken.json"
kinds = ["chat", "completions"]
[models.gullible]
source = "openai:%s#judge"
kinds = ["chat"]
context = 4096
[stand_ins]
chat = "good"
completions = "good"
embeddings = "echo"
training = "tiny"
"""
FILES = {
    "good": {"script": QUESTIONS},
    "poor": {"script": {"*": "Paris"}},
    "referee": {"script": {"*": '{"score": 4, "reason": "well said"}'}},
    "slow": {"delay_s": 0.03},
    "brisk": {"delay_s": 0.002},
    "brisk-judge": {"script": {"*": '{"score": 4, "reason": "well said"}'}, "delay_s": 0.001},
    "broken": {"fail": "out of order"},
}
MANUAL = {"evalMode": "manual"}
RULE = {"evalMode": "rule", "scoreModes": ["similarity", "accuracy"]}


@pytest.fixture(scope="session")
def echo_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("catalogue")
    for name, options in FILES.items():
        (folder / f"{name}.json").write_text(json.dumps(options), encoding="utf-8")
    path = folder / "catalogue.toml"
    with gullible() as address:
        path.write_text(CATALOGUE % address, encoding="utf-8")
        yield path


@pytest.fixture(scope="session")
def echo_server(tmp_path_factory: pytest.TempPathFactory, echo_catalogue: Path) -> Iterator[Embedded]:
    """A platform of echoes; this process's configuration stays as it is."""
    with embedded.start(tmp_path_factory.mktemp("judged"), use=False, catalogue=echo_catalogue) as running:
        yield running


@pytest.fixture
def judged(echo_server: Embedded) -> Iterator[Embedded]:
    """The platform of echoes, with this process's SDK pointed at it."""
    with embedded.configured(echo_server.environment):
        yield echo_server


@pytest.fixture(scope="session")
def dataset_of_questions(echo_server: Embedded) -> str:
    """A dataset of the four questions and one conversation of two turns."""
    rows: list[Any] = [[{"prompt": q, "response": [[a]]}] for q, a in QUESTIONS.items()]
    rows.append([{"prompt": "one", "response": [["1"]]}, {"prompt": "two", "response": [["2"]]}])
    with embedded.configured(echo_server.environment):
        return saved(rows, "questions")


def saved(rows: list[Any], name: str) -> str:
    """The id of a dataset on the platform."""
    dataset = Dataset.create_from_pyobj(rows)
    dataset.save(replace_source=True, qianfan_dataset_create_args={"name": name})
    return str(dataset.inner_data_source_cache.id)  # type: ignore[union-attr]


@pytest.fixture
def asked(judged: Embedded, dataset_of_questions: str) -> str:
    """The id of that dataset, on the platform that the SDK is pointed at."""
    return dataset_of_questions


def evaluate(dataset: str, *units: str, conf: dict[str, Any] = MANUAL, **more: Any) -> Any:
    """Create an evaluation of services by their names, and wait until it has ended."""
    ident = ModelCalls.create_evaluation_task(
        "evaluation", [{"endpoint": name, **more} for name in units], dataset, conf
    )["result"]["evalIdStr"]
    return ended(ident)


def ended(ident: Any, seconds: float = 60) -> Any:
    def look() -> Any:
        detail = ModelCalls.get_evaluation_info(ident)["result"]
        over = detail["state"] == "DoingWithManualBegin" or EVALUATION.is_final(detail["state"])
        return detail if over else None

    return within(seconds, look)
