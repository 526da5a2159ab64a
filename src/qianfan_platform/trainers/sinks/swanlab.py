"""Figures to SwanLab: `swanlab` or `swanlab=PROJECT`. Needs swanlab; SWANLAB_API_KEY and SWANLAB_MODE (cloud,
local, offline) are its own variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qianfan_platform.trainers.sinks.protocol import RunFacts


class SwanlabSink:
    """An experiment of a project."""

    def __init__(self, target: str) -> None:
        import swanlab

        self.library: Any = swanlab
        self.project = target or "qianfan"

    def start(self, run: RunFacts) -> None:
        self.library.init(project=self.project, experiment_name=run.name, config=dict(run.facts))

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self.library.log(dict(figures), step=step)

    def finish(self, status: str) -> None:
        self.library.finish()


sink = SwanlabSink
