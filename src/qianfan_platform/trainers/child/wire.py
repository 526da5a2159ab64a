"""The two pipes to the server: events go out, orders come in."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from typing import Any


class Refused(Exception):
    """The run cannot go on, for a reason the user can read and mend."""


class Stopped(Exception):
    """The server asked the run to stop."""


class Events:
    """JSON lines to the server. A server that is gone ends the process."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lock = threading.Lock()

    def send(self, kind: str, **facts: Any) -> None:
        """One event; numbers that JSON cannot hold become null."""
        line = json.dumps(plain({"kind": kind, **facts}), ensure_ascii=False) + "\n"
        data = line.encode()
        with self.lock:
            try:
                while data:
                    data = data[os.write(self.descriptor, data) :]
            except BrokenPipeError:
                os._exit(3)

    def log(self, text: str, level: str = "info") -> None:
        self.send("log", level=level, text=text)

    def warn(self, text: str) -> None:
        self.log(text, "warning")


def plain(value: Any) -> Any:
    """`value` with NaN and infinity as None, paths as text, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Orders:
    """Listens on the control pipe in a thread of its own, from before torch is loaded.

    "stop" sets a flag that the loop looks at between micro-batches. The end of the pipe means that the
    server is gone: the process ends at once, without a word and without a half-written file, because
    every file is written beside its place and then renamed."""

    def __init__(self, descriptor: int, events: Events) -> None:
        self.stopping = threading.Event()
        self.preparing = True  # nothing is trained yet: a stop ends the process at once
        self.descriptor, self.events = descriptor, events
        threading.Thread(target=self.listen, name="orders", daemon=True).start()

    def listen(self) -> None:
        while order := os.read(self.descriptor, 64):
            if b"stop" in order:
                self.stopping.set()
                if self.preparing:
                    self.events.send("stopped", step=0)
                    os._exit(0)
        sys.stderr.flush()
        os._exit(3)

    def begin(self) -> None:
        """From here on a stop waits for `check`, so that there is a checkpoint. Raises Stopped."""
        self.preparing = False
        self.check()

    def check(self) -> None:
        """Raises Stopped when the server asked for it."""
        if self.stopping.is_set():
            raise Stopped
