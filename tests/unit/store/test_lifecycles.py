"""Every lifecycle of the contract is enforced by `move`, on both databases, whatever is tried in what order."""

from __future__ import annotations

import asyncio
from enum import Enum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from qianfan.contract import errors, lifecycle
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import Lifecycle
from qianfan_platform.store import Row, Status, Store

NOUNS = [each.noun for each in lifecycle.ALL]


class Apart(Row):
    """Rows of these tests, kept out of the platform's own tables."""

    __abstract__ = True
    metadata = MetaData()


def _thing(each: Lifecycle) -> type[Row]:
    """A table with that lifecycle's status: as a Status column, as text, and (where it fits) as a number."""
    name = each.noun.replace(" ", "_")
    columns = {
        "status": mapped_column(Status(type(each.start)), default=each.start),
        "word": mapped_column(default=str(each.start.value)),
        "__annotations__": {"status": Mapped[Enum], "word": Mapped[str]},
    }
    if isinstance(each.start.value, int):
        columns["number"] = mapped_column(default=each.start.value)
        columns["__annotations__"]["number"] = Mapped[int]  # type: ignore[index]
    body = {"__tablename__": f"test_{name}", "__module__": __name__, "PREFIX": "thing", **columns}
    return type(name, (Apart,), body)


THINGS = {each.noun: _thing(each) for each in lifecycle.ALL}
FIELDS = {noun: [f for f in ("status", "word", "number") if hasattr(t, f)] for noun, t in THINGS.items()}


async def _open(url: str) -> Store:
    store = await Store.open(url)
    async with store.transaction() as tx:
        connection = await tx.session.connection()
        await connection.run_sync(Apart.metadata.create_all)
    return store


@pytest.mark.parametrize("each", lifecycle.ALL, ids=NOUNS)
def test_only_the_moves_of_the_table_are_made(database_url: str, each: Lifecycle) -> None:
    """A walk through any wishes ends where the table of moves says; each refusal names what could."""
    table, states = THINGS[each.noun], list(each.moves)

    async def walk(store: Store, field: str, wishes: list[Enum]) -> None:
        async with store.transaction() as tx:
            row = await tx.add(table(owner_id=1))
            now = each.start
            for wish in wishes:
                if wish in each.moves[now]:
                    assert await tx.move(row, each, wish, field=field, owner_id=2) is row
                    now = wish
                    assert row.owner_id == 2
                else:
                    with pytest.raises(Fault) as refused:
                        await tx.move(row, each, wish, field=field)
                    assert refused.value.row is errors.WRONG_STATE
                    could = "only " if each.before(wish) else "nothing can"
                    assert str(refused.value).startswith(f"{each.noun} {row.id} is ")
                    assert f"; {could}" in str(refused.value)
                stored = getattr(row, field)
                assert (stored == now) if field == "status" else (str(stored) == str(now.value))

    with asyncio.Runner() as runner:
        store = runner.run(_open(database_url))

        @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(FIELDS[each.noun]), st.lists(st.sampled_from(states), max_size=8))
        def any_walk(field: str, wishes: list[Enum]) -> None:
            runner.run(walk(store, field, wishes))

        any_walk()
        runner.run(store.close())


def test_a_refusal_says_what_is_and_what_could(database_url: str) -> None:
    """The reader learns the state it is in and the states from which the move is possible."""

    async def refusals() -> list[str]:
        store = await _open(database_url)
        said = []
        for each, path in (
            (lifecycle.TRAIN_RUN, ["Finish", "Fail"]),
            (lifecycle.DATASET_IMPORT, ["Finished"]),
            (lifecycle.SERVICE, ["New"]),
        ):
            async with store.transaction() as tx:
                row = await tx.add(THINGS[each.noun](owner_id=1))
                *first, last = (type(each.start)[name] for name in path)
                for state in first:
                    await tx.move(row, each, state)
                with pytest.raises(Fault) as refused:
                    await tx.move(row, each, last)
                said.append(str(refused.value))
        await store.close()
        return said

    assert asyncio.run(refusals()) == [
        "training run 1 is Done and cannot become Fail; only Running can",
        "dataset import 1 is NotStarted and cannot become Finished; only Running can",
        "service 1 is New and cannot become New; nothing can",
    ]


def test_of_two_that_move_at_once_one_wins(database_url: str) -> None:
    """A run cannot both finish and be stopped."""

    async def race() -> list[object]:
        store = await _open(database_url)
        table = THINGS["training run"]
        async with store.transaction() as tx:
            row = await tx.add(table(owner_id=1))

        async def move(to: Enum) -> None:
            async with store.transaction() as tx:
                mine = await tx.one(table, row.id)
                await asyncio.sleep(0.02)
                await tx.move(mine, lifecycle.TRAIN_RUN, to)

        ends = [state for state in lifecycle.TRAIN_RUN.moves if state != lifecycle.TRAIN_RUN.start]
        results = await asyncio.gather(*(move(state) for state in ends), return_exceptions=True)
        await store.close()
        return list(results)

    results = asyncio.run(race())
    assert results.count(None) == 1
    assert [type(each) for each in results if each is not None] == [Fault, Fault]
