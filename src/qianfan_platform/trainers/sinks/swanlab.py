"""Figures to SwanLab: `swanlab` or `swanlab=PROJECT`. Needs swanlab; SWANLAB_API_KEY and SWANLAB_MODE (cloud,
local, offline) are its own variables, as is SWANLAB_LOG_DIR for what it writes here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from qianfan_platform.trainers.sinks.protocol import RunFacts

ID = 21  # characters of a run's id


class SwanlabSink:
    """An experiment of a project."""

    def __init__(self, target: str) -> None:
        import swanlab

        self.library: Any = swanlab
        self.project = target or "qianfan"

    def start(self, run: RunFacts) -> None:
        kept = run.folder / "run"
        if not kept.is_file():
            kept.write_text(secrets.token_hex(11)[:ID])
        self.library.init(
            project=self.project,
            experiment_name=run.name,
            id=kept.read_text(),
            resume="allow",
            config=dict(run.facts),
        )

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        self.library.log(dict(figures), step=step)

    def finish(self, status: str) -> None:
        self.library.finish()


sink = SwanlabSink
