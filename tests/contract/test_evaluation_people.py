"""Evaluation in the words of V2, and people's scores: what waits for them, what they give, what the report says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qianfan.cli.main import app
from qianfan.contract.evaluation import SATISFACTION
from qianfan.embedded import Embedded
from qianfan.errors import QianfanError
from qianfan.resources import Evaluation
from qianfan.resources import Model as ModelCalls

from .evaluating import RULE, ended, evaluate, saved

pytestmark = pytest.mark.usefixtures("judged")


def objects(dataset: str, *names: str) -> dict[str, Any]:
    """evalObjectConfig of presets by their names."""
    listed = [{"endpoint": name, "promptTemplate": "{input}"} for name in names]
    return {"evalModelConfig": {"versionId": dataset, "storageType": "sysBos", "evalModelConfigList": listed}}


def test_an_evaluation_is_made_looked_at_and_deleted_in_the_words_of_v2(asked: str) -> None:
    """CreateEvalTask, DescribeEvalTask(s), its report, DeleteEvalTask: over the same rows as V1."""
    config = {
        "autoRuleEvalConfig": {"scoreModes": ["accuracy"]},
        "autoModelEvalConfig": {"apiName": "referee"},
    }
    made = Evaluation.create_eval_task("second", "model", objects(asked, "good", "poor"), config)["result"]
    assert ended(made["taskId"])["state"] == "Done"
    detail = Evaluation.describe_eval_task(made["taskId"])["result"]
    assert (detail["status"], detail["evalType"], detail["taskName"]) == ("Successed", "auto", "second")
    assert detail["evalObjectConfig"]["evalModelConfig"]["evalModelConfigList"][0]["endpoint"] == "good"
    report = Evaluation.describe_eval_task_report(made["taskId"])["result"]
    assert [row["modelName"] for row in report["evalReportList"]] == ["good", "poor"]
    assert report["evalReportList"] == ModelCalls.get_evaluation_result(made["evalId"])["result"]
    assert report["evalReportList"][0]["effectMetric"]["avgJudgeScore"] == 4
    listed = Evaluation.describe_eval_tasks("auto", max_keys=1)["result"]
    assert [row["taskId"] for row in listed["evalTaskList"]] == [made["taskId"]]
    waiting = evaluate(asked, "good")["evaluationIdStr"]
    assert Evaluation.describe_eval_task(waiting)["result"]["status"] == "RunningWithManualBegin"
    by_people = Evaluation.describe_eval_tasks("manual", max_keys=100)["result"]["evalTaskList"]
    assert waiting in [row["taskId"] for row in by_people]
    assert made["taskId"] not in [row["taskId"] for row in by_people]
    assert Evaluation.delete_eval_task(made["taskId"])["result"] == {}
    with pytest.raises(QianfanError, match="does not exist"):
        Evaluation.describe_eval_task(made["taskId"])
    with pytest.raises(QianfanError, match="evalObjectType"):
        Evaluation.create_eval_task("x", "inferDataset", {"evalInferDatasetConfig": {}}, {})


def test_every_method_has_its_twin_for_asyncio(asked: str) -> None:
    """`.aio` sends the same call."""

    async def work() -> list[Any]:
        config = {"manualEvalConfig": {"evaluationDimension": [{"dimension": "tone"}]}}
        made = (await Evaluation.create_eval_task.aio("twin", "model", objects(asked, "good"), config))[
            "result"
        ]
        ident = made["taskId"]
        while (await Evaluation.describe_eval_task.aio(ident))["result"]["status"] in ("Queued", "Running"):
            await asyncio.sleep(0.05)
        seen = (await Evaluation.answers_to_score.aio(ident, page_size=100))["result"]
        assert [one["dimension"] for one in seen["dimensions"]] == [SATISFACTION, "tone"]
        scores = [
            {"resultId": one["resultId"], "scores": {SATISFACTION: 2, "tone": 1}} for one in seen["items"]
        ]
        left = (await Evaluation.score.aio(ident, scores))["result"]
        done = (await Evaluation.finish_scoring.aio(ident, "all fine"))["result"]
        report = (await Evaluation.describe_eval_task_report.aio(ident))["result"]
        said = (await Evaluation.verdicts.aio(ident))["result"]
        names = [
            row["taskId"] for row in (await Evaluation.describe_eval_tasks.aio())["result"]["evalTaskList"]
        ]
        with pytest.raises(QianfanError, match="one model only"):
            await Evaluation.give_verdict.aio(ident)
        await Evaluation.delete_eval_task.aio(ident)
        return [left, done["state"], report["evalReportList"][0]["effectMetric"], said, ident in names]

    left, state, metric, said, is_listed = asyncio.run(work())
    assert (left, state, said, is_listed) == ({"waiting": 0}, "Done", {"verdicts": []}, True)
    assert metric["manualAvgScore"] == 2
    assert metric["goodCaseProportion"] == 1
    assert metric["subjectiveImpression"] == "all fine"
    tone = metric["manualScoreDistribution"][1]
    assert tone == {"dimension": "tone", "scoreDistribution": {"-1": 0, "0": 0, "1": 6, "2": 0}}


def test_people_score_blind_and_what_they_leave_out_is_partly_done(asked: str) -> None:
    """Whose answer it is is not told; scores may be given again; what has none counts as -1."""
    ident = evaluate(asked, "good", "poor", conf={"evalMode": "manual,rule", "scoreModes": ["accuracy"]})
    ident = ident["evaluationIdStr"]
    seen = Evaluation.answers_to_score(ident, page_size=5)["result"]
    assert (seen["total"], seen["waiting"], len(seen["items"])) == (12, 12, 5)
    assert not any("model" in name.lower() for one in seen["items"] for name in one)
    every = Evaluation.answers_to_score(ident, page_size=100)["result"]["items"]
    good = [one for one in every if one["prediction"] == one["completion"]][:2]
    for score in (0, 2):  # the second time counts
        results = [
            {"resultId": one["resultId"], "scores": {SATISFACTION: score}, "note": "n"} for one in good
        ]
        assert Evaluation.score(ident, results)["result"] == {"waiting": 10}
    left = Evaluation.answers_to_score(ident, page_size=100)["result"]["items"]
    assert {one["resultId"] for one in good}.isdisjoint(one["resultId"] for one in left)
    assert Evaluation.finish_scoring(ident)["result"]["state"] == "PartlyDone"
    reports = ModelCalls.get_evaluation_result(ident)["result"]
    spread = reports[0]["effectMetric"]["manualScoreDistribution"][0]["scoreDistribution"]
    assert sum(spread.values()) == 6
    assert (
        sum(row["effectMetric"]["manualScoreDistribution"][0]["scoreDistribution"]["2"] for row in reports)
        == 2
    )
    assert reports[0]["effectMetric"]["accuracy"] == pytest.approx(4 / 6, abs=1e-6), (
        "rules stay beside people"
    )
    rows = ModelCalls.get_evaluation_result_list(ident, page_size=100)["result"]["items"]
    assert sorted(one["manual"][SATISFACTION] for one in rows if one["manual"]) == [2, 2]
    with pytest.raises(QianfanError, match="PartlyDone"):
        Evaluation.score(ident, results)


def test_scores_that_cannot_be_are_refused_with_the_reason(judged: Embedded, asked: str) -> None:
    """Foreign answers, wrong dimensions, scores out of range: all of a call or none of it."""
    ident = evaluate(asked, "good")["evaluationIdStr"]
    first, second = Evaluation.answers_to_score(ident)["result"]["items"][:2]
    fine = {"resultId": first["resultId"], "scores": {SATISFACTION: 1}}
    for bad, told in (
        ({"resultId": 10**9, "scores": {SATISFACTION: 1}}, "no answer of evaluation"),
        ({"resultId": "x", "scores": {SATISFACTION: 1}}, "no answer of evaluation"),
        ({"resultId": second["resultId"], "scores": {SATISFACTION: 3}}, "from 0 to 2"),
        ({"resultId": second["resultId"], "scores": {"tone": 1}}, "one for each of"),
        ({"resultId": second["resultId"], "scores": {}}, "one for each of"),
    ):
        with pytest.raises(QianfanError, match=told):
            Evaluation.score(ident, [fine, bad])
    assert Evaluation.answers_to_score(ident)["result"]["waiting"] == 6, "none of it was kept"
    with pytest.raises(QianfanError, match="no score of a person"):
        Evaluation.finish_scoring(ident)
    with pytest.raises(QianfanError, match="not scored by people"):
        Evaluation.answers_to_score(evaluate(asked, "good", conf=RULE)["evaluationIdStr"])


def test_a_verdict_needs_two_models_of_which_one_is_of_the_registry(judged: Embedded, asked: str) -> None:
    """Echoes are presets: a verdict on one opens no gate, and says so."""
    ident = evaluate(asked, "poor", "good", conf=RULE)["evaluationIdStr"]
    with pytest.raises(QianfanError, match="no version of the registry"):
        Evaluation.give_verdict(ident)
    with pytest.raises(QianfanError, match="was not evaluated there"):
        Evaluation.give_verdict(ident, "referee", "good")
    with pytest.raises(QianfanError, match="nobody"):
        Evaluation.give_verdict(ident, "nobody")


def test_the_command_writes_what_waits_and_reads_scores_back(judged: Embedded, tmp_path: Path) -> None:
    """`qianfan evaluation run --people`, then `score`: a file with a line for each answer, filled in, given, finished."""

    def command(*arguments: str) -> Any:
        made = CliRunner().invoke(app, ["evaluation", *arguments])
        assert made.exit_code == 0, made.output
        return made

    dataset = saved([[{"prompt": f"say {n}", "response": [["x"]]}] for n in range(3)], "to score")
    made = command("run", dataset, "-m", "good", "--no-rules", "--people", "--json")
    ident = json.loads(made.stdout.splitlines()[0])["id"]
    file = tmp_path / "answers.jsonl"
    command("score", "list", ident, str(file))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["scores"] for row in rows] == [{SATISFACTION: None}] * 3
    rows[0]["scores"], rows[1]["scores"] = {SATISFACTION: 2}, {SATISFACTION: 1}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert json.loads(command("score", "give", ident, str(file), "--json").stdout) == {
        "given": 2,
        "waiting": 1,
    }
    assert "say 2" in command("score", "list", ident).stdout
    assert json.loads(command("score", "finish", ident, "--json").stdout)["state"] == "PartlyDone"
    assert "manualAvgScore" in command("show", ident).stdout
    metric = ModelCalls.get_evaluation_result(ident)["result"][0]["effectMetric"]
    assert metric["manualAvgScore"] == 1.5
