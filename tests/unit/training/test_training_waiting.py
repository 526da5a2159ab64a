"""When a run that waits can begin: by what those before it tell, and by what earlier ones took."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import qianfan_platform.datasets.tables  # noqa: F401  the tables to make
from qianfan_platform import jobs
from qianfan_platform.store import Base, Store, Tx, utc_now
from qianfan_platform.training.tables import TrainRun, TrainTask
from qianfan_platform.training.waiting import forecast, waiting

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{tmp_path}/waiting.db")
    async with opened._engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with opened.transaction() as tx:
        await tx.add(TrainTask(owner_id=1, name="t"))
    yield opened
    await opened.close()


async def a_run(
    tx: Tx, samples: int | None = 100, *, epochs: int = 1, job: bool = True, **values: Any
) -> TrainRun:
    run = await tx.add(
        TrainRun(
            **{
                "owner_id": 1, "task_id": 1, "ordinal": 1, "base_train_type": "", "train_type": "tiny",
                "train_mode": "SFT", "peft_type": "LoRA", "train_config": {}, "trainset": [], "trainset_rate": 0,
                "entry": "tiny", "hyper": {"epochs": epochs}, "seed": 7, "threads": 1, "dtype": "float32",
                "fingerprint": "", "live": {}, "parts": None if samples is None else [{"last": samples}], **values,
            }
        )
    )  # fmt: skip
    if job:
        queued = await jobs.enqueue(tx, "training.run", owner=1, args={"run_id": run.id}, slot="train")
        run.job_id = queued.id
    return run


def over(seconds: float, beside: float) -> dict[str, Any]:
    """Of a run that has ended: what its steps took, and what else it took."""
    end = utc_now()
    begun = end - timedelta(seconds=seconds + beside)
    return {
        "status": "Done", "phase": "done", "happened": {"seconds": seconds, "memory_mib": 1},
        "started_at": begun, "finished_at": end,
    }  # fmt: skip


async def seen(tx: Tx, run: TrainRun) -> dict[str, Any]:
    found = await waiting(tx, run)
    assert found is not None
    return found


async def test_a_forecast_grows_with_the_samples_and_not_with_what_is_done_once(store: Store) -> None:
    """0.1 s a sample and 5 s beside; a run of unknown length, or of a method never seen, has none."""
    async with store.transaction() as tx:
        await a_run(tx, 100, **over(10, 5))
        await a_run(tx, 200, **over(20, 5))
        assert await forecast(tx, await a_run(tx, 300, epochs=2)) == pytest.approx(65, abs=0.1)
        assert await forecast(tx, await a_run(tx, 300, trainset_rate=50)) == pytest.approx(20, abs=0.1)
        assert await forecast(tx, await a_run(tx, None)) is None
        assert await forecast(tx, await a_run(tx, 300, peft_type="ALL")) is None


async def test_who_waits_is_told_how_long_those_before_it_take(store: Store) -> None:
    """What the run at work has left, and then each of those that wait before this one."""
    async with store.transaction() as tx:
        await a_run(tx, 100, job=False, **over(10, 0))
        at_work = await a_run(tx, phase="training", live={"step": {"seconds_left": 7.0}})
        (await tx.one(jobs.Job, at_work.job_id)).state = jobs.JobState.Running
        second, third, fourth = [await a_run(tx, samples) for samples in (50, 200, 10)]
        assert await waiting(tx, at_work) is None
        assert [(await seen(tx, run))["position"] for run in (second, third, fourth)] == [1, 2, 3]
        assert [(await seen(tx, run))["seconds"] for run in (second, third, fourth)] == [7.0, 12.0, 32.0]
        await a_run(tx, phase="preparing", estimate={"seconds": 8.0})  # a second place, free a little later
        assert [(await seen(tx, run))["seconds"] for run in (second, third, fourth)] == [7.0, 8.0, 12.0]


async def test_nobody_is_told_what_nobody_knows(store: Store) -> None:
    """With nobody at work, and behind a run of unknown length, there is a place and no time."""
    async with store.transaction() as tx:
        alone = await a_run(tx)
        assert (await seen(tx, alone))["seconds"] is None
        await a_run(tx, phase="training", live={"step": {"seconds_left": 7.0}})
        assert (await seen(tx, alone))["seconds"] == 7.0
        last = await a_run(tx)
        assert (await seen(tx, last))["seconds"] is None
