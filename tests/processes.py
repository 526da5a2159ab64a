"""Looking at processes from tests."""

from __future__ import annotations

import contextlib

import psutil


def family(part: str, root: int | None = None) -> list[psutil.Process]:
    """The descendants of `root` (default: of this process) with `part` in their command line."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end while we look
            if any(part in word for word in process.cmdline()):
                found.append(process)
    return found


def lives(process: psutil.Process) -> bool:
    """False when it has ended, also where nobody has taken note of that yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
