"""The meter on both databases: what is used is added up, written, and read again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from qianfan.contract.errors import DAILY_LIMIT, TOTAL_LIMIT, Fault
from qianfan_platform.accounts import operations
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.accounts.limits import LimitReached, Limits
from qianfan_platform.accounts.meter import Meter
from qianfan_platform.accounts.tables import Account
from qianfan_platform.store import Store

pytestmark = pytest.mark.anyio

ME = Caller(1, "7", "token")
OWN = Caller(1, "", "iam")
OTHER = Caller(2, "9", "token")
NOON = 1_700_000_000.0


async def use(meter: Meter, caller: Caller = ME, tokens: tuple[int, int] = (1, 2), model: str = "m") -> None:
    async with meter.admitted(caller, model=model, kind="chat") as seat:
        seat.used(*tokens)


async def rows(store: Store, owner: int = 1, **spec: Any) -> list[dict[str, Any]]:
    async with store.reading() as tx:
        return await operations.usage(tx, owner, spec)


async def test_usage_is_added_up_and_written_by_upsert(store: Store) -> None:
    """Several flushes of one row; another owner sees nothing of it."""
    meter = Meter(store, unix=lambda: NOON)
    for _ in range(3):
        await use(meter)
        await use(meter, OWN)
        await meter.flush()
    await meter.flush()
    found = await rows(store)
    assert [(row["app"], row["day"], row["requests"], row["totalTokens"]) for row in found] == [
        ("", "2023-11-14", 3, 9),
        ("7", "2023-11-14", 3, 9),
    ]
    assert await rows(store, owner=2) == []


async def test_two_servers_on_one_database_add_to_one_row(store: Store) -> None:
    """Neither overwrites what the other wrote."""
    meters = [Meter(store, unix=lambda: NOON) for _ in range(2)]
    for meter in meters:
        await use(meter)
    await asyncio.gather(*(meter.flush() for meter in meters))
    assert (await rows(store))[0]["requests"] == 2


async def test_how_an_answer_ended_is_counted(store: Store) -> None:
    """An error is `failed`, a reader that left is `cut`; what was made until then counts."""
    meter = Meter(store)

    async def broken() -> None:
        async with meter.admitted(ME, model="m", kind="chat") as seat:
            seat.used(5, 1)
            raise Fault(DAILY_LIMIT)

    with pytest.raises(Fault):
        await broken()

    async def left() -> None:
        async with meter.admitted(ME, model="m", kind="chat") as seat:
            for count in range(1, 100):
                seat.used(5, count)
                await asyncio.sleep(0.01)

    task = asyncio.create_task(left())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await meter.flush()
    (row,) = await rows(store)
    assert (row["requests"], row["failed"], row["cut"], row["promptTokens"]) == (2, 1, 1, 10)
    assert 2 <= row["completionTokens"] < 20


async def test_a_long_answer_is_written_while_it_grows(store: Store) -> None:
    """What a killed server would lose is a second's worth, not the whole answer."""
    meter = Meter(store)
    async with meter.admitted(ME, model="m", kind="chat") as seat:
        seat.used(5, 10)
        await meter.flush()
        assert (await rows(store))[0]["completionTokens"] == 10
        seat.used(5, 30)
        await meter.flush()
        assert (await rows(store))[0]["completionTokens"] == 30
    await meter.flush()
    assert (await rows(store))[0]["totalTokens"] == 35


async def test_what_could_not_be_written_is_written_later(store: Store) -> None:
    """The table is away for a moment: nothing is lost, nothing counted twice."""
    meter = Meter(store)
    await use(meter)
    async with store.transaction() as tx:
        await tx.execute(text("ALTER TABLE usage RENAME TO away"))
    with pytest.raises(Exception, match="usage"):
        await meter.flush()
    await use(meter)
    async with store.transaction() as tx:
        await tx.execute(text("ALTER TABLE away RENAME TO usage"))
    await meter.flush()
    assert (await rows(store))[0]["requests"] == 2


