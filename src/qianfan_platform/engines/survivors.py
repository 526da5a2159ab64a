"""Processes that outlived an earlier server: the next one on the same data folder ends them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "QIANFAN_STARTED_FOR"  # environment variable of a server's children: of which data folder
OURS: Final = "qianfan_platform."  # the beginning of the modules that they run


def mark_children(data: Path) -> str:
    """From now on children of this process are marked as of a server on `data`, which is there. Returns the mark."""
    folder = data.stat()  # containers may have other folders of the same name
    os.environ[MARK] = mark = f"{data} {folder.st_dev} {folder.st_ino}"
    return mark


def end_survivors(mark: str, born: float) -> list[int]:
    """Kill what an earlier server has left, and return the process ids.

    A child that was stopped before it came to `die_with_parent` stays for ever. born: when this server was, by the
    clock of processes: what is older and has its mark is nobody's, for only one server works on a data folder."""
    ended = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.create_time() >= born or not any(word.startswith(OURS) for word in process.cmdline()):
                continue
            if process.environ().get(MARK) == mark:
                process.kill()
                ended.append(process.pid)
    return ended
