"""What a process of its own (`jobs.children`) does for its starter: tell lines, and end when the starter does.

It imports nothing heavy, so that such a process begins at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import orjson


def end_with_the_starter() -> None:
    """In such a process: end it, and all of its session, when the starter is gone or closes its standard input."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would be copied into processes of a pool
        pass
    os.killpg(0, signal.SIGKILL)  # it was started in a session of its own


def tell(what: dict[str, Any]) -> None:
    """In such a process: one line for the starter."""
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()
