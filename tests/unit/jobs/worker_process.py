"""A worker in a process of its own, to be killed or stopped: worker_process.py URL FOLDER NAME LEASE_S.

Each job writes what it does to FOLDER/log, one line each. Where the job's `stall` says so, the first process
that comes by leaves FOLDER/stalled-<job> and waits there for FOLDER/go.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from qianfan_platform import jobs
from qianfan_platform.jobs import Job, Step, Worker
from qianfan_platform.store import Store, Tx, utc_now

STEPS = ("one", "two", "three", "four")


class Here:
    """What the handlers of this process know: where to write, and under which name."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def say(self, job: int, what: str) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(f"{job} {self.name} {what}\n")

    def stall(self, job: int) -> None:
        """Block the whole process, once for each job."""
        mark = self.folder / f"stalled-{job}"
        if not mark.exists():
            mark.touch()
            while not (self.folder / "go").exists():
                time.sleep(0.01)

    async def wait(self, job: int) -> None:
        """The same, but only for this job."""
        mark = self.folder / f"stalled-{job}"
        if not mark.exists():
            mark.touch()
            while not (self.folder / "go").exists():
                await asyncio.sleep(0.01)


@jobs.job("test.walk")
async def walk(step: Step, *, stall: str) -> None:
    here: Here = step.platform

    async def part(name: str) -> str:
        here.say(step.job_id, f"{name} begins")
        if name == stall:
            await here.wait(step.job_id)
        here.say(step.job_id, f"{name} ends")
        return f"{name} by {here.name}"

    for name in STEPS:
        result = await step(name, part, name)
        here.say(step.job_id, f"{name}: {result}")
    if stall == "after":
        await here.wait(step.job_id)


@jobs.job("test.effects")
async def effects(step: Step, *, stall: str) -> None:
    here: Here = step.platform
    await step.write("first", effect, step, "first", stall)
    async with step.transaction(last=True) as tx:
        await effect(tx, step, "last", stall)
    if stall == "after":
        here.stall(step.job_id)


async def effect(tx: Tx, step: Step, name: str, stall: str) -> None:
    row = Job(owner_id=step.owner, kind=name, args={}, slot="none", run_after=utc_now())
    row.worker = step.platform.name
    await tx.add(row)
    if name == stall:
        step.platform.stall(step.job_id)


@jobs.job("test.fenced")
async def fenced(step: Step) -> None:
    here: Here = step.platform
    try:
        here.stall(step.job_id)
        await step.write("only", effect, step, "only", "")
        here.say(step.job_id, "wrote")
    except BaseException as error:
        here.say(step.job_id, f"was refused: {type(error).__name__}")
        raise


async def main(url: str, folder: str, name: str, lease_s: str) -> None:
    store = await Store.open(url)
    worker = Worker(store, Here(Path(folder), name), name=name, lease_s=float(lease_s), slots={"general": 5})
    await worker.start()
    await asyncio.sleep(60)  # nobody is left behind when the test dies


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
