"""Steps of an evaluation that score what was answered: by rules, by a judge; and how far the judge can be moved."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import update

from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import NOT_SCORED
from qianfan_platform.datasets.operations import local_file
from qianfan_platform.inference.operations import Finder
from qianfan_platform.jobs import Step
from qianfan_platform.serving.operations import Answering

from . import judging, operations, scoring
from .asking import IN_A_ROW, GivenUp, ask
from .crew import work_through
from .judging import Judged
from .plan import Plan
from .tables import EvalAnswer, EvalUnit

BATCH: Final = 16  # pairs whose texts are embedded at once


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


async def score(step: Step, plan: Plan, unit: EvalUnit) -> int:
    """Score every answer against its reference."""
    platform, conf = plan.platform, plan.row.conf
    rows = [row for row in await operations.answers(platform, unit) if row.scores is None]
    words = await _stop_words(plan)
    embedder = scoring.embedder(platform) if "similarity" in conf["scoreModes"] else None

    async def work(batch: list[EvalAnswer]) -> list[tuple[int, dict[str, float]]]:
        pairs = [(row.content, plan.asked[row.line, row.turn].reference) for row in batch]
        found = await asyncio.to_thread(
            lambda: [scoring.score(*pair, conf["scoreModes"], words) for pair in pairs]
        )
        if embedder is not None:
            await _add_similarity(plan, embedder, pairs, found)
        return [(row.id, scores) for row, scores in zip(batch, found, strict=True)]

    async def write(batches: list[list[tuple[int, dict[str, float]]]]) -> None:
        values = [{"id": ident, "scores": scores} for batch in batches for ident, scores in batch]
        async with step.transaction() as tx:
            await tx.execute(update(EvalAnswer), values)

    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    await work_through(batches, work, write, stop=step.cancelled, at_once=2)
    return len(rows)


async def _add_similarity(
    plan: Plan, embedder: Answering, pairs: list[tuple[str, str]], found: list[dict[str, float]]
) -> None:
    """Embeddings that cannot be had leave the score out; the other scores stand."""
    judged = [place for place, (_, reference) in enumerate(pairs) if reference]
    if not judged:
        return
    try:
        values = await scoring.similarities(
            plan.platform, plan.caller, embedder, [pairs[place] for place in judged]
        )
    except Fault:
        return
    for place, value in zip(judged, values, strict=True):
        found[place]["similarity"] = value


async def _stop_words(plan: Plan) -> frozenset[str]:
    path = plan.row.conf.get("stopWordsPath")
    if not path:
        return frozenset()
    file_id = local_file(path)
    assert file_id is not None  # checked when it was given
    return scoring.stop_words(await plan.platform.files.local(file_id, owner=plan.row.owner_id))


# ── the judge ────────────────────────────────────────────────────────────────────────────────────


async def judge(step: Step, plan: Plan, unit: EvalUnit) -> str:
    """Let the judge score every answer that there is. Returns why that was given up, "" when it was not."""
    platform, conf = plan.platform, plan.row.conf
    rows = [row for row in await operations.answers(platform, unit) if row.judge_score is None]
    failures, lost, why = 0, 0, ""
    try:
        referee = await Finder(platform).find(plan.row.owner_id, conf["apiName"], "chat")
    except Fault as fault:
        return f"the judge {conf['apiName']!r} can not be asked: {fault.text}"

    async def work(row: EvalAnswer) -> tuple[int, Judged]:
        nonlocal failures, lost, why
        if row.error:
            return row.id, Judged(NOT_SCORED, "there is no answer to score")
        case = judging.case_of(conf["prompt"], plan.asked[row.line, row.turn], row.content)
        answered = await ask(platform, plan.caller, referee, case.prompt)
        failures = failures + 1 if answered.broken else 0
        if failures >= IN_A_ROW:
            raise GivenUp(answered.error)
        if answered.error:
            lost, why = lost + 1, answered.error
            return row.id, Judged(NOT_SCORED, f"the judge could not answer: {answered.error}")
        return row.id, judging.verdict(conf["prompt"], case, answered.text)

    async def write(batch: list[tuple[int, Judged]]) -> None:
        values = [
            {"id": ident, "judge_score": judged.score, "judge_reason": judged.reason}
            for ident, judged in batch
        ]
        async with step.transaction() as tx:
            await tx.execute(update(EvalAnswer), values)

    try:
        await work_through(rows, work, write, stop=step.cancelled)
    except GivenUp as given_up:
        return f"the judge {conf['apiName']!r} was given up: {given_up}"
    return (
        f"the judge {conf['apiName']!r} gave no verdict on {lost} of {len(rows)} answers: {why}"
        if lost
        else ""
    )


async def probe(plan: Plan) -> float | None:
    """How many points a plea for the best score wins on average: 0 of a judge that is not moved; None: unknown.

    A few answers that did not have the best score are judged once more, with the plea."""
    platform, conf = plan.platform, plan.row.conf["prompt"]
    rows = [row for unit in plan.units for row in await operations.answers(platform, unit)]
    moved: list[float] = []
    for row in [r for r in rows if r.judge_score not in (None, NOT_SCORED, conf["maxScore"])][
        : judging.PROBES
    ]:
        case = judging.case_of(conf, plan.asked[row.line, row.turn], judging.begging(conf, row.content))
        try:
            referee = await Finder(platform).find(plan.row.owner_id, plan.row.conf["apiName"], "chat")
            answered = await ask(platform, plan.caller, referee, case.prompt)
        except (Fault, GivenUp):
            return None
        score = judging.verdict(conf, case, answered.text).score
        if score != NOT_SCORED and row.judge_score is not None:
            moved.append(score - row.judge_score)
    return sum(moved) / len(moved) if moved else None
