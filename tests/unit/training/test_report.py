"""A run's report loses no line, whenever it is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from qianfan_platform.store import Base, Store
from qianfan_platform.training import report as reports
from qianfan_platform.training.report import Report
from qianfan_platform.training.tables import TrainLine, TrainRun, TrainTask

pytestmark = pytest.mark.anyio


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Store]:
    """A store with one run, number 1."""
    store = await Store.open(f"sqlite:///{tmp_path}/report.db")
    async with store._engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with store.transaction() as tx:
        await tx.add(TrainTask(owner_id=1, name="t"))
        await tx.add(
            TrainRun(
                owner_id=1,
                task_id=1,
                ordinal=1,
                base_train_type="",
                train_type="tiny",
                train_mode="SFT",
                peft_type="LoRA",
                train_config={},
                trainset=[],
                trainset_rate=0,
                entry="tiny",
                hyper={},
                seed=7,
                threads=1,
                dtype="float32",
                fingerprint="",
                live={},
            )
        )
    yield store
    await store.close()


async def test_a_flush_that_is_cancelled_in_the_middle_loses_nothing(small: Store) -> None:
    """The last figures come while the keeper writes: cancelled at any moment, all lines are there once."""
    told = 0
    for pause in range(12):
        report = await Report.open(small, 1)
        told += 1
        await report.take({"kind": "step", "step": told, "steps": 12, "loss": 1.0})
        keeper = asyncio.create_task(report.flush())
        for _ in range(pause):
            await asyncio.sleep(0)
        keeper.cancel()
        await report.flush()
        with pytest.raises(asyncio.CancelledError):
            await keeper
    async with small.reading() as tx:
        lines = await tx.find(TrainLine, TrainLine.run_id == 1, order_by=TrainLine.n)
        run = await tx.one(TrainRun, 1)
    assert [line.event["step"] for line in lines] == list(range(1, told + 1))
    assert run.live["step"]["step"] == told
    assert run.live["first_step"]["step"] == 1


async def test_a_database_that_cannot_be_written_for_a_while_costs_no_line(
    small: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The keeper tells it in the server's log and tries again; what came meanwhile is written in its order."""
    monkeypatch.setattr(reports, "FLUSH_S", 0.01)
    report = await Report.open(small, 1)
    async with small.transaction() as tx:
        await tx.execute(text("ALTER TABLE train_line RENAME TO away"))
    keeper = asyncio.create_task(report.keep_flushing())
    await report.take({"kind": "step", "step": 1, "steps": 2, "loss": 1.0})
    await report.take({"kind": "log", "level": "warning", "text": "memory is short"})
    while "cannot be written now" not in caplog.text:
        await asyncio.sleep(0.01)
    await report.take({"kind": "step", "step": 2, "steps": 2, "loss": 0.5})
    async with small.transaction() as tx:
        await tx.execute(text("ALTER TABLE away RENAME TO train_line"))
    keeper.cancel()
    await report.flush()
    async with small.reading() as tx:
        lines = await tx.find(TrainLine, TrainLine.run_id == 1, order_by=TrainLine.n)
        run = await tx.one(TrainRun, 1)
    assert [(line.n, line.event["kind"]) for line in lines] == [(1, "step"), (2, "log"), (3, "step")]
    assert run.live["step"]["step"] == 2
    assert run.warnings == ["memory is short"]


async def test_figures_before_and_after_stay_beside_each_other(small: Store) -> None:
    """The first and the newest evaluation, what was estimated and what happened, the checkpoints that are there."""
    report = await Report.open(small, 1)
    for event in (
        {"kind": "plan", "steps": 2, "estimate": {"seconds": 2.0, "memory_mib": 100}, "resumed_step": 0},
        {"kind": "eval", "step": 0, "loss": 3.0},
        {"kind": "checkpoint", "step": 1, "loss": 2.5, "checkpoints": [1]},
        {"kind": "checkpoint", "step": 2, "loss": 2.0, "checkpoints": [2]},
        {"kind": "eval", "step": 2, "loss": 1.0},
        {"kind": "finished", "step": 2, "seconds": 1.0, "took": {"seconds": 3.0, "memory_mib": 90}},
    ):
        await report.take(event)
    await report.flush()
    async with small.reading() as tx:
        run = await tx.one(TrainRun, 1)
    assert (run.live["first_eval"]["loss"], run.live["eval"]["loss"]) == (3.0, 1.0)
    assert run.live["checkpoints"] == {"2": {"loss": 2.0}}
    assert run.estimate["measured"] == {"seconds": 2.0, "memory_mib": 100}
    assert run.happened == {"seconds": 3.0, "memory_mib": 90}
