"""What the steps of an evaluation work with: its row, its versions, its questions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from qianfan_platform.accounts.gate import Caller
from qianfan_platform.platform import Platform

from . import conf as settings
from . import operations
from .questions import Question, questions
from .tables import Evaluation, EvalUnit


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


async def plan_of(platform: Platform, evaluation_id: int) -> Plan:
    """The plan of an evaluation, with its questions read."""
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
