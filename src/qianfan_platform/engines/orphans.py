"""For the child's side of an engine: never to outlive the server."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies; Linux only.

    Every child ends when its stdin closes, but one that is stopped (SIGSTOP) cannot see that. The parent is the
    thread that started it: threads of an event loop's pool live as long as the loop. A parent that died before
    this was called is told by its end of our stdin, where that is a pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        stdin = select.poll()
        stdin.register(0, select.POLLHUP)
        if any(event & select.POLLHUP for _, event in stdin.poll(0)):
            os._exit(0)  # nobody is left to read another code
