"""Interleaved rounds, and what is made of them: medians, the interval over the rounds, a verdict.

Rates swing with whatever else a machine does; CPU per unit swings less, and the ratio of two CPUs taken in the
same round least of all. So every figure that has a target is such a ratio."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CLIENT_CORE, SERVER_CORE = 0, 1


@dataclass
class Table:
    """Values by what was measured and who was: one for each round."""

    unit: str = "us"
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missed: int = 0

    def round(self, measures: Mapping[str, Mapping[str, Callable[[], float]]], number: int) -> None:
        """One round: of each measure everybody once, in an order that turns from round to round."""
        for measure, everybody in measures.items():
            names = list(everybody)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                self.add(measure, name, everybody[name]())

    def add(self, measure: str, name: str, value: float) -> None:
        self.rows.setdefault(measure, {}).setdefault(name, []).append(value)

    def has(self, measure: str, *names: str) -> bool:
        return all(name in self.rows.get(measure, {}) for name in names)

    def ratios(self, measure: str, name: str, other: str) -> list[float]:
        """In-round ratios of `name` to `other`."""
        row = self.rows[measure]
        return [mine / theirs for mine, theirs in zip(row[name], row[other], strict=True)]

    def show(self, measure: str, title: str) -> None:
        """The medians of one measure, with their intervals."""
        print(f"\n{title}")
        for name, values in self.rows.get(measure, {}).items():
            print(f"  {name:<34} {statistics.median(values):10.2f} {self.unit}   {interval(values)}")

    def compare(self, measure: str, name: str, other: str) -> None:
        """Print a ratio that has no target."""
        values = self.ratios(measure, name, other)
        print(f"  {name} : {other}   {statistics.median(values):.3f}   {interval(values, 3)}")

    def judge(self, measure: str, name: str, other: str, target: float, *, at_least: bool = False) -> None:
        """Print a ratio beside its target; `at_least` when more is better."""
        if not self.has(measure, name, other):
            print(f"  {name} : {other}   not measured")
            return
        values = self.ratios(measure, name, other)
        middle = statistics.median(values)
        good = middle >= target if at_least else middle <= target
        self.missed += not good
        print(
            f"  {name} : {other}   {middle:.3f}   {interval(values, 3)}   "
            f"target {'≥' if at_least else '≤'} {target:g}   {'ok' if good else 'MISSED'}"
        )


def interval(values: Sequence[float], digits: int = 2) -> str:
    """Smallest and largest of the rounds."""
    return f"[{min(values):.{digits}f} – {max(values):.{digits}f}]"


def pin(core: int, pid: int = 0) -> None:
    """Keep a process (0: this one) on one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(pid, {core % (os.cpu_count() or 1)})


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of its living descendants."""
    import psutil

    total = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def machine() -> str:
    """The machine in words, for the head of a report."""
    model = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        model = next(
            (line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), ""
        )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores{f' of {model}' if model else ''}, Python {sys.version.split()[0]}{load}"
