"""`qianfan evaluation`: run one, look at its scores, save its answers, and ask whether B is better than A."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from qianfan.contract.ids import as_number

from . import benchmark, gate, options, scoring
from .output import emit, note, show_table

nouns = typer.Typer(help="Evaluations: score models on a dataset, and compare them.", no_args_is_help=True)

Ident = Annotated[str, typer.Argument(help="The evaluation: a number, or ame-….", metavar="EVALUATION")]
SHOWN: Final = (
    "accuracy", "exactMatch", "f1Score", "bleu4", "rouge_1", "rouge_l", "similarity", "avgJudgeScore", "manualAvgScore", "jsonValid",
    "avgLatency", "completionTokens",
)  # fmt: skip
NOT_SHOWN: Final = 3  # exit code of a comparison whose answer is no; 1 and 2 are errors


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    nouns.add_typer(gate.nouns, name="gate")
    nouns.add_typer(scoring.nouns, name="score")
    nouns.command("benchmark")(benchmark.benchmark)
    app.add_typer(nouns, name="evaluation")


@nouns.command("run")
def run(
    dataset: Annotated[str, typer.Argument(help="A dataset on the platform by its id, or a file to upload.")],
    models: Annotated[
        list[str],
        typer.Option("--model", "-m", help="A model version (amv-…), a service, or a preset; 1 to 5 times."),
    ],
    rules: Annotated[
        bool, typer.Option("--rules/--no-rules", help="Score against the dataset's answers.")
    ] = True,
    judge: Annotated[
        str | None, typer.Option(help="Also let this model score the answers.", show_default=False)
    ] = None,
    people: Annotated[
        bool, typer.Option("--people", help="People score the answers afterwards: `evaluation score`.")
    ] = False,
    max_score: Annotated[
        int, typer.Option("--max-score", help="The judge's highest score.", min=1, max=100)
    ] = 5,
    temperature: options.Temperature = None,
    max_tokens: options.MaxTokens = None,
    name: Annotated[str | None, typer.Option(help="Of the evaluation.", show_default=False)] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write a report: one HTML file.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Let models answer a dataset, and show their scores.

    qianfan evaluation run questions.jsonl -m SmolLM2-135M-Instruct -m amv-… --report report.html"""
    from qianfan.evaluation import (
        EvaluationManager,
        QianfanManualEvaluator,
        QianfanRefereeEvaluator,
        QianfanRuleEvaluator,
    )
    from qianfan.evaluation.evaluator import QianfanEvaluator

    evaluators: list[QianfanEvaluator] = []
    if rules:
        evaluators.append(QianfanRuleEvaluator(using_similarity=True, using_accuracy=True))
    if judge:
        evaluators.append(QianfanRefereeEvaluator(0, judge_model=judge, prompt_max_score=max_score))
    if people:
        evaluators.append(QianfanManualEvaluator())
    if not evaluators:
        raise typer.BadParameter(
            "there is nothing to score by: leave out --no-rules, or give --judge or --people"
        )
    params = options.given(temperature=temperature, max_output_tokens=max_tokens)
    manager = EvaluationManager(qianfan_evaluators=evaluators)
    llms = [_llm(one) for one in models]
    result = manager.eval(
        llms, _dataset(dataset), params=params, name=name, show_progress=False if json else None
    )
    if result is None:  # people's scores alone: there is nothing to show yet
        if json:
            emit({"id": manager.task_id, "metrics": {}, "report": None})
        note(f"the answers wait for people: qianfan evaluation score list {manager.task_id}")
        return
    if report is not None:
        settings = {"dataset": dataset, "models": ", ".join(models), "judge": judge or "none", **params}
        result.to_html(report, title=name or f"Evaluation {result.task_id}", settings=settings)
    if json:
        emit({"id": result.task_id, "metrics": result.metrics, "report": str(report) if report else None})
        return
    _show(result.metrics)
    note(f"the evaluation is {result.task_id}")
    if report is not None:
        note(f"the report is {report}")


def _llm(text: str) -> Any:
    """A model version, or anything that answers under this name: all of one evaluation alike."""
    from qianfan.model import Model, Service

    if text.startswith("amv-") or as_number(text) is not None:
        return Model(version_id=text)
    return preset(text) or Service(endpoint=text)


def preset(name: str) -> Any:
    """A preset model as one of the registry, so that it may stand beside versions; None when there is none."""
    from qianfan.model import Model
    from qianfan.resources import Model as ModelCalls

    for row in ModelCalls.preset_list(name_filter=name, page_size=200)["result"]["items"]:
        if row["modelName"].lower() == name.lower():
            return Model(
                id=row["modelIdStr"], version_id=row["versionSummaries"][0]["versionIdStr"], name=name
            )
    return None


def _dataset(text: str) -> Any:
    from qianfan.dataset import Dataset

    if Path(text).is_file():
        dataset = Dataset.load(data_file=text)
        dataset.save(replace_source=True, qianfan_dataset_create_args={})
        return dataset
    if not text.startswith("ds-") and as_number(text) is None:
        raise typer.BadParameter(f"there is no file {text}, and it is no id of a dataset (ds-…)")
    return Dataset.load(qianfan_dataset_id=text, is_download_to_local=False)


