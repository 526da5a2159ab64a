"""The parent's side of an engine's child process: start it, keep its last words, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any, Final, TypeVar

import psutil

from qianfan_platform.engines.protocol import EngineFailed

LOOK_S: Final = 0.2  # between two looks at a process that does not answer
HELD_S: Final = 2.5  # a process that is held for so long while it starts is given up
SILENT_S: Final = 30.0  # likewise one that does not compute; waiting for a disk is no hang
STOPPED: Final = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


T = TypeVar("T")


class Child:
    """A running process of ours. `said` is the JSON object that it printed when it was ready.

    It is told one line on stdin, prints one line on stdout when it is ready, and ends when stdin closes. A plain
    process with a thread for its log, not asyncio's: it must work in any event loop of any thread."""

    def __init__(self, module: str, what: str, env: Mapping[str, str] | None = None) -> None:
        self.what = what
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        self._log: deque[str] = deque(maxlen=40)
        self._told: list[Callable[[], None]] | None = []  # None once it has ended
        self._telling = threading.Lock()
        self._reader = threading.Thread(target=self._read_log, name=f"log of {what}", daemon=True)
        self._reader.start()
        self.said: dict[str, Any] = {}

    @classmethod
    async def start(
        cls, module: str, line: bytes, what: str, *, timeout_s: float, env: Mapping[str, str] | None = None
    ) -> Child:
        """The process, once it said that it is ready. Raises EngineFailed with its last log lines.

        module: what Python runs. line: what it is told. what: how errors name it."""
        making = asyncio.ensure_future(asyncio.to_thread(cls, module, what, env))
        try:
            child = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_end_unwanted)
            raise
        ready = asyncio.ensure_future(asyncio.to_thread(child._ready, line))
        try:
            async with asyncio.timeout(timeout_s):
                child.said = await child.starting(asyncio.shield(ready))
        except TimeoutError:
            child.kill()
            await child.stop()
            raise EngineFailed(f"{what} did not load within {timeout_s:g} s{child.last_words()}") from None
        except BaseException:
            await asyncio.shield(child.stop())
            raise
        finally:
            with contextlib.suppress(Exception):
                await ready
        return child

    async def starting(self, work: Awaitable[T]) -> T:
        """What `work` gives, which is a part of the start. Nobody asks a process that starts whether it lives: when
        it is held, or neither computes nor reads, it is killed, and EngineFailed is raised."""
        doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait([doing, watching], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            return await doing
        finally:
            for task in (doing, watching):
                task.cancel()
            await asyncio.gather(doing, watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Return when the process has ended. Raises EngineFailed when it hangs, and kills it."""
        last, before = time.monotonic(), self._seconds_of_work()
        while self.alive():
            await asyncio.sleep(LOOK_S)
            now = self._seconds_of_work()
            if now is None or before is None or now > before:
                last = time.monotonic()
            before, stopped = now, self.stopped()
            if time.monotonic() - last >= (HELD_S if stopped else SILENT_S):
                self.kill()
                what = "was stopped" if stopped else "did not compute"
                raise EngineFailed(f"the process {what} while it loaded {self.what}{self.last_words()}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Where it reads."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Where it writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    def alive(self) -> bool:
        return self._process.poll() is None

    def on_end(self, told: Callable[[], None]) -> None:
        """Have `told` called when the process ends, from a thread; now when it has."""
        with self._telling:
            if self._told is not None:
                self._told.append(told)
                return
        told()

    async def stirs(self, timeout_s: float) -> None:
        """Return when the process computes, or waits for a disk, within `timeout_s`; else EngineFailed."""
        until, before = time.monotonic() + timeout_s, self._seconds_of_work()
        while True:
            await asyncio.sleep(min(LOOK_S, timeout_s))
            now = self._seconds_of_work()
            if now is None or before is None or now > before:
                return
            if time.monotonic() >= until:
                stopped = " (it is stopped)" if self.stopped() else ""
                raise EngineFailed(
                    f"{self.what} neither answered nor computed for {timeout_s:g} s{stopped}{self.last_words()}"
                )

    def stopped(self) -> bool:
        """True while a signal or a debugger holds it."""
        try:
            return psutil.Process(self._process.pid).status() in STOPPED
        except psutil.Error:
            return False

    def _seconds_of_work(self) -> float | None:
        """Processor time so far; None when it cannot be told, or when a disk is waited for."""
        try:
            process = psutil.Process(self._process.pid)
            if process.status() == psutil.STATUS_DISK_SLEEP:
                return None
            times = process.cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def last_words(self) -> str:
        """The end of its log, ready to follow a sentence; empty when it said nothing."""
        lines = list(self._log)[-8:]
        return "; its last log lines:\n  " + "\n  ".join(lines) if lines else ""

    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.poll()
        if code is None:
            return "is running"
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def kill(self) -> None:
        """End it at once, without waiting."""
        self._process.kill()

    def settle(self, timeout_s: float = 1.0) -> None:
        """Wait, in a thread, for the end of a process whose pipe just closed: it follows a moment later."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    async def stop(self) -> None:
        """End it and wait until it is gone. May be called again."""
        await asyncio.to_thread(self._stop)

    def _ready(self, line: bytes) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(line)
            self.stdin.flush()
        said = self.stdout.readline()
        if not said:
            self._process.wait()
            self._reader.join(timeout=2)
            raise EngineFailed(f"the process {self.ending()} while it loaded {self.what}{self.last_words()}")
        return dict(json.loads(said))

    def _stop(self) -> None:
        process = self._process
        with contextlib.suppress(OSError):
            self.stdin.close()  # the polite way: the child ends when this closes
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(timeout=2)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _read_log(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(ValueError, OSError):  # closed under us
            for raw in stream:
                line = raw.decode(errors="replace").rstrip()
                if line:
                    self._log.append(line[:500])
        self._process.wait()  # its log ends a moment before it
        with self._telling:
            told, self._told = self._told or [], None
        for each in told:
            with contextlib.suppress(RuntimeError):  # the event loop of who is told has ended
                each()


def _end_unwanted(making: asyncio.Future[Child]) -> None:
    """A process that was made for somebody who is gone."""
    if not making.cancelled() and making.exception() is None:
        child = making.result()
        child.kill()
        threading.Thread(target=child._stop, name=f"end of {child.what}", daemon=True).start()


class InChild:
    """What engines with a process of their own have in common: `_child` is it."""

    _child: Child

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def working(self) -> bool:
        """True while something is asked of the child."""
        raise NotImplementedError

    async def stirs(self, timeout_s: float) -> None:
        """Return when nothing is asked of the child and it is not held, or it computes; else EngineFailed."""
        if self.working or self._child.stopped():
            await self._child.stirs(timeout_s)

    def on_end(self, told: Callable[[], None]) -> None:
        """Have `told` called when the process ends, at once, from a thread."""
        self._child.on_end(told)

    def kill(self) -> None:
        """End the process without waiting; a hung one, too."""
        self._child.kill()


class Pulse:
    """When something last came out of the engine. Clock: monotonic seconds."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def beat(self) -> None:
        self._last = time.monotonic()

    def age(self) -> float:
        """Seconds since the last beat; infinite before the first."""
        return time.monotonic() - self._last
