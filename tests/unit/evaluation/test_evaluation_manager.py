"""Evaluators and results in this process: what may go together, what is scored, what may be concluded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from qianfan.dataset import Dataset
from qianfan.dataset.state import pack, unpack
from qianfan.errors import InvalidArgumentError
from qianfan.evaluation import (
    EvaluationManager,
    EvaluationResult,
    LocalEvaluator,
    ManualEvaluatorDimension,
    QianfanManualEvaluator,
    QianfanRefereeEvaluator,
    QianfanRuleEvaluator,
)
from qianfan.evaluation.evaluator import LocalRuleEvaluator
from qianfan.model import Model, Service


class Length(LocalEvaluator):
    """A custom evaluator: how long an answer is, and a word about it."""

    def evaluate(self, input: Any, reference: str, output: str) -> dict[str, Any]:
        return {"length": len(output), "remark": "long" if len(output) > 5 else "short"}


ROWS = [
    {"question": "capital of France?", "answer": "Paris", "said": "Paris"},
    {"question": "capital of Spain?", "answer": "Madrid", "said": "It is Barcelona"},
]


def test_answers_that_are_there_are_scored() -> None:
    """eval_only: the columns of the rows, then the scores; numbers are averaged."""
    manager = EvaluationManager(local_evaluators=[Length(), LocalRuleEvaluator()])
    result = manager.eval_only(Dataset.create_from_pyobj(ROWS), "question", "said", "answer")
    rows = result.result_dataset.to_pylist()
    assert list(rows[0])[:6] == ["llm_tag", "question", "answer", "said", "length", "remark"]
    assert rows[0]["accuracy"] == 1
    assert result.metrics[""]["accuracy"] == 0.5
    assert result.metrics[""]["length"] == 10
    assert "remark" not in result.metrics[""]


def test_what_does_not_go_together_is_refused() -> None:
    """None, both kinds, two of one class, no rule, models beside services, a dataset that is not there."""
    rule = QianfanRuleEvaluator(using_accuracy=True)
    for arguments in (
        {},
        {"local_evaluators": [Length()], "qianfan_evaluators": [rule]},
        {"qianfan_evaluators": [rule, QianfanRuleEvaluator(using_similarity=True)]},
    ):
        with pytest.raises(ValueError, match="evaluator"):
            EvaluationManager(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rule"):
        QianfanRuleEvaluator()
    manager = EvaluationManager(qianfan_evaluators=[rule])
    dataset = Dataset.create_from_pyobj(ROWS)
    with pytest.raises(ValueError, match="do not go together"):
        manager.eval([Model(version_id=1), Service(endpoint="x")], dataset)
    with pytest.raises(ValueError, match="not on the platform"):
        manager.eval([Model(id=1, version_id=1)], dataset)
    with pytest.raises(ValueError, match="local evaluators"):
        manager.eval_only(dataset, "question", "said")
    with pytest.raises(ValueError, match="eval_input_column"):
        EvaluationManager(local_evaluators=[Length()]).eval_only(dataset)


def test_the_parts_of_a_request() -> None:
    """What each evaluator asks for; satisfaction is first, and the fifth dimension is left out."""
    judge = QianfanRefereeEvaluator(7, prompt_max_score=3).conf()
    assert judge["appId"] == 7
    assert judge["prompt"]["maxScore"] == 3
    assert "apiName" not in judge
    rule = QianfanRuleEvaluator(using_similarity=True, using_accuracy=True).conf()
    assert rule == {"scoreModes": ["similarity", "accuracy"]}
    many = [ManualEvaluatorDimension(name, "why") for name in "abcde"]
    shown = QianfanManualEvaluator(many).conf()["evaluationDimension"]
    assert [row["dimension"] for row in shown] == ["满意度", "a", "b", "c"]
    assert shown[1]["description"] == "why"


def test_evaluators_and_results_are_saved_as_json() -> None:
    """A pipeline that evaluates can be written down and read back."""
    for evaluator in (
        QianfanRefereeEvaluator(7, judge_model="m"),
        QianfanRuleEvaluator(using_accuracy=True),
        QianfanManualEvaluator([ManualEvaluatorDimension("a")]),
        LocalRuleEvaluator(stop_words=("the",)),
    ):
        again = unpack(pack(evaluator))  # type: ignore[arg-type]
        assert type(again) is type(evaluator)
        assert again.to_state() == evaluator.to_state()
    saved = unpack(pack(result_of(3)), EvaluationResult)
    assert saved.metrics == result_of(3).metrics
    assert saved.rows == result_of(3).rows


def result_of(count: int) -> EvaluationResult:
    """A result of two models; the second is right on every row, the first on every third."""
    rows = [
        {
            "model": model,
            "row": number,
            "prompt": f"q{number} <script>alert(1)</script>\u202e",
            "prediction": "a & b",
            "reference": "a",
            "scores": {"accuracy": float(model == "b_1" or number % 3 == 0), "judgeScore": 4.0},
            "reason": "fine",
        }
        for model in ("a_1", "b_1")
        for number in range(count)
    ]
    spread = {"scoreDistribution": {"-1": 0, "4": count}, "avgLatency": 0.25, "answered": count}
    return EvaluationResult(None, {"a_1": dict(spread), "b_1": dict(spread)}, rows, "ame-1")


def test_two_models_are_compared_on_the_rows_that_both_have() -> None:
    """The gate's verdict, and an error that names what there is."""
    result = result_of(30)
    assert result.compare("a_1", "b_1").passed
    assert not result.compare("b_1", "a_1").passed
    assert result.compare("a_1", "a_1", rule="not worse").passed
    with pytest.raises(InvalidArgumentError, match="accuracy, judgeScore"):
        result.compare("a_1", "b_1", "bleu4")


