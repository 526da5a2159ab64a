"""`qianfan evaluation gate`: what a model of the registry must be shown to be before it is deployed or published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from . import options
from .output import emit, note, show_table

nouns = typer.Typer(
    help="Gates: deploy, or publish, only what is shown to be better, or not worse.", no_args_is_help=True
)

RULES = {"better": "better", "not-worse": "not worse", "not worse": "not worse"}
NO = 3  # exit code of a verdict whose answer is no; 1 and 2 are errors
ModelId = Annotated[str, typer.Argument(help="A model (am-…).", metavar="MODEL")]
RuleName = Annotated[str, typer.Option("--rule", help="better, or not-worse.")]
Metric = Annotated[str, typer.Option(help="Which score counts.")]
Margin = Annotated[float, typer.Option(help="By how much.", min=0)]
Confidence = Annotated[float, typer.Option(help="0 to 1.", min=0.5, max=0.9999)]
Fewest = Annotated[int, typer.Option(help="With fewer rows the answer is no.", min=1)]


def rule_of(text: str) -> str:
    """The rule in the words of the platform. Raises BadParameter."""
    if text not in RULES:
        raise typer.BadParameter("the rule is better or not-worse")
    return RULES[text]


def told(gate: Mapping[str, Any]) -> str:
    """A gate in one line."""
    data = f", on dataset {gate['datasetId']}" if gate.get("datasetId") else ""
    return (
        f"before {' and '.join(gate['at'])}, {gate['metric']} must be {gate['rule']} than that of "
        f"{gate['baselineName']}, margin {gate['margin']:g}, confidence {gate['confidence']:g}, "
        f"at least {gate['fewest']} rows{data}"
    )


@nouns.command("set")
def set_gate(
    model: ModelId,
    baseline: Annotated[str, typer.Option(help="What is compared with: a version (amv-…), or a preset.")],
    rule: RuleName = "better",
    metric: Metric = "accuracy",
    margin: Margin = 0.0,
    confidence: Confidence = 0.95,
    fewest: Fewest = 20,
    dataset: Annotated[
        str | None, typer.Option(help="Only evaluations on this one count.", show_default=False)
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="It stands before publishing, too.")] = False,
    json: options.JsonObject = False,
) -> None:
    """Set the gate of a model, in place of the one it has.

    qianfan evaluation gate set am-… --baseline SmolLM2-135M-Instruct --rule not-worse --margin 0.02"""
    from qianfan.resources import Model

    at = ["deploy", "publish"] if publish else ["deploy"]
    gate = Model.V2.set_model_gate(
        model, baseline, at, rule=rule_of(rule), metric=metric, margin=margin, confidence=confidence,
        fewest=fewest, **({"datasetId": dataset} if dataset else {}),
    )["result"]  # fmt: skip
    emit(gate) if json else note(told(gate))


@nouns.command("show")
def show(model: ModelId, json: options.JsonObject = False) -> None:
    """Show the gate of a model, and the verdicts on its versions."""
    from qianfan.resources import Model

    gate = Model.V2.describe_model_gate(model)["result"]["gate"]
    versions = Model.list(model)["result"]["modelVersionList"]
    found = {
        one["modelVersionIdStr"]: Model.detail(one["modelVersionIdStr"])["result"]["lineage"]["verdicts"]
        for one in versions
    }
    if json:
        emit({"gate": gate, "verdicts": found})
        return
    note(told(gate) if gate else f"{model} has no gate")
    show_table(
        ("version", "passed", "evaluation", "metric", "rule", "margin", "baseline", "difference", "low", "high", "n"),
        [
            (
                version, "yes" if one["passed"] else "no", one["evaluationId"], one["metric"], one["rule"],
                f"{one['margin']:g}", one["baselineName"], one["difference"], one["low"], one["high"], one["n"],
            )
            for version, verdicts in found.items()
            for one in verdicts
        ],
        numbers=("margin", "difference", "low", "high", "n"),
    )  # fmt: skip


@nouns.command("remove")
def remove(model: ModelId) -> None:
    """Take the gate of a model away."""
    from qianfan.resources import Model

    Model.V2.delete_model_gate(model)
    note(f"{model} has no gate any more")


@nouns.command("record")
def record(
    evaluation: Annotated[str, typer.Argument(help="A finished evaluation (ame-…).", metavar="EVALUATION")],
    baseline: Annotated[
        str | None,
        typer.Argument(help="The model before; default: the first of the evaluation.", show_default=False),
    ] = None,
    version: Annotated[
        str | None, typer.Argument(help="The model after; default: the last.", show_default=False)
    ] = None,
    rule: RuleName = "better",
    metric: Metric = "accuracy",
    margin: Margin = 0.0,
    confidence: Confidence = 0.95,
    fewest: Fewest = 20,
    json: options.JsonObject = False,
) -> None:
    """Let the platform give its verdict on an evaluation and keep it for gates; ends with code 3 when it is no.

    An evaluation that was made after its gate was set has done so by itself."""
    from qianfan.resources import Evaluation

    verdict = Evaluation.give_verdict(
        evaluation, baseline, version, rule=rule_of(rule), metric=metric, margin=margin, confidence=confidence,
        fewest=fewest,
    )["result"]  # fmt: skip
    if json:
        emit(verdict)
    else:
        print(f"{'yes' if verdict['passed'] else 'no'}: {verdict['reason']}")
    if not verdict["passed"]:
        raise typer.Exit(NO)
