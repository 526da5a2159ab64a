"""Estimates are mended by what earlier runs took."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import qianfan_platform.training.tables  # noqa: F401  the tables to make
from qianfan_platform.store import Base, Store
from qianfan_platform.training.estimates import BOUNDS, corrected, factors
from qianfan_platform.training.tables import TrainRun, TrainTask

pytestmark = pytest.mark.anyio
MEASURED = {"seconds": 10.0, "memory_mib": 400.0}


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path}/estimates.db")
    async with store._engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with store.transaction() as tx:
        await tx.add(TrainTask(owner_id=1, name="t"))
    yield store
    await store.close()


async def run(store: Store, took: float | None, measured: float = 10.0, **values: Any) -> TrainRun:
    shape: dict[str, Any] = {
        "owner_id": 1, "task_id": 1, "ordinal": 1, "base_train_type": "", "train_type": "tiny", "train_mode": "SFT",
        "peft_type": "LoRA", "train_config": {}, "trainset": [], "trainset_rate": 0, "entry": "tiny", "hyper": {},
        "seed": 7, "threads": 1, "dtype": "float32", "fingerprint": "", "live": {},
    }  # fmt: skip
    if took is not None:
        shape["estimate"] = {"measured": {"seconds": measured, "memory_mib": 400.0}}
        shape["happened"] = {"seconds": took, "memory_mib": 500.0}
    async with store.transaction() as tx:
        return await tx.add(TrainRun(**shape | values))


async def test_the_first_estimate_is_the_trainers_own(small: Store) -> None:
    """Nothing is known of this model and method yet."""
    fresh = await run(small, None)
    async with small.reading() as tx:
        told = await corrected(tx, fresh, MEASURED)
    assert (told["seconds"], told["memory_mib"], told["factor"], told["of_runs"]) == (10.0, 400, 1.0, 0)
    assert (told["seconds_range"], told["memory_range"]) == (None, None)


async def test_the_next_one_is_corrected_by_the_median_of_what_happened(small: Store) -> None:
    """Runs of other models or methods, and those that were over in no time, say nothing."""
    for took in (20.0, 13.0, 11.0):
        await run(small, took)
    await run(small, 90.0, entry="other")
    await run(small, 90.0, peft_type="ALL")
    await run(small, 0.9, measured=0.1)
    fresh = await run(small, None)
    async with small.reading() as tx:
        told = await corrected(tx, fresh, MEASURED)
    assert told["seconds"] == 13.0
    assert told["memory_mib"] == 500
    assert told["seconds_range"] == [11.0, 20.0]
    assert told["memory_range"] == [500, 500]
    assert told["measured"] == MEASURED
    assert told["factor"] == 1.3


def test_a_factor_stays_within_bounds() -> None:
    """What is a hundred times off was something else: a machine asleep, a clock set."""
    assert factors([]) == []
    assert factors([(1, 100), (100, 1), (0, 5), (2, 0)]) == [BOUNDS[1], BOUNDS[0]]
