"""Verdicts: what a finished evaluation says of a version against its baseline, kept for the gates of the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import MANUAL_SCORE, NOT_SCORED, SATISFACTION
from qianfan.evaluation import statistics
from qianfan_platform.models import gates, presets
from qianfan_platform.models.tables import ModelVerdict, ModelVersion
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations
from .tables import EvalAnswer, Evaluation, EvalUnit

ENDED = (
    EvaluationTaskStatus.Done,
    EvaluationTaskStatus.PartlyDone,
    EvaluationTaskStatus.DoingWithManualBegin,
)
Values = dict[str, Any]  # the columns of a ModelVerdict


def scores_of(answer: EvalAnswer) -> dict[str, float]:
    """Every score of an answer by name: of rules, of the judge, and people's satisfaction."""
    found = {name: float(value) for name, value in (answer.scores or {}).items()}
    if answer.judge_score is not None and answer.judge_score != NOT_SCORED:
        found["judgeScore"] = answer.judge_score
    if answer.manual:
        found[MANUAL_SCORE] = float(answer.manual[SATISFACTION])
    return found


async def give(
    platform: Platform, row: Evaluation, before: EvalUnit, after: EvalUnit, condition: Mapping[str, Any]
) -> Values:
    """The verdict on `after` against `before`, not written yet. condition: as `gates.asked` makes it.

    Raises Fault when the two have no row in common that has the score, or `after` is no version of the registry."""
    if after.version_id is None or after.endpoint:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"{after.model_name} is no version of the registry, so a verdict on it would open no gate",
            "evaluate the version itself, by modelVersionId",
        )
    metric = condition["metric"]
    both = [await operations.answers(platform, unit) for unit in (before, after)]
    scored = [
        {(one.line, one.turn): scores[metric] for one in rows if metric in (scores := scores_of(one))}
        for rows in both
    ]
    common = [place for place in scored[0] if place in scored[1]]
    if not common:
        known = sorted({name for rows in both for one in rows for name in scores_of(one)})
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"evaluation {row.id} has no answer of both models with the score {metric!r}",
            f"it has {', '.join(known) or 'no scores'}",
        )
    found = await asyncio.to_thread(
        statistics.gate,
        [scored[0][place] for place in common],
        [scored[1][place] for place in common],
        cast(Literal["better", "not worse"], condition["rule"]),
        margin=condition["margin"],
        confidence=condition["confidence"],
        fewest=condition["fewest"],
    )
    compared = found.comparison
    figures = asdict(compared)
    interval = figures.pop("difference")
    async with platform.store.reading() as tx:
        version = await tx.one(ModelVersion, after.version_id, owner=row.owner_id, noun="model version")
    return {
        "owner_id": row.owner_id,
        "version_id": version.id,
        "run_id": version.run_id,
        "step": version.step,
        "baseline_id": condition["baseline_id"],
        "baseline_name": f"{before.model_name} {before.model_version}".strip(),
        "evaluation_id": row.id,
        "dataset_id": row.dataset_id,
        **{name: condition[name] for name in ("rule", "metric", "margin", "confidence", "fewest")},
        "passed": found.passed,
        "reason": found.reason,
        "n": interval["n"],
        "figures": {
            "difference": interval["mean"],
            "low": interval["low"],
            "high": interval["high"],
            **figures,
        },
    }


async def for_gates(platform: Platform, row: Evaluation, units: Sequence[EvalUnit]) -> list[Values]:
    """The verdicts that the gates of the evaluated versions ask for, as far as this evaluation can tell."""
    found = []
    for unit in units:
        async with platform.store.reading() as tx:
            own = await operations.version_of(tx, unit)
            gate = None if own is None else await gates.of_model(tx, own[1])
        if gate is None or (gate.dataset_id is not None and gate.dataset_id != row.dataset_id):
            continue
        before = next((one for one in units if number_of(platform, one) == gate.baseline_id), None)
        if before is None or before is unit:
            continue
        condition = {name: getattr(gate, name) for name in _OF_A_GATE}
        try:
            found.append(await give(platform, row, before, unit, condition))
        except Fault:
            continue  # this evaluation has no such score: it says nothing for the gate
    return found


_OF_A_GATE = ("baseline_id", "rule", "metric", "margin", "confidence", "fewest")


async def write(tx: Tx, values: Values) -> ModelVerdict:
    return await tx.add(ModelVerdict(**values))


def number_of(platform: Platform, unit: EvalUnit) -> int | None:
    """The version that a unit is, of the registry or of a preset; None for a service of the account."""
    if unit.version_id is not None:
        return unit.version_id
    preset = presets.named(platform.catalogue, unit.endpoint)
    return preset.version_id if preset else None


async def create(platform: Platform, owner: int, spec: Mapping[str, Any]) -> ModelVerdict:
    """Let a finished evaluation say whether its last model is better than its first, or as `spec` names them.

    What it says is kept, and opens or closes gates. Raises Fault."""
    async with platform.store.reading() as tx:
        row = await operations.get(tx, owner, spec["taskId"])
        units = await operations.units(tx, row)
    if row.status not in ENDED:
        raise Fault(
            errors.WRONG_STATE,
            f"evaluation {row.id} is {row.status} and says nothing yet",
            "wait for its end",
        )
    if len(units) < 2:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"evaluation {row.id} has one model only",
            "evaluate the version beside its baseline, in one evaluation",
        )
    async with platform.store.reading() as tx:
        before = await chosen(platform, tx, owner, units, spec.get("baseline"))
        after = await chosen(platform, tx, owner, units[::-1], spec.get("modelVersionId"))
    number = number_of(platform, before)
    if number is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"{before.model_name} is a service, which may answer with another version tomorrow",
            "evaluate the version behind it, or a preset, as the baseline",
        )
    async with platform.store.reading() as tx:
        condition = await gates.asked(platform.catalogue, tx, owner, {**spec, "baseline": number})
    values = await give(platform, row, before, after, condition)
    async with platform.store.transaction() as tx:
        return await write(tx, values)


async def chosen(
    platform: Platform, tx: Tx, owner: int, units: Sequence[EvalUnit], ident: Id | None
) -> EvalUnit:
    """The first unit that an id, an address or a name (`name`, `name_version`) means; of None the first of all."""
    if ident is None:
        return units[0]
    for unit in units:
        if str(ident) in (unit.endpoint, unit.model_name, f"{unit.model_name}_{unit.model_version}"):
            return unit
    number = await gates.baseline(platform.catalogue, tx, owner, ident)
    for unit in units:
        if number_of(platform, unit) == number:
            return unit
    raise Fault(
        errors.CONSOLE_PARAMETER,
        f"{str(ident)[:60]!r} was not evaluated there",
        f"its models are {', '.join(unit.model_name for unit in units)}",
    )


async def listed(tx: Tx, owner: int, row: Evaluation) -> list[dict[str, Any]]:
    """What an evaluation has said, newest first."""
    found = await tx.find(
        ModelVerdict,
        ModelVerdict.evaluation_id == row.id,
        owner=owner,
        order_by=ModelVerdict.id.desc(),
        limit=100,
    )
    return [gates.verdict_view(one) for one in found]
