"""How much memory this process holds, held at most, and may hold."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil
import torch

from qianfan_platform.trainers.protocol import TrainSpec

KEPT_FREE = 0.1  # of the memory that is there when a run begins: for what else the machine does
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
GROUP = Path("/sys/fs/cgroup")  # of a container, where there is a limit
GROUPS = (  # files of either generation of cgroups
    {"held": "memory.current", "limit": "memory.max", "stat": "memory.stat", "cached": "inactive_file"},
    {
        "held": "memory/memory.usage_in_bytes",
        "limit": "memory/memory.limit_in_bytes",
        "stat": "memory/memory.stat",
        "cached": "total_inactive_file",
    },
)


class Shortage(Exception):
    """This much memory is not there. needed, there: MiB; None where the system only said no."""

    def __init__(self, needed: float | None = None, there: float | None = None) -> None:
        super().__init__("out of memory")
        self.needed, self.there = needed, there


def is_shortage(error: BaseException) -> bool:
    """Whether an error of torch or of Python means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)


class Memory:
    """The memory of this process, or of its GPU, in MiB. There is one a run."""

    def __init__(self, spec: TrainSpec) -> None:
        self.gpu = spec.device.startswith("cuda")
        self.highest = 0.0  # before the last `begin`
        free = 0.0 if self.gpu else now() + there()
        self.budget = spec.memory_mib or free * (1 - KEPT_FREE)

    def begin(self) -> None:
        """From here on `since` tells the most; where the system cannot start anew, the most ever."""
        self.highest = max(self.highest, self.since())
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            CLEAR.write_text("5")  # sets the high-water mark to what is held now
        except OSError:
            return

    def since(self) -> float:
        """The most that was held since `begin`."""
        if self.gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return high_water()

    def peak(self) -> float:
        """The most that was ever held."""
        return max(self.highest, self.since())

    def check(self, needed: float) -> None:
        """Raises Shortage when the budget is less. A GPU says itself what does not fit."""
        if not self.gpu and needed > self.budget:
            raise Shortage(needed, self.budget)


def now() -> float:
    """What this process holds, in MiB."""
    return float(psutil.Process().memory_info().rss) / 2**20


def high_water() -> float:
    """The most that this process held, in MiB."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # not on Windows
        return now()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def there() -> float:
    """What is free on this machine, or within the limit of its container, in MiB."""
    free = float(psutil.virtual_memory().available)
    for files in GROUPS:
        with contextlib.suppress(OSError, ValueError):  # no container, or no limit
            held, limit = (int((GROUP / files[name]).read_text()) for name in ("held", "limit"))
            free = min(free, limit - held + cached(GROUP / files["stat"], files["cached"]))
    with contextlib.suppress(ImportError, OSError):  # `ulimit -v`
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            free = min(free, most - psutil.Process().memory_info().vms)
    return max(0.0, free) / 2**20


def cached(stat: Path, name: str) -> int:
    """Bytes of files that count as held and are given back when they are wanted."""
    lines = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())
    return int(lines.get(name, 0))
