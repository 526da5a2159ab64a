"""How many engines of one set of weights this machine can take: a processor for each, and memory to spare."""

from __future__ import annotations

from typing import Final

import psutil

from qianfan_platform.engines.llamacpp.engine import cores

SPARE_MIB: Final = 512  # memory that another engine must leave free


def room_for(wanted: int, running: int, pid: int) -> tuple[int, str]:
    """(how many may run, why not more); of those that run none is taken away for want of memory.

    pid: of one that runs, by which the others are measured; 0: there is none."""
    most, why = max(1, min(wanted, cores())), f"this machine has {cores()} processors"
    if most > running and pid:
        try:
            each = psutil.Process(pid).memory_info().rss / 2**20
        except psutil.Error:
            each = 0.0
        spare = max(0.0, psutil.virtual_memory().available / 2**20 - SPARE_MIB)
        fit = max(1, running + int(spare // max(each, 1)))
        if fit < most:
            most, why = fit, f"each takes {each:.0f} MiB, and {spare:.0f} MiB can be given"
    return most, f"{wanted} replicas are asked for and {most} run: {why}" if most < wanted else ""
