"""Training in a child process: start it, listen to it, stop it, and say in words how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qianfan_platform.trainers.protocol import Event, OnEvent, Outcome, TrainSpec
from qianfan_platform.trainers.sinks.host import Sinks
from qianfan_platform.trainers.sinks.tensorboard import Curves

NEEDED = ("torch", "transformers", "peft", "safetensors", "psutil")
STOP_WITHIN = 60.0  # seconds until a child that does not stop is killed
LOG_LINES = 2000  # of libraries' output that become events; the rest is left out
LINE_BYTES = 1 << 20  # the longest event
PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
)
PASSED_ON_BEGINNINGS = ("LC_", "LD_", "DYLD_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "COV_")


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
    same spec goes on from its last checkpoint later. Never raises for what the child does.

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
        child = await Child.start(spec, spec_file)
        try:
            outcome = await child.watch(tell, stop)
        finally:
            await child.end()
        await others.finish(outcome.status)
        return outcome
    finally:
        drawn.close()
        others.end()


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


class Child:
    """A running training process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, events: int, orders: int, result: Path) -> None:
        self.process, self.events, self.orders, self.result = process, events, orders, result
        self.tail: deque[str] = deque(maxlen=8)  # the last lines of the libraries' output
        self.last: Event = {}
        self.final: Event | None = None
        self.asked_to_stop = False

    @classmethod
    async def start(cls, spec: TrainSpec, spec_file: Path) -> Child:
        events_from, events_to = os.pipe()
        orders_from, orders_to = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "qianfan_platform.trainers.child"),
                *(str(spec_file), str(events_to), str(orders_from)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(events_to, orders_from),
                cwd=spec.work,
                env=environment(os.environ, spec.threads),
                start_new_session=True,
                limit=LINE_BYTES,
            )
        except BaseException:
            os.close(events_from)
            os.close(orders_to)
            raise
        finally:
            os.close(events_to)
            os.close(orders_from)
        return cls(process, events_from, orders_to, spec.work / "result")

    async def watch(self, on_event: OnEvent, stop: asyncio.Event) -> Outcome:
        """Hand on every event until both pipes are at their end and the process is gone."""
        stopper = asyncio.create_task(self.stop_when(stop))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.read_events(on_event))
                group.create_task(self.read_output(on_event))
            code = await self.process.wait()
        except BaseExceptionGroup as raised:  # of on_event: the caller knows it better than the group
            raise raised.exceptions[0] from None
        finally:
            stopper.cancel()
        return self.outcome(code)

    async def read_events(self, on_event: OnEvent) -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        pipe = os.fdopen(self.events, "rb", 0)
        self.events = -1
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                event: Event = json.loads(line)
                if event["kind"] in ("finished", "failed", "stopped"):
                    self.final = event
                elif event["kind"] == "step":
                    self.last = event
                await on_event(event)
        finally:
            transport.close()

    async def read_output(self, on_event: OnEvent) -> None:
        """What libraries print becomes `log` events, up to a bound."""
        assert self.process.stdout is not None
        count = 0
        while chunk := await self.process.stdout.read(1 << 16):
            for line in chunk.decode(errors="replace").replace("\r", "\n").splitlines():
                if not line.strip():
                    continue
                self.tail.append(line[:500])
                count += 1
                if count <= LOG_LINES:
                    await on_event({"kind": "log", "level": "debug", "text": line[:500]})
                elif count == LOG_LINES + 1:
                    await on_event({"kind": "log", "level": "warning", "text": "more output is left out"})

    async def stop_when(self, stop: asyncio.Event) -> None:
        """Pass a stop on; a child that does not obey in time is killed."""
        await stop.wait()
        self.asked_to_stop = True
        with contextlib.suppress(OSError):
            os.write(self.orders, b"stop\n")
        await asyncio.sleep(STOP_WITHIN)
        self.kill()

    def outcome(self, code: int) -> Outcome:
        final = self.final or {"kind": "silent"}
        match final["kind"]:
            case "finished":
                return Outcome("finished", result=self.result, last=final)
            case "stopped":
                return Outcome("stopped", last=final)
            case "failed":
                return Outcome("failed", reason=final["reason"], last=self.last)
        if self.asked_to_stop:
            return Outcome("stopped", last=self.last)
        return Outcome("failed", reason=self.death(code), last=self.last)

    def death(self, code: int) -> str:
        """Why a child is gone that said nothing."""
        at = (
            f" after step {self.last['step']} of {self.last['steps']}"
            if self.last
            else " before the first step"
        )
        said = f"; its last words: {' | '.join(self.tail)}" if self.tail else ""
        if code >= 0:
            return f"the training process ended with code {code}{at}{said}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if name == "SIGKILL":
            name += ", most likely because the machine ran out of memory"
        return f"the training process was killed ({name}){at}{said}"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Close the pipes; what still runs is killed."""
        os.close(self.orders)
        if self.events >= 0:
            os.close(self.events)
        if self.process.returncode is None:
            self.kill()
            await asyncio.shield(self.process.wait())


def environment(outer: Mapping[str, str], threads: int) -> dict[str, str]:
    """The child's environment: no credential of the server's, no network, a fixed number of threads."""
    kept = {
        name: value
        for name, value in outer.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_BEGINNINGS)
    }
    ours = str(Path(__file__).parents[2])
    others = [str(Path(p).absolute()) for p in outer.get("PYTHONPATH", "").split(os.pathsep) if p]
    return kept | {
        "PYTHONPATH": os.pathsep.join([ours, *others]),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # Threads that wait by spinning cost four times the time as soon as anything else runs here.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        # Every step asks for the same big blocks; glibc would give them back to the system each time.
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # repeatable arithmetic on a GPU
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    }
