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
