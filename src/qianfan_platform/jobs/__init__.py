"""Durable work: jobs in our own database, run in recorded steps, under a lease with a fence.

                      enqueue                 claim: worker, lease, fence + 1
    (nothing) ───────────────────▶ waiting ─────────────────────────────────▶ running ──▶ done
                                    │  ▲                                       │ │ │
                                    │  └───────────────────────────────────────┘ │ ├──▶ failed
                    cancel: at once │    Retry · an attempt left · worker stops  │ │
                                    ▼                                            │ └──▶ cancelled
                                cancelled                         lease expired: ┘       (was asked to)
                                                                  claimed anew, running

A job is inserted in the transaction of its effect: both are there, or neither. A worker claims the oldest
waiting job of a free slot by one conditional UPDATE, renews its lease while it works, and everything it
writes checks the fence first: when another worker has taken the job over, it can change nothing.

    @jobs.job("datasets.release", on_failure=release_failed)
    async def release(step: Step, *, dataset_id: int) -> None:
        summary = await step("check", check, dataset_id)        # finished: never runs again
        async with step.transaction(last=True) as tx:           # this commit also makes the job done
            await operations.released(tx, dataset_id, summary)

What runs once and what may run again when a process is killed:

| call | after a crash |
| --- | --- |
| `await step("name", fn, ...)` | once when its result was recorded; the running one again, from its start |
| `await step.write("name", fn, ...)` | exactly once: `fn(tx, ...)` and its record are one commit |
| `async with step.transaction(last=True)` | exactly once: with it the job is done |
| `async with step.transaction()` | again, unless a later part has finished: write what may be repeated |
| plain code of the handler | again |
"""

from __future__ import annotations

from .definitions import Cancelled, Fenced, Retry, Unfit, job
from .queue import cancel, enqueue, waiting
from .step import Step
from .tables import Job, JobState, JobStep
from .worker import Worker

__all__ = [
    "Cancelled",
    "Fenced",
    "Job",
    "JobState",
    "JobStep",
    "Retry",
    "Step",
    "Unfit",
    "Worker",
    "cancel",
    "enqueue",
    "job",
    "waiting",
]
