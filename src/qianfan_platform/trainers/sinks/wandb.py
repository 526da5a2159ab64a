"""Figures to Weights & Biases: `wandb` or `wandb=PROJECT`. Needs wandb; WANDB_API_KEY, or WANDB_MODE=offline with
WANDB_DIR, are its own variables."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from qianfan_platform.trainers.sinks.protocol import RunFacts


class WandbSink:
    """A run of a project."""

    def __init__(self, target: str) -> None:
        import wandb

        self.library: Any = wandb
        self.project = target or "qianfan"

    def start(self, run: RunFacts) -> None:
        kept = run.folder / "run"
        if not kept.is_file():
            kept.write_text(secrets.token_hex(4))
        self.run = self.library.init(
            project=self.project,
            name=run.name,
            id=kept.read_text(),
            resume="allow",
            config=dict(run.facts),
            settings=self.library.Settings(console="off", silent=True),
        )
        self.run.define_metric("*", step_metric="step")

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        # Its own counter never goes back, a run that goes on does: the step is a figure like others.
        self.run.log({**figures, "step": step})

    def finish(self, status: str) -> None:
        self.run.finish(exit_code=0 if status == "finished" else 1)


sink = WandbSink
