"""A write sent twice under one Idempotency-Key is done once and answered twice."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from qianfan.contract.errors import NAME_TAKEN, UNAVAILABLE, Fault
from qianfan.contract.routes import Route
from qianfan_platform.web.call import Call
from qianfan_platform.web.envelopes import dumps
from qianfan_platform.web.tables import FirstAnswer

KEPT: Final = timedelta(hours=24)
MAX_KEY: Final = 255  # characters
T = TypeVar("T")


class LostRace(Exception):
    """Another request wrote the same key between our look and our insert."""


async def once(call: Call, route: Route, handler: Callable[[Call], Awaitable[Any]]) -> tuple[Any, bool]:
    """The handler's result, and whether it is the first answer again.

    The key's row is written in the call's own transaction: it stays only if the work does.
    Raises Fault when the key came with another body before, LostRace when the whole call should be redone."""
    tx, key = call.tx, call.idempotency_key or ""
    name = f"{route.path}?Action={route.action}" if route.action else route.path
    body_hash = hashlib.sha256(orjson.dumps(call.body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    now = await tx.now()
    await tx.execute(delete(FirstAnswer).where(FirstAnswer.created_at < now - KEPT))
    first = await tx.maybe(
        FirstAnswer,
        FirstAnswer.owner_id == call.owner, FirstAnswer.route == name, FirstAnswer.key == key,
    )  # fmt: skip
    if first is not None:
        if first.body_hash != body_hash:
            raise Fault(
                NAME_TAKEN,
                f"this Idempotency-Key was used on {name} with another body",
                "send a new key with a new body",
            )
        return orjson.loads(first.result or "null"), True
    row = FirstAnswer(owner_id=call.owner, route=name, key=key, body_hash=body_hash, created_at=now)
    try:
        await tx.add(row)
    except IntegrityError:
        raise LostRace from None
    result = await handler(call)
    row.result = dumps(result).decode()
    return result, False


async def redone(work: Callable[[], Awaitable[T]]) -> T:
    """`work`, done again when it lost a race for its key: then it finds the winner's answer."""
    for _ in range(3):
        try:
            return await work()
        except LostRace:
            continue
    raise Fault(UNAVAILABLE, "other requests with this Idempotency-Key are still at work")
