"""A training process: its pipes, its environment, whether it still lives, and in words how it died."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import psutil

from qianfan_platform.trainers.protocol import Event, OnEvent, Outcome, TrainSpec

STOP_WITHIN = 60.0  # seconds until a child that does not stop is killed
LOOK = 5.0  # seconds between two looks whether it lives
QUIET = 60.0  # seconds without a word and without computing, until that is told
HUNG = 600.0  # the same until it is killed
HUNG_AT_STOP = 10.0  # the same when it was asked to stop
AT_WORK = 0.01  # of a processor: what computes less does nothing
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


class Child:
    """A running training process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, events: int, orders: int, result: Path) -> None:
        self.process, self.events, self.orders, self.result = process, events, orders, result
        self.tail: deque[str] = deque(maxlen=8)  # the last lines of the libraries' output
        self.last: Event = {}
        self.final: Event | None = None
        self.asked_to_stop = False
        self.heard = 0  # events and output so far
        self.telling = 0  # of them, those that are being handed on
        self.hung = 0.0  # seconds, when it was killed for that

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
        aside = (
            asyncio.create_task(self.stop_when(stop)),
            asyncio.create_task(self.look_for_life(on_event)),
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.read_events(on_event))
                group.create_task(self.read_output(on_event))
            code = await self.process.wait()
        except BaseExceptionGroup as raised:  # of on_event: the caller knows it better than the group
            raise raised.exceptions[0] from None
        finally:
            for task in aside:
                task.cancel()
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
                await self.hand_on(event, on_event)
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
                    await self.hand_on({"kind": "log", "level": "debug", "text": line[:500]}, on_event)
                elif count == LOG_LINES + 1:
                    text = "more output is left out"
                    await self.hand_on({"kind": "log", "level": "warning", "text": text}, on_event)

    async def hand_on(self, event: Event, on_event: OnEvent) -> None:
        """Tell `on_event`; while that takes its time the child waits for us, not we for it."""
        self.heard += 1
        self.telling += 1
        try:
            await on_event(event)
        finally:
            self.telling -= 1

    async def look_for_life(self, on_event: OnEvent) -> None:
        """Tell of a child that neither says anything nor computes, and kill it in the end.

        A step of a big model may say nothing for an hour, but it computes."""
        loop = asyncio.get_running_loop()
        heard, computed, alive, told = -1, 0.0, loop.time(), False
        while True:
            await asyncio.sleep(LOOK)
            try:
                times = psutil.Process(self.process.pid).cpu_times()
            except psutil.Error:
                return  # it is gone
            used = times.user + times.system
            if self.telling or self.heard != heard or used - computed > AT_WORK * LOOK:
                heard, computed, alive, told = self.heard, used, loop.time(), False
                continue
            quiet = loop.time() - alive
            if quiet >= (HUNG_AT_STOP if self.asked_to_stop else HUNG):
                self.hung = quiet
                self.kill()
                return
            if quiet >= QUIET and not told:
                told = True
                text = (
                    f"the training process has said nothing and computed nothing for {quiet:.0f} s; "
                    f"after {HUNG:.0f} s it is killed and begun again at its last checkpoint"
                )
                await on_event({"kind": "log", "level": "warning", "text": text})

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
        if self.hung:
            return f"the training process hung: it did nothing for {self.hung:.0f} s{at}{said}"
        if code >= 0:
            return f"the training process ended with code {code}{at}{said}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if name == "SIGKILL":
            name += ", most likely because the machine ran out of memory"
        return f"the training process was killed ({name}){at}{said}"

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, and not its own will or ours to stop it."""
        code = self.process.returncode
        return code is not None and code < 0 and self.final is None and not self.asked_to_stop

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
        # oneDNN keeps a kernel for every shape of a batch it met, a MiB each, and would keep a thousand of them.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # repeatable arithmetic on a GPU
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    }
