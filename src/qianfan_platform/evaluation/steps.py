"""Durable work of evaluations: ask, score, judge, keep the result. A killed server goes on where it was."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert, select, update

from qianfan.contract.enums import DataTemplateType, EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import NOT_SCORED
from qianfan.contract.lifecycle import EVALUATION
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.datasets import operations as datasets
from qianfan_platform.datasets.operations import local_file
from qianfan_platform.inference.operations import Finder
from qianfan_platform.jobs import Job, JobStep, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.store import Tx

from . import conf as settings
from . import exporting, judging, operations, results, scoring
from .asking import Answered, GivenUp, ask
from .crew import work_through
from .judging import Judged
from .questions import Question, prompt_of, questions
from .tables import EvalAnswer, Evaluation, EvalUnit

EXPORTS: Final = exporting.export  # its job is known with those of this module
IN_A_ROW: Final = 8  # questions at which the engine failed before a unit is given up
BATCH: Final = 16  # pairs whose texts are embedded at once
WORDS = EvaluationTaskStatus


@dataclass(frozen=True)
class Plan:
    """What does not change while the work goes on."""

    platform: Platform
    caller: Caller
    row: Evaluation
    units: list[EvalUnit]
    content: Path
    asked: dict[tuple[int, int], Question]
    modes: list[str]


async def _failed(step: Step, error: BaseException, *, evaluation_id: int) -> None:
    reason = reason_of(error)
    async with step.transaction() as tx:
        row = await operations.get(tx, None, evaluation_id)
        await tx.move(row, EVALUATION, WORDS.Failed, reason=reason)
        for unit in await operations.units(tx, row):
            if unit.status in (WORDS.Pending, WORDS.Doing):
                unit.status, unit.message = WORDS.Failed.value, reason


async def _stopped(tx: Tx, job: Job, *, evaluation_id: int) -> None:
    await operations.stopped(tx, await operations.get(tx, None, evaluation_id))


@job("evaluation.run", on_failure=_failed, on_cancel=_stopped)
async def run(step: Step, *, evaluation_id: int) -> None:
    """Every version answers every question; then rules, then the judge; then the answers become a dataset."""
    step.check()
    plan = await _plan(step, evaluation_id)
    await step.write("begin", _begin, evaluation_id, len(plan.asked))
    for unit in plan.units:
        await step(f"answer-{unit.ordinal}", _answer, step, plan, unit)
    if "rule" in plan.modes:
        for unit in plan.units:
            await step(f"score-{unit.ordinal}", _score, step, plan, unit)
    if "model" in plan.modes:
        for unit in plan.units:
            await step(f"judge-{unit.ordinal}", _judge, step, plan, unit)
        await step("probe", _probe, plan)
    kept = await step("result", _result, step, plan)
    step.check()
    async with step.transaction(last=True) as tx:
        await _finish(tx, plan, kept)


async def _plan(step: Step, evaluation_id: int) -> Plan:
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, evaluation_id)
        units = await operations.units(tx, row)
    content = await platform.files.local(row.content_file)
    found = await asyncio.to_thread(lambda: {(one.line, one.turn): one for one in questions(content)})
    return Plan(
        platform,
        Caller(row.owner_id, "", "iam"),
        row,
        units,
        content,
        found,
        settings.modes_of(row.conf["evalMode"]),
    )


async def _begin(tx: Tx, evaluation_id: int, each: int) -> None:
    row = await operations.get(tx, None, evaluation_id)
    units = await operations.units(tx, row)
    await tx.move(row, EVALUATION, WORDS.Doing, total=each * len(units))
    for unit in units:
        unit.status = WORDS.Doing.value


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


async def _answer(step: Step, plan: Plan, unit: EvalUnit) -> str:
    """Ask what has no answer yet; each answer is kept once. Returns why asking was given up, "" when it was not."""
    try:
        answering = await operations.answering(plan.platform, plan.row.owner_id, unit)
    except Fault as fault:
        return fault.text
    async with plan.platform.store.reading() as tx:
        done = await tx.execute(select(EvalAnswer.line, EvalAnswer.turn).where(EvalAnswer.unit_id == unit.id))
        known = {(line, turn) for line, turn in done}
    failures = 0

    async def work(question: Question) -> tuple[Question, Answered]:
        nonlocal failures
        try:
            prompt = prompt_of(question, unit.params, unit.prefix)
        except Fault as fault:
            return question, Answered(error=fault.text)
        answered = await ask(plan.platform, plan.caller, answering, prompt)
        failures = failures + 1 if answered.broken else 0
        if failures >= IN_A_ROW:
            raise GivenUp(answered.error)
        return question, answered

    async def write(batch: list[tuple[Question, Answered]]) -> None:
        async with step.transaction() as tx:
            await tx.execute(insert(EvalAnswer), [_row(unit, *one) for one in batch])

    left = [question for place, question in plan.asked.items() if place not in known]
    try:
        await work_through(left, work, write, stop=step.cancelled)
    except GivenUp as given_up:
        return str(given_up)
    finally:
        if not unit.endpoint:  # a version that no service needs gives back what was loaded for it
            plan.platform.fleet.release(answering.want)
    return ""


def _row(unit: EvalUnit, question: Question, answered: Answered) -> dict[str, Any]:
    return {
        "unit_id": unit.id,
        "line": question.line,
        "turn": question.turn,
        "content": answered.text,
        "error": answered.error,
        "finish_reason": answered.finish_reason,
        "first_token_s": answered.first_token_s,
        "latency_s": answered.latency_s,
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
    }


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


async def _score(step: Step, plan: Plan, unit: EvalUnit) -> int:
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


async def _judge(step: Step, plan: Plan, unit: EvalUnit) -> str:
    """Let the judge score every answer that there is. Returns why that was given up, "" when it was not."""
    platform, conf = plan.platform, plan.row.conf
    rows = [row for row in await operations.answers(platform, unit) if row.judge_score is None]
    failures, lost, why = 0, 0, ""
    try:
        judge = await Finder(platform).find(plan.row.owner_id, conf["apiName"], "chat")
    except Fault as fault:
        return f"the judge {conf['apiName']!r} can not be asked: {fault.text}"

    async def work(row: EvalAnswer) -> tuple[int, Judged]:
        nonlocal failures, lost, why
        if row.error:
            return row.id, Judged(NOT_SCORED, "there is no answer to score")
        case = judging.case_of(conf["prompt"], plan.asked[row.line, row.turn], row.content)
        answered = await ask(platform, plan.caller, judge, case.prompt)
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


async def _probe(plan: Plan) -> float | None:
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
            judge = await Finder(platform).find(plan.row.owner_id, plan.row.conf["apiName"], "chat")
            answered = await ask(platform, plan.caller, judge, case.prompt)
        except (Fault, GivenUp):
            return None
        score = judging.verdict(conf, case, answered.text).score
        if score != NOT_SCORED and row.judge_score is not None:
            moved.append(score - row.judge_score)
    return sum(moved) / len(moved) if moved else None


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


async def _result(step: Step, plan: Plan) -> dict[str, Any]:
    """The file of the result dataset with its counts, and what each unit came to."""
    platform, conf = plan.platform, plan.row.conf
    judged = (conf["prompt"]["minScore"], conf["prompt"]["maxScore"]) if "model" in plan.modes else None
    answers: dict[tuple[int, int, int], EvalAnswer] = {}
    came_to = []
    for unit in plan.units:
        rows = await operations.answers(platform, unit)
        answers |= {(unit.id, row.line, row.turn): row for row in rows}
        bad = [row.error for row in rows if row.error]
        came_to.append(
            {
                "given": len(rows) - len(bad),
                "error": bad[0] if bad else "",
                "metrics": await asyncio.to_thread(scoring.effect, rows, plan.asked, judged),
            }
        )
    scratch = platform.settings.work / f"evaluation-{step.job_id}"
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    path = scratch / "rows.jsonl"
    lines = results.dataset_rows(plan.content, plan.units, answers)
    counts = await asyncio.to_thread(results.write_dataset, lines, path)
    kept = await platform.files.put_path(path, name=f"{plan.row.public_id}.jsonl", move=True)
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    return {"file": kept.id, "counts": counts, "units": came_to}


async def _finish(tx: Tx, plan: Plan, kept: dict[str, Any]) -> None:
    """States and metrics of the units, the dataset of answers, and the state of the whole."""
    row = await operations.get(tx, None, plan.row.id)
    shift = await tx.maybe(JobStep, JobStep.job_id == row.job_id, JobStep.name == "probe")
    given_up = {**await _recorded(tx, row, "judge"), **await _recorded(tx, row, "answer")}
    units = await operations.units(tx, row)
    for unit, came_to in zip(units, kept["units"], strict=True):
        given, why = came_to["given"], given_up.get(unit.ordinal, "")
        lacking = len(plan.asked) - given
        unit.status = _state(given, lacking, bool(why)).value
        unit.message = _message(given, lacking, why or came_to["error"])
        told = {} if shift is None or shift.result is None else {"judgeShift": round(shift.result, 6)}
        unit.metrics = {**came_to["metrics"], **told}
    end = _whole([WORDS(unit.status) for unit in units], manual="manual" in plan.modes)
    reason = "; ".join(unit.message for unit in units if unit.message)[:2000]
    result_id = None
    if end is not WORDS.Failed:
        asked = await operations.dataset_of(tx, row)
        template = DataTemplateType(asked.template_type if asked else DataTemplateType.NonSortedConversation)
        made = await datasets.keep(
            tx,
            row.owner_id,
            f"{row.name}_result"[:100],
            template,
            file_id=kept["file"],
            counts=kept["counts"],
        )
        result_id = made.id
    await tx.move(row, EVALUATION, end, reason=reason, result_dataset_id=result_id)


async def _recorded(tx: Tx, row: Evaluation, name: str) -> dict[int, str]:
    """Why each unit was given up, as the steps of this name told; by ordinal."""
    steps = await tx.find(JobStep, JobStep.job_id == row.job_id, JobStep.name.startswith(f"{name}-"))
    return {int(step.name.rsplit("-", 1)[1]): str(step.result) for step in steps if step.result}


def _state(given: int, lacking: int, given_up: bool) -> EvaluationTaskStatus:
    if not given:
        return WORDS.Failed
    return WORDS.PartlyDone if lacking or given_up else WORDS.Done


def _message(given: int, lacking: int, why: str) -> str:
    if not lacking:
        return why
    return f"{lacking} of {given + lacking} questions have no answer: {why or 'they were not asked'}"[:1000]


def _whole(states: list[EvaluationTaskStatus], *, manual: bool) -> EvaluationTaskStatus:
    """What the versions come to. People can score as soon as there is any answer."""
    if all(state is WORDS.Failed for state in states):
        return WORDS.Failed
    if manual:
        return WORDS.DoingWithManualBegin
    return WORDS.Done if all(state is WORDS.Done for state in states) else WORDS.PartlyDone