def test_a_gate_lets_through_what_passes_and_says_why_when_it_does_not() -> None:
    """The verdict, or GateClosed with it; a result of one model is no comparison."""
    from qianfan.errors import GateClosed
    from qianfan.evaluation import Gate

    result = result_of(30)
    assert Gate().require(result).passed
    with pytest.raises(GateClosed, match="the gate on accuracy is closed: it is not shown") as closed:
        Gate().require(result, "b_1", "a_1")
    assert closed.value.verdict.comparison.losses == 20
    one = EvaluationResult(None, {"a_1": {}}, result.rows, None)
    with pytest.raises(InvalidArgumentError, match="one"):
        Gate().check(one)
    assert unpack(pack(Gate("not worse", margin=0.1))) == Gate("not worse", margin=0.1)


def test_a_gate_stands_before_the_deployment() -> None:
    """Without one the deployed service is evaluated; with one nothing is deployed that does not pass."""
    from qianfan.evaluation import Gate
    from qianfan.trainer import LLMFinetune
    from qianfan.trainer.configs import DeployConfig

    given: dict[str, Any] = {
        "train_type": "ERNIE-Bot-turbo-0725",
        "dataset": Dataset(id=1),
        "deploy_config": DeployConfig(),
        "eval_dataset": Dataset(id=1),
        "evaluators": [QianfanRuleEvaluator(using_accuracy=True)],
    }
    names = [type(one).__name__ for one in LLMFinetune(**given).ppls[0].actions.values()]
    assert names[-2:] == ["DeployAction", "EvaluateAction"]
    gated = LLMFinetune(**given, gate=Gate(baseline=Model(version_id="amv-1")))
    assert [type(one).__name__ for one in gated.ppls[0].actions.values()][-2:] == [
        "EvaluateAction",
        "DeployAction",
    ]
    with pytest.raises(InvalidArgumentError, match="baseline"):
        LLMFinetune(**given, gate=Gate())


def test_the_report_is_one_file_that_needs_nothing(tmp_path: Path) -> None:
    """Scores, plots, verdict, settings and answers; texts of others are escaped, nothing is fetched or run."""
    result = result_of(30)
    path = result.to_html(
        tmp_path / "report.html",
        title="A <b> report",
        verdicts=[result.compare("a_1", "b_1")],
        settings={"temperature": 0.1},
        lineage={"dataset": "ds-1"},
        loss={"train": [(step, 2 / step) for step in range(1, 50)], "bad": [(1, float("nan"))]},
        most_rows=5,
    )
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?://""", page)
    drawn = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawn) == 3
    for svg in drawn:
        assert "nan" not in svg
        ElementTree.fromstring(svg)
    assert "better: yes." in page
    assert "0.333" in page
    assert "25 more questions" in page
    assert "temperature" in page
    assert "ds-1" in page
    assert "<bdi>q0" in page
    json.dumps(result.metrics)
