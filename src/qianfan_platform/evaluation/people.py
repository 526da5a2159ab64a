"""Scores that people give: what waits for them, what they gave, and what that comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from sqlalchemy import ColumnElement

from qianfan.contract import errors
from qianfan.contract.enums import EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import (
    NOT_SCORED,
    SATISFACTION,
    FinishScoring,
    ListScoring,
    PersonsScore,
    ScoreResults,
)
from qianfan.contract.lifecycle import EVALUATION
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations, verdicts
from .questions import questions
from .tables import EvalAnswer, Evaluation

WORDS: Final = EvaluationTaskStatus


async def waiting(platform: Platform, tx: Tx, owner: int, spec: ListScoring) -> dict[str, Any]:
    """A page of answers that wait for scores, or of all. Which model gave one is not told: people score blind."""
    row = _open(await operations.get(tx, owner, spec["taskId"]))
    given = [EvalAnswer.unit_id.in_(operations.unit_ids(row)), EvalAnswer.error == ""]
    left: list[ColumnElement[bool]] = [*given, EvalAnswer.manual.is_(None)]
    number, size = spec.get("pageNo", 1), spec.get("pageSize", 20)
    where = given if spec.get("all") else left
    rows = await tx.find(
        EvalAnswer,
        *where,
        order_by=(EvalAnswer.line, EvalAnswer.turn, EvalAnswer.id),
        limit=size,
        offset=(number - 1) * size,
    )
    places = {(one.line, one.turn) for one in rows}
    content = await platform.files.local(row.content_file)
    asked = await asyncio.to_thread(
        lambda: {(one.line, one.turn): one for one in questions(content) if (one.line, one.turn) in places}
    )
    return {
        "dimensions": row.conf["evaluationDimension"],
        "total": await tx.count(EvalAnswer, *given),
        "waiting": await tx.count(EvalAnswer, *left),
        "items": [
            {
                "resultId": one.id,
                "line": one.line,
                "turn": one.turn,
                "history": [list(pair) for pair in asked[one.line, one.turn].history],
                "prompt": asked[one.line, one.turn].prompt,
                "prediction": one.content,
                "completion": asked[one.line, one.turn].reference,
                "scores": one.manual,
                "note": one.manual_note or "",
            }
            for one in rows
        ],
    }


def _open(row: Evaluation) -> Evaluation:
    """The evaluation, if people may score its answers now. Raises Fault."""
    if "evaluationDimension" not in row.conf:
        raise Fault(
            errors.WRONG_STATE,
            f"evaluation {row.id} is not scored by people",
            "create one with evalMode manual",
        )
    if row.status != WORDS.DoingWithManualBegin:
        raise Fault(
            errors.WRONG_STATE,
            f"evaluation {row.id} is {row.status}, people can not score it",
            "wait until it is DoingWithManualBegin"
            if row.status in (WORDS.Pending, WORDS.Doing)
            else "create another evaluation",
        )
    return row


async def score(tx: Tx, owner: int, spec: ScoreResults) -> int:
    """Keep people's scores, over those that were given before; returns how many answers still wait."""
    row = _open(await operations.get(tx, owner, spec["taskId"], lock=True))
    idents = {_number(one) for one in spec["results"]}
    found = {
        one.id: one
        for one in await tx.find(
            EvalAnswer, EvalAnswer.unit_id.in_(operations.unit_ids(row)), EvalAnswer.id.in_(idents)
        )
    }
    for given in spec["results"]:
        answer = found.get(_number(given))
        if answer is None or answer.error:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[results.resultId] invalid: {str(given['resultId'])[:40]!r} is no answer of evaluation {row.id}",
                "DescribeEvalScoring tells their ids",
            )
        answer.manual = _checked(row.conf["evaluationDimension"], given)
        answer.manual_note = given.get("note") or None
    await tx.session.flush()
    return await tx.count(
        EvalAnswer,
        EvalAnswer.unit_id.in_(operations.unit_ids(row)),
        EvalAnswer.error == "",
        EvalAnswer.manual.is_(None),
    )


def _number(given: PersonsScore) -> int:
    text = str(given["resultId"])
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def _checked(dimensions: Sequence[dict[str, Any]], given: PersonsScore) -> dict[str, int]:
    """Scores of every dimension, within its range. Raises Fault naming what is wrong."""
    names = [one["dimension"] for one in dimensions]
    if set(given["scores"]) != set(names):
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[results.scores] invalid: result {given['resultId']} has scores for "
            f"{', '.join(name[:40] for name in given['scores']) or 'nothing'}",
            f"give one for each of {', '.join(names)}",
        )
    for one in dimensions:
        value = given["scores"][one["dimension"]]
        if isinstance(value, bool) or not one["minScore"] <= value <= one["maxScore"]:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[results.scores] invalid: {one['dimension']} is {value}",
                f"give a whole number from {one['minScore']} to {one['maxScore']}",
            )
    return {name: given["scores"][name] for name in names}


async def finish(platform: Platform, owner: int, spec: FinishScoring) -> Evaluation:
    """End the scoring: means and spreads go into the report, and gates on people's scores get their verdict.

    The evaluation is Done, or PartlyDone when answers are missing or have no score. Refused without any score."""
    async with platform.store.reading() as tx:
        row = _open(await operations.get(tx, owner, spec["taskId"]))
        units = await operations.units(tx, row)
    given = {unit.ordinal: await operations.answers(platform, unit) for unit in units}
    if not any(one.manual for answers in given.values() for one in answers):
        raise Fault(
            errors.WRONG_STATE, f"evaluation {row.id} has no score of a person yet", "give some, then finish"
        )
    found = await verdicts.for_gates(platform, row, units)
    async with platform.store.transaction() as tx:
        row = _open(await operations.get(tx, owner, spec["taskId"], lock=True))
        whole = True
        for unit in await operations.units(tx, row):
            answers = given[unit.ordinal]
            unit.metrics = {
                **unit.metrics,
                **effect(answers, row.conf["evaluationDimension"], spec.get("subjectiveImpression", "")),
            }
            whole &= unit.status == WORDS.Done and all(one.manual for one in answers)
        await tx.session.flush()
        await tx.move(row, EVALUATION, WORDS.Done if whole else WORDS.PartlyDone)
        for values in found:
            await verdicts.write(tx, values)
        return row


def effect(
    answers: Sequence[EvalAnswer], dimensions: Sequence[dict[str, Any]], impression: str
) -> dict[str, Any]:
    """The part of effectMetric that people gave. A good case has the highest satisfaction; -1 counts no score."""
    scored = [one.manual for one in answers if one.manual]
    best = next(one["maxScore"] for one in dimensions if one["dimension"] == SATISFACTION)
    satisfied = [one[SATISFACTION] for one in scored]
    spreads = []
    for one in dimensions:
        name = one["dimension"]
        spread = {str(value): 0 for value in (NOT_SCORED, *range(one["minScore"], one["maxScore"] + 1))}
        for answer in answers:
            spread[str(answer.manual[name] if answer.manual else NOT_SCORED)] += 1
        spreads.append({"dimension": name, "scoreDistribution": spread})
    return {
        "manualAvgScore": round(fmean(satisfied), 6) if satisfied else NOT_SCORED,
        "goodCaseProportion": round(fmean(value == best for value in satisfied), 6) if satisfied else 0.0,
        "subjectiveImpression": impression,
        "manualScoreDistribution": spreads,
    }
