"""Having the model write: waves of tries, each judged in its order, until there is enough or nothing new comes.

An answer is kept once, and a verdict is. What is decided depends on what was decided before and
on what the model said, never on who was quicker: a server that is killed comes to the same verdicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert

from qianfan.contract.enums import AugmentationStatus, DataTemplateType
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.evaluation.asking import Answered, GivenUp, ask
from qianfan_platform.evaluation.crew import work_through
from qianfan_platform.inference.conversations import Prompt
from qianfan_platform.jobs import Cancelled, Step
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering
from qianfan_platform.store import Tx

from . import keeping, operations, parsing, prompting
from .keeping import Known, Sample
from .seeds import Pool, Seed
from .tables import AugmentSample, AugmentTask, AugmentTry

WAVE: Final = 16  # tries between two verdicts
TRIES_FOR_EACH: Final = 4  # wanted sample, at most
TRIES_BESIDES: Final = 32
BARREN: Final = 64  # tries in a row that gave nothing new, after which no more is expected
IN_A_ROW: Final = 8  # tries at which the engine failed before it is given up


@dataclass
class Streak:
    """Questions in a row at which the engine failed."""

    length: int = 0

    def count(self, answered: Answered) -> Answered:
        """Raises GivenUp when it has become too long."""
        self.length = self.length + 1 if answered.broken else 0
        if self.length >= IN_A_ROW:
            raise GivenUp(answered.error)
        return answered


@dataclass(frozen=True)
class Work:
    """What does not change while the model writes."""

    step: Step
    row: AugmentTask
    answering: Answering
    pool: Pool
    template: DataTemplateType
    context: int  # tokens that the model reads
    streak: Streak

    @property
    def platform(self) -> Platform:
        platform: Platform = self.step.platform
        return platform

    @property
    def budget(self) -> int:
        return TRIES_FOR_EACH * self.row.wanted + TRIES_BESIDES

    async def ask(self, prompt: Prompt) -> Answered:
        """Ask over everybody's road, in the account's name. Raises GivenUp."""
        caller = Caller(self.row.owner_id, "", "iam")
        return self.streak.count(await ask(self.platform, caller, self.answering, prompt))


async def write(work: Work, known: Known) -> str:
    """Go on from what is judged until it is enough. Returns why there are fewer than wanted, "" when not.

    known: the texts that were there before the task. Raises Cancelled."""
    kept, judged, last = await _so_far(work, known)
    try:
        while kept < work.row.wanted:
            work.step.check()
            if judged >= work.budget:
                return f"{work.budget} tries were made, and no more are allowed for {work.row.wanted} samples"
            if judged - last >= BARREN:
                return f"the model gave nothing new in {BARREN} tries in a row"
            size = min(WAVE, work.row.wanted - kept, work.budget - judged)
            tries = await _ask(work, range(judged, judged + size))
            new = await _judge(work, known, tries, work.row.wanted - kept)
            judged += size
            kept, last = kept + len(new), max([last, *(number + 1 for number in new)])
    except GivenUp as given_up:
        return f"the model was given up: {given_up}"
    return ""


async def _so_far(work: Work, known: Known) -> tuple[int, int, int]:
    """(samples kept, tries judged, tries up to the last that gave one), with what was taken made known."""
    async with work.platform.store.reading() as tx:
        judged = (await operations.get(tx, None, work.row.id)).tries
        rows = await tx.find(
            AugmentSample,
            AugmentSample.task_id == work.row.id,
            AugmentSample.number < judged,
            AugmentSample.why.in_(keeping.TAKEN),
            order_by=(AugmentSample.number, AugmentSample.place),
        )

    def remember() -> None:
        for row in rows:
            known.add(f"sample {row.number}.{row.place}", row.prompt)

    await asyncio.to_thread(remember)
    kept = [row.number for row in rows if not row.why]
    return len(kept), judged, max(kept, default=-1) + 1


# ── tries ────────────────────────────────────────────────────────────────────────────────────────


async def _ask(work: Work, numbers: range) -> list[AugmentTry]:
    """The tries of a wave; those that are not there yet are asked, several at once."""
    known = {one.number for one in await _tries(work, numbers)}

    async def one(number: int) -> dict[str, Any]:
        drawn = work.pool.draw(number, work.row.few)
        asked = prompting.question(work.pool, drawn, work.context)
        answered = await work.ask(asked.prompt)
        return {
            "task_id": work.row.id,
            "number": number,
            "seeds": [seed.line for seed in asked.shown],
            "words": list(drawn.words),
            "said": answered.text,
            "cut": answered.finish_reason == "length",
            "error": answered.error,
        }

    async def put(batch: list[dict[str, Any]]) -> None:
        async with work.step.transaction() as tx:
            await live(tx, work.row.id)
            await tx.execute(insert(AugmentTry), batch)

    missing = [number for number in numbers if number not in known]
    await work_through(missing, one, put, stop=work.step.cancelled)
    return await _tries(work, numbers)


async def _tries(work: Work, numbers: range) -> list[AugmentTry]:
    async with work.platform.store.reading() as tx:
        return await tx.find(
            AugmentTry,
            AugmentTry.task_id == work.row.id,
            AugmentTry.number >= numbers.start,
            AugmentTry.number < numbers.stop,
            order_by=AugmentTry.number,
        )


async def live(tx: Tx, task_id: int) -> AugmentTask:
    """The task, if it still runs. Raises Cancelled when it was stopped or deleted."""
    row = await tx.maybe(AugmentTask, AugmentTask.id == task_id, lock=True)
    if row is None or row.status != AugmentationStatus.Running:
        raise Cancelled
    return row


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────


async def _judge(work: Work, known: Known, tries: Sequence[AugmentTry], needed: int) -> list[int]:
    """Judge a wave, and have its new samples answered; returns the try of each that is kept."""

    def judge() -> list[Sample]:
        found: list[Sample] = []
        for one in tries:
            read = parsing.candidates(one.said, cut=one.cut)
            found += known.judge(one.number, read, cut=one.cut)
        return found

    samples = await asyncio.to_thread(judge)
    fresh = [sample for sample in samples if not sample.why]
    answered = await _answered(work)
    kept: list[int] = []
    while fresh and len(kept) < needed:
        batch, fresh = fresh[: needed - len(kept)], fresh[needed - len(kept) :]
        await _answer(work, batch, {one.number: one for one in tries}, answered)
        kept += [sample.number for sample in batch if not sample.why]
    for sample in fresh:
        sample.drop(keeping.ENOUGH)
    async with work.step.transaction() as tx:
        row = await live(tx, work.row.id)
        rest = [_row(work, one) for one in samples if (one.number, one.place) not in answered]
        if rest:
            await tx.execute(insert(AugmentSample), rest)
        row.tries, row.kept = tries[-1].number + 1, row.kept + len(kept)
        target = await tx.maybe(Dataset, Dataset.id == row.target_id)
        if target is not None:
            target.import_progress = min(99, 100 * row.kept // row.wanted)
    return kept


async def _answered(work: Work) -> dict[tuple[int, int], AugmentSample]:
    """The samples of tries that are not judged whole, by try and place: their answers are there already."""
    async with work.platform.store.reading() as tx:
        judged = (await operations.get(tx, None, work.row.id)).tries
        rows = await tx.find(
            AugmentSample, AugmentSample.task_id == work.row.id, AugmentSample.number >= judged
        )
    return {(row.number, row.place): row for row in rows}


async def _answer(
    work: Work,
    samples: Sequence[Sample],
    tries: dict[int, AugmentTry],
    answered: dict[tuple[int, int], AugmentSample],
) -> None:
    """Give each sample the answer that its template wants, or a reason to be dropped; `answered` gets them."""
    seeds = {seed.line: seed for seed in work.pool.seeds}
    missing = []
    for sample in samples:
        row = answered.get((sample.number, sample.place))
        if row is None:
            missing.append(sample)
        else:
            sample.answer, sample.why, sample.detail = row.answer, row.why, row.detail

    async def one(sample: Sample) -> Sample:
        if work.template is DataTemplateType.NonSortedConversation and not sample.answer:
            shown: list[Seed] = [seeds[line] for line in tries[sample.number].seeds]
            drawn = work.pool.draw(sample.number, work.row.few)
            prompt = prompting.answer(work.pool, shown, sample.prompt, drawn.seed, work.context)
            _take(sample, await work.ask(prompt))
        if not sample.why:
            keeping.fits(sample, work.template, work.pool.system)
        return sample

    async def put(batch: list[Sample]) -> None:
        async with work.step.transaction() as tx:
            await live(tx, work.row.id)
            await tx.execute(insert(AugmentSample), [_row(work, sample) for sample in batch])
        for sample in batch:
            answered[sample.number, sample.place] = AugmentSample(**_row(work, sample))

    await work_through(missing, one, put, stop=work.step.cancelled)


def _take(sample: Sample, said: Answered) -> None:
    sample.answer = said.text.strip()
    if said.error or not sample.answer:
        sample.drop(keeping.ANSWER, said.error)
    elif said.finish_reason == "length":
        sample.drop(keeping.ANSWER, "the answer did not come to an end")
    elif keeping.has_marks(sample.answer):
        sample.drop(keeping.ANSWER, "the answer holds marks of a chat template")


def _row(work: Work, sample: Sample) -> dict[str, Any]:
    return {"task_id": work.row.id, **vars(sample)}
