"""Durable work of evaluations: ask, score, judge, keep the result. A killed server goes on where it was."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any, Final

from sqlalchemy import insert, select

from qianfan.contract.enums import DataTemplateType, EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import EVALUATION
from qianfan_platform.datasets import operations as datasets
from qianfan_platform.datasets.contents import settled
from qianfan_platform.jobs import Job, JobStep, Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import exporting, marking, operations, results, scoring, verdicts
from .asking import IN_A_ROW, Answered, GivenUp, ask
from .crew import work_through
from .plan import Plan, plan_of
from .questions import Question, prompt_of
from .tables import EvalAnswer, Evaluation, EvalUnit

EXPORTS: Final = exporting.export  # its job is known with those of this module
WORDS = EvaluationTaskStatus


async def _failed(step: Step, error: BaseException, *, evaluation_id: int) -> None:
    reason = reason_of(error)
    async with step.transaction() as tx:
        row = await operations.get(tx, None, evaluation_id)
        if row.status == WORDS.Stopping:  # it was to end anyway
            await operations.stopped(tx, row)
            return
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
    await step("content", _settle, step, evaluation_id)
    plan = await plan_of(step.platform, evaluation_id)
    await step.write("begin", _begin, evaluation_id, len(plan.asked))
    for unit in plan.units:
        await step(f"answer-{unit.ordinal}", _answer, step, plan, unit)
    if "rule" in plan.modes:
        for unit in plan.units:
            await step(f"score-{unit.ordinal}", marking.score, step, plan, unit)
    if "model" in plan.modes:
        for unit in plan.units:
            await step(f"judge-{unit.ordinal}", marking.judge, step, plan, unit)
        await step("probe", marking.probe, plan)
    kept = await step("result", _result, step, plan)
    found = await step("verdicts", verdicts.for_gates, plan.platform, plan.row, plan.units)
    step.check()
    async with step.transaction(last=True) as tx:
        await _finish(tx, plan, kept)
        for values in found:
            await verdicts.write(tx, values)


async def _settle(step: Step, evaluation_id: int) -> None:
    """Ask what was annotated before the work began, too; a later import, and a deleted dataset, change nothing."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.get(tx, None, evaluation_id)
        dataset = await operations.dataset_of(tx, row)
    if dataset is None or dataset.file_id != row.content_file:
        return
    content = (await settled(platform, dataset.id)).file_id
    if content != row.content_file:
        async with step.transaction() as tx:
            (await operations.get(tx, None, evaluation_id)).content_file = str(content)


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
        owner = plan.row.owner_id
        answering = await operations.answering(plan.platform, owner, unit.endpoint, unit.version_id)
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
            storage=row.storage,
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