async def test_a_day_ends_at_midnight_utc(store: Store) -> None:
    """One row for each day; an answer belongs to the day it began on; groups add days up."""
    now = [NOON]
    meter = Meter(store, unix=lambda: now[0])
    await use(meter)
    async with meter.admitted(ME, model="m", kind="chat") as seat:
        now[0] += 86400
        await use(meter, tokens=(10, 0))
        seat.used(0, 100)
    await meter.flush()
    assert [(row["day"], row["totalTokens"]) for row in await rows(store)] == [
        ("2023-11-15", 10),
        ("2023-11-14", 103),
    ]
    (total,) = await rows(store, group=["model"])
    assert (total["model"], total["requests"], total["totalTokens"]) == ("m", 3, 113)
    assert [row["day"] for row in await rows(store, **{"from": "2023-11-15"})] == ["2023-11-15"]


async def test_the_background_writes_within_two_seconds_and_at_the_end(store: Store) -> None:
    """No call is needed; closing writes the rest."""
    meter = Meter(store)
    await meter.start()
    await use(meter)
    async with asyncio.timeout(5):
        while not await rows(store):
            await asyncio.sleep(0.1)
    await use(meter)
    await meter.close()
    assert (await rows(store))[0]["requests"] == 2


async def test_days_and_totals_are_remembered_over_a_restart(store: Store) -> None:
    """They are sums of what is written, and of what is not yet."""
    limits = Limits(requests_per_day=3, total_tokens=100)
    first = Meter(store, limits, unix=lambda: NOON)
    await first.read()
    for caller in (ME, OWN):
        await use(first, caller)
    await first.flush()
    await use(first)
    with pytest.raises(LimitReached):
        await use(first)
    await first.flush()
    again = Meter(store, limits, unix=lambda: NOON)
    await again.read()
    with pytest.raises(LimitReached) as refused:
        await use(again)
    assert refused.value.row is DAILY_LIMIT
    await use(again, OTHER)
    tomorrow = Meter(store, limits, unix=lambda: NOON + 86400)
    await tomorrow.read()
    await use(tomorrow, tokens=(100, 0))
    with pytest.raises(LimitReached) as refused:
        await use(tomorrow)
    assert refused.value.row is TOTAL_LIMIT


async def test_limits_of_an_account_hold_for_all_its_apps_together(store: Store) -> None:
    """And those of an app for itself; a refused request takes nothing from either."""
    meter = Meter(store)
    async with store.transaction() as tx:
        await operations.set_limits(tx, 1, "", {"requests_per_minute": 3}, reset=False, read=meter.read)
        await operations.set_limits(tx, 1, "7", {"requests_per_minute": 1}, reset=False, read=meter.read)
    await use(meter)
    for _ in range(5):
        with pytest.raises(LimitReached, match="app 7"):
            await use(meter)
    await use(meter, OWN)
    await use(meter, Caller(1, "8", "token"))
    with pytest.raises(LimitReached, match="this account"):
        await use(meter, OWN)
    await use(meter, OTHER)
    async with store.transaction() as tx:
        await operations.set_limits(tx, 1, "", {}, reset=True, read=meter.read)
    await use(meter, OWN)


async def test_who_may_set_limits(store: Store) -> None:
    """The first account those of all; others only those of their own apps."""
    async with store.transaction() as tx:
        for number, name in ((1, "a"), (2, "b")):
            await tx.add(Account(id=number, name=name, user_id=name * 32))
    async with store.reading() as tx:
        assert await operations.whose_limits(tx, 1, {}, change=True) == (1, "")
        assert await operations.whose_limits(tx, 1, {"accountId": 2}, change=True) == (2, "")
        assert await operations.whose_limits(tx, 2, {}, change=False) == (2, "")
        for spec in ({}, {"accountId": 1}, {"app": 1}, {"accountId": 99}):
            with pytest.raises(Fault):
                await operations.whose_limits(tx, 2, spec, change=True)
        with pytest.raises(Fault, match="accountId"):
            await operations.whose_limits(tx, 1, {"accountId": 99}, change=True)


async def test_admission_costs_microseconds(store: Store) -> None:
    """No database, no task: a thousand seats in well under a tenth of a second, limits and all."""
    import time

    meter = Meter(store, Limits(requests_per_minute=10**6, tokens_per_minute=10**9))
    await meter.read()
    began = time.process_time()
    for _ in range(1000):
        await use(meter)
    assert time.process_time() - began < 0.1
