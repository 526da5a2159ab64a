"""Figures to MLflow: `mlflow` or `mlflow=URI`. Needs mlflow or mlflow-skinny; the URI is that of the tracking
server or of a database such as sqlite:///FILE. Credentials are MLflow's own variables (MLFLOW_TRACKING_USERNAME,
…)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.sinks.protocol import RunFacts

EXPERIMENT = "qianfan"
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
LONGEST = 500  # characters of a parameter


class MlflowSink:
    """A run of the experiment "qianfan"."""

    def __init__(self, target: str) -> None:
        from mlflow.tracking import MlflowClient

        self.client: Any = MlflowClient(target or None)

    def start(self, run: RunFacts) -> None:
        kept = run.folder / "run"
        if kept.is_file():
            self.run = kept.read_text()
            return
        found = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        self.run = self.client.create_run(experiment, run_name=run.name).info.run_id
        Path(kept).write_text(self.run)
        for name, value in run.facts.items():
            self.client.log_param(self.run, name, str(value)[:LONGEST])

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.client.log_metric(self.run, name, value, step=step, synchronous=True)

    def finish(self, status: str) -> None:
        self.client.set_terminated(self.run, STATUS[status])


sink = MlflowSink
