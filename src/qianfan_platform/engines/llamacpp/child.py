"""The parent's side of the child process: start it, keep its last words, end it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque

from qianfan_platform.engines.llamacpp.server import Launch
from qianfan_platform.engines.protocol import EngineFailed


class Child:
    """A running server process. `port` is where it answers.

    A plain process with a thread for its log, not asyncio's: it must work in any event loop of any thread."""

    def __init__(self, process: subprocess.Popen[bytes], launch: Launch) -> None:
        self._process = process
        self._launch = launch
        self._log: deque[str] = deque(maxlen=40)
        self._reader = threading.Thread(target=self._read_log, name="llama.cpp log", daemon=True)
        self._reader.start()
        self.port = 0

    @classmethod
    async def start(cls, launch: Launch, *, timeout_s: float) -> Child:
        """The process, once it listens. Raises EngineFailed with its last log lines."""
        child = cls(await asyncio.to_thread(_spawn), launch)
        ready = asyncio.ensure_future(asyncio.to_thread(child._ready))
        try:
            child.port = await asyncio.wait_for(asyncio.shield(ready), timeout_s)
        except TimeoutError:
            await child.stop()
            raise EngineFailed(
                f"the model {child.model} did not load within {timeout_s:g} s{child.last_words()}"
            ) from None
        except BaseException:
            await asyncio.shield(child.stop())
            raise
        finally:
            with contextlib.suppress(Exception):
                await ready
        return child

    @property
    def model(self) -> str:
        """File name of the model."""
        return self._launch.model.rpartition("/")[2]

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

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

    async def stop(self) -> None:
        """End it and wait until it is gone. May be called again."""
        await asyncio.to_thread(self._stop)

    def _ready(self) -> int:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(self._launch.line())
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            process.wait()
            self._reader.join(timeout=2)
            raise EngineFailed(f"llama.cpp {self.ending()} while it loaded {self.model}{self.last_words()}")
        return int(json.loads(line)["port"])

    def _stop(self) -> None:
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()  # the polite way: the child ends when this closes
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


def _spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "qianfan_platform.engines.llamacpp.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class Pulse:
    """When something last came out of the engine. Clock: monotonic seconds."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def beat(self) -> None:
        self._last = time.monotonic()

    def age(self) -> float:
        """Seconds since the last beat; infinite before the first."""
        return time.monotonic() - self._last
