"""Worker processes are killed and stopped for real: the work goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import worker_process as process

from qianfan_platform import jobs
from qianfan_platform.jobs import Job, JobState, JobStep
from qianfan_platform.store import Store

pytestmark = pytest.mark.anyio
LEASE_S = 1.0


@asynccontextmanager
async def a_worker(url: str, folder: Path, name: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    command = [sys.executable, process.__file__, url, str(folder), name, str(LEASE_S)]
    child = subprocess.Popen(command)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def until(true: Callable[[], Any], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def until_done(store: Store, numbers: list[int]) -> None:
    deadline = time.monotonic() + 30
    while True:
        async with store.reading() as tx:
            if await tx.count(Job, Job.id.in_(numbers), Job.state == JobState.Done) == len(numbers):
                return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def enqueued(store: Store, kind: str, *args: dict[str, Any]) -> list[int]:
    async with store.transaction() as tx:
        return [(await jobs.enqueue(tx, kind, owner=1, args=each)).id for each in args]


def stalled(folder: Path, numbers: list[int]) -> Callable[[], bool]:
    return lambda: all((folder / f"stalled-{number}").exists() for number in numbers)


async def test_a_killed_job_goes_on_from_its_last_finished_step(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    """kill -9 in the first, the third, the last step and after it: finished steps never run again."""
    places = ["one", "three", "four", "after"]
    numbers = await enqueued(store, "test.walk", *({"stall": place} for place in places))
    async with a_worker(database_url, tmp_path, "first"):
        await until(stalled(tmp_path, numbers))
    (tmp_path / "go").touch()
    async with a_worker(database_url, tmp_path, "second"):
        await until_done(store, numbers)
    said = (tmp_path / "log").read_text().splitlines()
    for number, place in zip(numbers, places, strict=True):
        reached = process.STEPS.index(place) if place in process.STEPS else len(process.STEPS)
        for at, name in enumerate(process.STEPS):
            by = "first" if at < reached else "second"
            assert [
                line for line in said if line.startswith(f"{number} ") and line.endswith(f"{name} ends")
            ] == [f"{number} {by} {name} ends"]
            begun = [
                line.split()[1]
                for line in said
                if line.startswith(f"{number} ") and f" {name} begins" in line
            ]
            assert begun == (["first", "second"] if at == reached else [by])
            assert f"{number} second {name}: {name} by {by}" in said  # the recorded result was handed back
        async with store.reading() as tx:
            steps = await tx.find(JobStep, JobStep.job_id == number)
            assert [(row.name, row.position) for row in steps] == [
                (n, i) for i, n in enumerate(process.STEPS)
            ]


@pytest.mark.parametrize("place", ["first", "last", "after"])
async def test_what_is_written_behind_the_fence_is_written_once(
    store: Store, database_url: str, tmp_path: Path, place: str
) -> None:
    """kill -9 inside an open transaction, and right after the last one."""
    numbers = await enqueued(store, "test.effects", {"stall": place})
    async with a_worker(database_url, tmp_path, "first"):
        await until(stalled(tmp_path, numbers))
    (tmp_path / "go").touch()
    async with a_worker(database_url, tmp_path, "second"):
        await until_done(store, numbers)
    async with store.reading() as tx:
        rows = await tx.find(Job, Job.slot == "none")
    by = {"first": ["second", "second"], "last": ["first", "second"], "after": ["first", "first"]}[place]
    assert [(row.kind, row.worker) for row in rows] == list(zip(["first", "last"], by, strict=True))


async def test_a_stalled_worker_cannot_commit_after_another_took_over(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    """A process that slept beyond its lease (SIGSTOP) wakes up behind the fence."""
    numbers = await enqueued(store, "test.fenced", {})
    async with a_worker(database_url, tmp_path, "sleeper") as sleeper:
        await until(stalled(tmp_path, numbers))
        os.kill(sleeper.pid, signal.SIGSTOP)
        async with a_worker(database_url, tmp_path, "heir"):
            await until_done(store, numbers)
        (tmp_path / "go").touch()
        os.kill(sleeper.pid, signal.SIGCONT)
        log = tmp_path / "log"
        await until(lambda: "sleeper was refused" in log.read_text())
    said = log.read_text().splitlines()
    assert said[0] == f"{numbers[0]} heir wrote"
    assert said[1] in {f"{numbers[0]} sleeper was refused: {why}" for why in ("Fenced", "CancelledError")}
    async with store.reading() as tx:
        rows = await tx.find(Job, Job.slot == "none")
    assert [row.worker for row in rows] == ["heir"]