def _show(metrics: dict[str, dict[str, Any]]) -> None:
    names = [name for name in SHOWN if any(of_model.get(name) is not None for of_model in metrics.values())]
    show_table(
        ("model", *names),
        [(model, *(_figure(of_model.get(name)) for name in names)) for model, of_model in metrics.items()],
        numbers=names,
    )


def _figure(value: Any) -> Any:
    return float(value) if isinstance(value, float) else value


@nouns.command("list")
def list_all(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=100)] = 20,
    json: options.JsonObject = False,
) -> None:
    """List evaluations, newest first."""
    from qianfan.resources import Model

    rows = Model.evaluation_list(max_keys=limit)["result"]["evalTaskList"]
    if json:
        emit({"evaluations": rows})
        return
    show_table(
        ("id", "name", "state", "mode", "models", "dataset"),
        [
            (
                row["evaluationIdStr"],
                row["name"],
                row["state"],
                row["evalStandardConf"]["evalMode"],
                ", ".join(unit["modelName"] for unit in row["evalUnits"]),
                row["datasetIdStr"],
            )
            for row in rows
        ],
    )


@nouns.command("show")
def show(ident: Ident, json: options.JsonObject = False) -> None:
    """Show the state of an evaluation, and its scores once there are some."""
    from qianfan.resources import Model

    detail = Model.get_evaluation_info(ident)["result"]
    done = bool(detail["evalStandardConf"].get("resultDatasetIdStr"))
    report = Model.get_evaluation_result(ident)["result"] if done else []
    if json:
        emit({**detail, "report": report})
        return
    progress = detail.get("progressDetail") or {}
    show_table(
        ("id", "name", "state", "answers"),
        [
            (
                detail["evaluationIdStr"],
                detail["name"],
                detail["state"],
                f"{progress.get('done', 0)} of {progress.get('total', 0)}",
            )
        ],
    )
    _show({f"{row['modelName']} {row['modelVersion']}".strip(): row["effectMetric"] for row in report})
    for unit in detail["evalUnits"]:
        if unit["message"]:
            note(f"{unit['modelName']}: {unit['message']}")


@nouns.command("save")
def save(
    ident: Ident,
    target: Annotated[
        Path, typer.Argument(help="A file: .jsonl or .csv for the answers, .html for a report.")
    ],
) -> None:
    """Save the answers with their scores, or a report of them."""
    from qianfan.evaluation import EvaluationManager

    suffix = target.suffix.lower()
    if suffix not in (".jsonl", ".csv", ".html"):
        raise typer.BadParameter("the file must end in .jsonl, .csv or .html")
    result = EvaluationManager(task_id=ident).result()
    if suffix == ".html":
        result.to_html(target, title=f"Evaluation {ident}")
    else:
        from qianfan.dataset import Dataset

        rows = [{**row, "scores": row["scores"]} for row in result.rows]
        Dataset.create_from_pyobj(rows).save(data_file=target, file_format=suffix.lstrip("."))
    note(f"{len(result.rows)} answers are in {target}")


@nouns.command("compare")
def compare(
    ident: Ident,
    a: Annotated[
        str | None, typer.Argument(help="The model before; default: the first.", show_default=False)
    ] = None,
    b: Annotated[
        str | None, typer.Argument(help="The model after; default: the last.", show_default=False)
    ] = None,
    metric: Annotated[str, typer.Option(help="Which score counts.")] = "accuracy",
    rule: Annotated[str, typer.Option(help="better, or not-worse.")] = "better",
    margin: Annotated[float, typer.Option(help="By how much.", min=0)] = 0.0,
    confidence: Annotated[float, typer.Option(help="0 to 1.", min=0.5, max=0.9999)] = 0.95,
    fewest: Annotated[int, typer.Option(help="With fewer rows the answer is no.", min=1)] = 20,
    json: options.JsonObject = False,
) -> None:
    """Say whether B is better than A, or not worse; ends with code 3 when that is not shown.

    qianfan evaluation compare ame-… --metric exactMatch --rule not-worse --margin 0.02"""
    from qianfan.evaluation import EvaluationManager
    from qianfan.evaluation.statistics import Rule

    rules: dict[str, Rule] = {"better": "better", "not-worse": "not worse", "not worse": "not worse"}
    if rule not in rules:
        raise typer.BadParameter("the rule is better or not-worse")
    result = EvaluationManager(task_id=ident).result()
    if len(result.models) < 2 and (a is None or b is None):
        raise typer.BadParameter(f"evaluation {ident} has one model only; evaluate two on the same dataset")
    before, after = a or result.models[0], b or result.models[-1]
    verdict = result.compare(
        before, after, metric, rules[rule], margin=margin, confidence=confidence, fewest=fewest
    )
    if json:
        emit({"a": before, "b": after, "metric": metric, **verdict.as_dict()})
    else:
        found = verdict.comparison
        show_table(
            ("A", "B", "metric", "difference", "low", "high", "p", "wins", "losses", "ties"),
            [
                (
                    before, after, metric, found.difference.mean, found.difference.low, found.difference.high,
                    found.p, found.wins, found.losses, found.ties,
                )
            ],
            numbers=("difference", "low", "high", "p", "wins", "losses", "ties"),
        )  # fmt: skip
        print(f"{'yes' if verdict.passed else 'no'}: {verdict.reason}")
    if not verdict.passed:
        raise typer.Exit(NOT_SHOWN)
