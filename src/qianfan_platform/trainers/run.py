"""Training in a child process: from its start to its end, and on again when it was killed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qianfan_platform.trainers.process import Child, environment
from qianfan_platform.trainers.protocol import Event, OnEvent, Outcome, TrainSpec
from qianfan_platform.trainers.sinks.host import Sinks
from qianfan_platform.trainers.sinks.tensorboard import Curves

NEEDED = ("torch", "transformers", "peft", "safetensors", "psutil")
RESTARTS = 5  # of a process that was killed, as long as each gets further than the one before


def missing() -> str | None:
    """What of the `train` extra is not installed, e.g. "torch, peft"; None when all is there."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return ", ".join(absent) or None


async def run(
    spec: TrainSpec,
    on_event: OnEvent,
    stop: asyncio.Event,
    *,
    sinks: Sequence[str] = (),
) -> Outcome:
    """Train in a child process until it ends; each event is awaited in order.

    Setting `stop` ends the run within seconds, with a checkpoint. Cancelling kills the child, and the
    same spec goes on from its last checkpoint later. A child that is killed by others, or that hangs, is
    begun again at its last checkpoint, and ends with the same bits. Never raises for what the child does.

    sinks: where its figures go besides, "NAME" or "NAME=TARGET" each (see sinks.protocol). TensorBoard files
    are written to "tensorboard" in its work folder."""
    absent = missing()
    if absent:
        return Outcome("failed", reason=f"training needs {absent}: pip install 'open-qianfan[train]'")
    spec = absolute(spec)  # the child stands in its work folder
    spec_file = spec.work / "spec.json"
    try:
        spec.work.mkdir(parents=True, exist_ok=True)
        spec_file.write_text(json.dumps(spec.to_json(), indent=1), encoding="utf-8")
    except OSError as error:
        return Outcome("failed", reason=f"the run's folder cannot be written ({error.strerror})")
    drawn = Curves(spec.work / "tensorboard")
    others = Sinks(sinks, spec, on_event)

    async def tell(event: Event) -> None:
        drawn.take(event)
        await others.take(event)
        await on_event(event)

    try:
        await others.start()
        outcome = await lives(spec, spec_file, tell, stop)
        await others.finish(outcome.status)
        return outcome
    finally:
        drawn.close()
        others.end()


async def lives(spec: TrainSpec, spec_file: Path, tell: OnEvent, stop: asyncio.Event) -> Outcome:
    """One process after another until the run has ended: one that was killed goes on from its last checkpoint.

    One that gets no further than the one before, or that says itself why it ends, is the last."""
    furthest, restarts = -1, 0
    while True:
        child = await Child.start(spec, spec_file)
        try:
            outcome = await child.watch(tell, stop)
        finally:
            await child.end()
        reached = child.last.get("step", 0)
        if not child.killed or stop.is_set() or restarts == RESTARTS or reached <= furthest:
            return outcome
        furthest, restarts = reached, restarts + 1
        text = f"{outcome.reason}; it goes on from its last checkpoint"
        await tell({"kind": "log", "level": "warning", "text": text})


async def export(work: Path, step: int, out: Path) -> str | None:
    """Make a result folder `out` of a checkpoint that a run has kept; in words why not, else None.

    work: the folder of the run, with its spec.json, and its base and rows where they were."""
    command = (sys.executable, "-P", "-m", "qianfan_platform.trainers.child.export")
    process = await asyncio.create_subprocess_exec(
        *(*command, str(work.absolute() / "spec.json"), str(step), str(out.absolute())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(os.environ, json.loads((work / "spec.json").read_bytes())["threads"]),
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    lines = said.decode(errors="replace").strip().splitlines()
    with contextlib.suppress(ValueError, IndexError, TypeError, AttributeError):
        failed: str | None = json.loads(lines[-1]).get("failed")
        return failed
    return f"the process ended with code {process.returncode}: {lines[-1][:300] if lines else 'no word'}"


def absolute(spec: TrainSpec) -> TrainSpec:
    """The same spec with paths that hold from anywhere."""
    names = ("base", "rows", "work", "start_from", "resume_from", "cache")
    paths = {name: path and path.absolute() for name in names for path in [getattr(spec, name)]}
    return replace(spec, **paths)
