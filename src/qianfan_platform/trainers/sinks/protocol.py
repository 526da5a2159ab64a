"""What a sink is: it takes a run's figures somewhere else. A plug-in is a factory in `qianfan.train_sinks`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

GROUP = "qianfan.train_sinks"
OURS = ("mlflow", "wandb", "swanlab")  # modules of this folder


@dataclass(frozen=True)
class RunFacts:
    """What a sink is told of a run before its first figure.

    facts: mode, method, base, seed, dtype, threads and every hyper-parameter.
    folder: the sink's own, kept until the run ends. A run that goes on after a crash starts its sink again
    with the same folder, so an id that was written there finds what was begun."""

    name: str
    facts: Mapping[str, Any]
    folder: Path


class Sink(Protocol):
    """One for a run, in a process of its own: it may block, and what it raises ends the sink, not the run."""

    def start(self, run: RunFacts) -> None:
        """Called once, first."""

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Finite figures of a step, e.g. {"train/loss": 1.5}. A step may come again after a crash."""

    def finish(self, status: str) -> None:
        """Called last: "finished", "stopped" or "failed". Not called when the server dies."""


def make(name: str, target: str) -> Sink:
    """The sink of that name for `target`, e.g. an address. Raises LookupError and what the plug-in raises."""
    for found in entry_points(group=GROUP, name=name):
        plugin: Sink = found.load()(target)
        return plugin
    if name in OURS:
        ours: Sink = import_module(f"qianfan_platform.trainers.sinks.{name}").sink(target)
        return ours
    others = sorted(found.name for found in entry_points(group=GROUP))
    raise LookupError(f"no train sink is called {name}; there are {', '.join([*OURS, *others])}")


def figures(event: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a step or eval event by their names in charts; {} for others.

    Only numbers that are there: what is not finite comes as null in events."""
    where = {"step": "train", "eval": "eval"}.get(event["kind"])
    if where is None:
        return {}
    left_out = ("kind", "step", "steps", "seconds_left", "tokens" if where == "eval" else "")
    return {
        f"{where}/{name}": float(value)
        for name, value in event.items()
        if name not in left_out and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
