"""`qianfan evaluation score`: people score the answers of a manual evaluation, in a file or one by one."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from . import options
from .output import emit, note

nouns = typer.Typer(help="People's scores of a manual evaluation.", no_args_is_help=True)
Ident = Annotated[str, typer.Argument(help="A manual evaluation (ame-…).", metavar="EVALUATION")]
PAGE: Final = 1000


def _waiting(evaluation: str, all: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every answer that waits, or every answer; and the dimensions."""
    from qianfan.resources import Evaluation

    items: list[dict[str, Any]] = []
    while True:
        number = len(items) // PAGE + 1
        page = Evaluation.answers_to_score(evaluation, number, PAGE, all=all)["result"]
        items += page["items"]
        if len(page["items"]) < PAGE:
            return items, page["dimensions"]


@nouns.command("list")
def list_all(
    evaluation: Ident,
    target: Annotated[
        Path | None, typer.Argument(help="A .jsonl file to write them to.", show_default=False)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Those that have scores as well.")] = False,
    json: options.JsonObject = False,
) -> None:
    """List the answers that wait for scores. Which model gave one is not told.

    qianfan evaluation score list ame-… answers.jsonl      # fill in "scores" of each line, then: score give"""
    items, dimensions = _waiting(evaluation, all)
    for one in items:
        one["scores"] = one["scores"] or dict.fromkeys(row["dimension"] for row in dimensions)
    if target is not None:
        lines = "".join(jsons.dumps(one, ensure_ascii=False) + "\n" for one in items)
        target.write_text(lines, encoding="utf-8")
        note(f"{len(items)} answers are in {target}; scores go from {_ranges(dimensions)}")
    elif json:
        emit({"dimensions": dimensions, "items": items})
    else:
        for one in items:
            print(f"{one['resultId']}\n  question   {one['prompt']}\n  answer     {one['prediction']}")
            if one["completion"]:
                print(f"  reference  {one['completion']}")
        note(f"{len(items)} answers; scores go from {_ranges(dimensions)}")


def _ranges(dimensions: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['minScore']} to {one['maxScore']} ({one['dimension']})" for one in dimensions)


@nouns.command("give")
def give(
    evaluation: Ident,
    source: Annotated[
        Path, typer.Argument(help="A .jsonl file as `score list` writes it, with scores filled in.")
    ],
    json: options.JsonObject = False,
) -> None:
    """Give the scores of a file; lines without scores are left out."""
    from qianfan.resources import Evaluation

    results = []
    for number, line in enumerate(source.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = jsons.loads(line)
            scores = row.get("scores") or {}
            if any(value is not None for value in scores.values()):
                more = {"note": str(row["note"])} if row.get("note") else {}
                results.append({"resultId": row["resultId"], "scores": scores, **more})
        except (ValueError, AttributeError, KeyError):
            advice = "give the file that `score list` wrote, with `scores` filled in"
            raise typer.BadParameter(
                f"line {number} of {source} is no answer with scores; {advice}"
            ) from None
    if not results:
        raise typer.BadParameter(f"{source} holds no score; fill in `scores` of its lines")
    waiting = 0
    for begin in range(0, len(results), PAGE):
        waiting = Evaluation.score(evaluation, results[begin : begin + PAGE])["result"]["waiting"]
    emit({"given": len(results), "waiting": waiting}) if json else note(
        f"{len(results)} answers have scores, {waiting} wait"
    )


@nouns.command("finish")
def finish(
    evaluation: Ident,
    impression: Annotated[
        str | None, typer.Option(help="What people say on the whole.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """End the scoring: the report counts the scores from now on."""
    from qianfan.resources import Evaluation

    done = Evaluation.finish_scoring(evaluation, impression)["result"]
    emit(done) if json else note(f"evaluation {evaluation} is {done['state']}")
