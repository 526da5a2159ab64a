"""The server's side of sinks: a process for each, so that none can slow, break or fill the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.protocol import Event, OnEvent, TrainSpec
from qianfan_platform.trainers.sinks.protocol import figures

FINISH_WITHIN = 30.0  # seconds until a sink that does not end is killed
WAITING_AT_MOST = 8 << 20  # bytes of events that a slow sink may leave unread


class Sinks:
    """The sinks of one run. What fails is told once as a `log` event, and is then left out."""

    def __init__(self, wanted: Sequence[str], spec: TrainSpec, on_event: OnEvent) -> None:
        """wanted: "NAME" or "NAME=TARGET"."""
        self.wanted, self.spec, self.on_event = wanted, spec, on_event
        self.running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        for number, one in enumerate(self.wanted):
            name, _, target = one.partition("=")
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "qianfan_platform.trainers.sinks"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=environment(),
                    start_new_session=True,
                )
            except OSError as error:
                await self.tell(name, f"no process could be started ({error.strerror})")
                continue
            self.running[f"{name} {number}"] = process
            self.send(process, told(name, target, self.spec, self.spec.work / "sinks" / f"{name}-{number}"))

    async def take(self, event: Event) -> None:
        """Hand on an event that has figures. Never waits for a sink."""
        if not figures(event):
            return
        for name, process in list(self.running.items()):
            assert process.stdin is not None
            if process.stdin.is_closing() or process.returncode is not None:
                await self.give_up(name)
            elif process.stdin.transport.get_write_buffer_size() > WAITING_AT_MOST:
                await self.give_up(name, "it takes too long")
            else:
                self.send(process, event)

    async def finish(self, status: str) -> None:
        """Tell how the run ended, and wait, within bounds, until all have written it."""
        await asyncio.gather(
            *(self.end_of(name, process, status) for name, process in [*self.running.items()])
        )

    async def end_of(self, name: str, process: asyncio.subprocess.Process, status: str) -> None:
        assert process.stdin is not None
        self.send(process, {"kind": "end", "status": status})
        with contextlib.suppress(OSError, RuntimeError):
            process.stdin.write_eof()
        try:
            code = await asyncio.wait_for(process.wait(), FINISH_WITHIN)
        except TimeoutError:
            await self.give_up(name, f"it did not end within {FINISH_WITHIN:g} s")
        else:
            if code:
                await self.give_up(name)

    async def give_up(self, name: str, why: str = "") -> None:
        """Tell of a sink that failed, by what it said last if it said anything."""
        process = self.running.pop(name)
        kill(process)
        assert process.stdout is not None
        said = await process.stdout.read()
        await process.wait()
        with contextlib.suppress(ValueError):
            why = why or json.loads(said)["failed"]
        await self.tell(name.split()[0], why or "its process died")

    async def tell(self, name: str, why: str) -> None:
        text = f"the train sink {name} is left out from here on: {why}"
        await self.on_event({"kind": "log", "level": "warning", "text": text})

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.running.values():
            kill(process)

    @staticmethod
    def send(process: asyncio.subprocess.Process, plain: dict[str, Any]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):  # it is gone; its end is told elsewhere
            process.stdin.write(json.dumps(plain).encode() + b"\n")


def kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def told(name: str, target: str, spec: TrainSpec, folder: Path) -> dict[str, Any]:
    """The first line to a sink."""
    names = ("mode", "method", "seed", "dtype", "threads", "held_out")
    facts = {name: getattr(spec, name) for name in names} | {"base": spec.base.name} | asdict(spec.hyper)
    return {"name": name, "target": target, "run": spec.work.name, "facts": facts, "folder": str(folder)}


def environment() -> dict[str, str]:
    """A sink's environment: its own library's credentials, and none of the platform's."""
    ours = str(Path(__file__).parents[3])
    others = [str(Path(p).absolute()) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QIANFAN_")}
    return kept | {"PYTHONPATH": os.pathsep.join([ours, *others])}
