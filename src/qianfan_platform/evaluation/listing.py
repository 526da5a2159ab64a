"""Results one by one: filtered by their scores, ordered, a page at a time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, cast, func

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import ListResults, Range
from qianfan_platform.models import operations as models
from qianfan_platform.models import presets
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations
from .questions import questions
from .results import METRICS, listed
from .tables import EvalAnswer, EvalUnit

_OTHER_SPELLINGS: Final = {
    "rouge1": "rouge_1",
    "rouge2": "rouge_2",
    "rougeL": "rouge_l",
    "rouge_L": "rouge_l",
}


async def page(platform: Platform, tx: Tx, owner: int, spec: ListResults) -> dict[str, Any]:
    """`{total, items}` of an evaluation. Raises Fault for an order that is unknown."""
    row = await operations.get(tx, owner, spec["id"])
    units = {unit.id: unit for unit in await operations.units(tx, row)}
    where: list[ColumnElement[bool]] = [
        EvalAnswer.unit_id.in_(await _wanted(platform, tx, owner, spec, units))
    ]
    for name in METRICS:
        if name in spec:
            where += _within(_score(tx, name), spec[name])
    if "judgeScore" in spec:
        where += _within(EvalAnswer.judge_score, spec["judgeScore"])
    number, size = spec.get("pageNo", 1), spec.get("pageSize", 20)
    total = await tx.count(EvalAnswer, *where)
    rows = await tx.find(
        EvalAnswer, *where, order_by=_order(tx, spec), limit=size, offset=(number - 1) * size
    )
    content = await platform.files.local(row.content_file)
    places = {(one.line, one.turn) for one in rows}
    asked = await asyncio.to_thread(
        lambda: {(one.line, one.turn): one for one in questions(content) if (one.line, one.turn) in places}
    )
    items = [listed(units[one.unit_id], one, asked[one.line, one.turn]) for one in rows]
    return {"total": total, "items": items}


async def _version(platform: Platform, tx: Tx, owner: int, ident: Id) -> int:
    preset = presets.find(platform.catalogue, ident)
    return preset.version_id if preset is not None else (await models.version(tx, owner, ident)).id


async def _wanted(
    platform: Platform, tx: Tx, owner: int, spec: ListResults, units: dict[int, EvalUnit]
) -> list[int]:
    """Numbers of the units that are asked for."""
    found = set(units)
    if "evalUnitId" in spec:
        found &= {int(spec["evalUnitId"])} if str(spec["evalUnitId"]).isdigit() else set()
    if "modelVersionIds" in spec:
        versions = [await _version(platform, tx, owner, ident) for ident in spec["modelVersionIds"]]
        found &= {unit.id for unit in units.values() if unit.version_id in versions}
    return sorted(found)


def _score(tx: Tx, name: str) -> ColumnElement[float]:
    """One of the scores, which are kept as JSON in a text."""
    if tx.store.dialect == "sqlite":
        return func.json_extract(EvalAnswer.scores, f"$.{name}")
    from sqlalchemy.dialects.postgresql import JSON

    return cast(cast(EvalAnswer.scores, JSON)[name].as_string(), Float)


def _within(column: Any, range_: Range) -> list[ColumnElement[bool]]:
    found = []
    if "min" in range_:
        found.append(column >= range_["min"])
    if "max" in range_:
        found.append(column <= range_["max"])
    return found


def _order(tx: Tx, spec: ListResults) -> tuple[Any, ...]:
    by = spec.get("orderBy", "")
    by = _OTHER_SPELLINGS.get(by, by)
    last = (EvalAnswer.line, EvalAnswer.turn, EvalAnswer.unit_id)
    if not by:
        return last
    if by == "judgeScore":
        column: Any = EvalAnswer.judge_score
    elif by in METRICS:
        column = _score(tx, by)
    else:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[orderBy] invalid: {by[:40]!r}",
            f"use judgeScore or one of {', '.join(METRICS)}",
        )
    return (column.desc() if spec.get("order") == "desc" else column.asc(), *last)
