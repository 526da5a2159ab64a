"""A run's report: what the trainer says, kept line by line and summed up for whoever looks."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from qianfan_platform.datasets import trainable
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.store import Store, utc_now

from . import estimates
from .tables import TrainLine, TrainRun

log = logging.getLogger("qianfan_platform.training")
Line = tuple[int, datetime, dict[str, Any]]  # number, moment, event
FLUSH_S: Final = 0.5  # lines are written in one transaction at least this often
KEPT: Final = frozenset(
    {"log", "step", "eval", "checkpoint", "ledger", "plan", "finished", "failed", "stopped"}
)


class Report:
    """Collects a trainer's events; `flush` writes them and the newest figures in one transaction."""

    def __init__(self, store: Store, run_id: int, n: int, live: dict[str, Any], parts: Sequence[Any]) -> None:
        self._store, self._run_id, self._n = store, run_id, n
        self._live, self._parts = live, parts
        self._lines: list[Line] = []
        self._phase = "preparing"
        self._noted = ""
        self._changed = False
        self._warnings: list[str] = []
        self._estimate: dict[str, Any] | None = None
        self._happened: dict[str, Any] | None = None
        self._writing = asyncio.Lock()
        self._write: asyncio.Task[None] | None = None  # held here, or it could be collected in the middle

    @classmethod
    async def open(cls, store: Store, run_id: int, parts: Sequence[Any] = ()) -> Report:
        """Continue the report where it stands."""
        async with store.reading() as tx:
            n = await tx.count(TrainLine, TrainLine.run_id == run_id)
            run = await tx.one(TrainRun, run_id)
        return cls(store, run_id, n, dict(run.live), parts)

    def note(self, text: str, done: float | None = None) -> None:
        """Tell what goes on before training; a line of the log only when the text is a new one. done: 0–1."""
        if text != self._noted:
            self._noted = text
            self._add({"kind": "log", "level": "info", "text": text})
        self._live["note"] = text if done is None else f"{text} {done:.0%}"
        self._changed = True

    async def take(self, event: dict[str, Any]) -> None:
        """Take one event of the trainer."""
        if event.get("kind") == "plan" and event.get("estimate"):
            async with self._store.reading() as tx:
                run = await tx.one(TrainRun, self._run_id)
                event = {**event, "estimate": await estimates.corrected(tx, run, event["estimate"])}
        self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        kind = event.get("kind")
        if kind not in KEPT:
            return
        self._n += 1
        self._lines.append((self._n, utc_now(), event))
        if kind in ("step", "eval", "plan", "ledger", "finished"):
            self._live[kind] = {key: value for key, value in event.items() if key != "kind"}
            if kind in ("step", "eval"):
                self._live.setdefault(f"first_{kind}", self._live[kind])
        if kind == "checkpoint":
            self._keep_checkpoint(event)
        elif kind == "ledger":
            self._live["note"] = "measuring time and memory"
        elif kind == "step":
            self._phase = "training"
        elif kind == "plan" and not event.get("resumed_step"):
            self._estimate = event.get("estimate")
        elif kind == "finished":
            self._phase = "saving"
            took = event.get("took") or event
            self._happened = {name: took.get(name) for name in ("seconds", "memory_mib")}
        elif kind == "log" and event.get("level") == "warning":
            self._warnings.append(str(event.get("text", "")))

    def _keep_checkpoint(self, event: dict[str, Any]) -> None:
        """The losses at the checkpoints that are there now, by step."""
        known = {**self._live.get("checkpoints", {}), str(event["step"]): {"loss": event.get("loss")}}
        there = {str(step) for step in event.get("checkpoints") or known}
        self._live["checkpoints"] = {step: figures for step, figures in known.items() if step in there}

    async def keep_flushing(self) -> None:
        """Flush for ever; cancel to end it. A database that cannot be written now is tried again."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except Exception as error:
                why = reason_of(error).partition("\n")[0]  # what follows is the statement, with its rows
                log.warning("the report of run %s cannot be written now: %s", self._run_id, why)

    async def flush(self) -> None:
        """Write what has come since the last flush.

        Cancelling leaves the write going on: half of it would lose lines. The next flush waits for it."""
        self._write = asyncio.create_task(self._flush())
        await asyncio.shield(self._write)

    async def _flush(self) -> None:
        async with self._writing:
            lines, warnings = list(self._lines), list(self._warnings)
            if not lines and not self._changed:
                return
            self._changed = False
            try:
                await self._store_away(lines, warnings)
            except BaseException:
                self._changed = True  # nothing is lost: the next flush brings it all
                raise
            del self._lines[: len(lines)], self._warnings[: len(warnings)]

    async def _store_away(self, lines: Sequence[Line], warnings: Sequence[str]) -> None:
        async with self._store.transaction() as tx:
            for n, at, event in lines:
                await tx.add(TrainLine(run_id=self._run_id, n=n, at=at, event=event))
            run = await tx.one(TrainRun, self._run_id)
            run.live = dict(self._live)
            if run.status == "Running":
                run.phase = self._phase
            run.estimate = run.estimate or self._estimate
            # Of a run that began in the middle the time says nothing of a whole one.
            if run.estimate and self._happened and run.resumes is None:
                run.happened = self._happened
            fresh = [text for text in warnings if text not in run.warnings]
            if fresh:
                run.warnings = [*run.warnings, *fresh]

    def in_words_of_the_data(self, reason: str) -> str:
        """`reason` with "sample 7" told as the line of the dataset it came from, where that is another number."""
        if len(self._parts) < 2 and all(part.get("rate", 1) == 1 for part in self._parts):
            return reason

        def told(found: re.Match[str]) -> str:
            place = trainable.origin(self._parts, int(found[1]))
            if place is None:
                return found[0]
            part, line = place
            return f"sample {found[1]} (line {line} of dataset {part['dataset']}, {part['name']})"

        return re.sub(r"sample (\d+)", told, reason)
