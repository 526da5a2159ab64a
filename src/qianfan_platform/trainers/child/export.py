"""python -m qianfan_platform.trainers.child.export SPEC STEP OUT

Makes a result folder OUT, as a finished run leaves it, of the checkpoint at STEP that the run of SPEC has kept:
so it can be published, and other runs can start from it. The last line on stdout is {"finished": OUT} or
{"failed": reason}."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import checkpoint, task
from qianfan_platform.trainers.child.loop import Run
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec


class Quiet:
    """The pipes of a run that nobody listens to, and nobody stops."""

    def send(self, kind: str, **facts: Any) -> None:
        return None

    def log(self, text: str, level: str = "info") -> None:
        return None

    warn = log

    def check(self) -> None:
        return None


def export(spec: TrainSpec, step: int, out: Path) -> None:
    """Write `out`, whole or not at all. Raises Refused, OSError."""
    place = spec.work / "checkpoints" / str(step)
    run = Run(spec, Quiet(), Quiet())  # type: ignore[arg-type]
    if not checkpoint.whole(place):
        there = ", ".join(map(str, run.kept())) or "none"
        raise Refused(f"there is no whole checkpoint of step {step}; those that are kept: {there}")
    ledger = run.prepare()
    run.restore(place)
    run.keep(ledger, out)


if __name__ == "__main__":
    given, at, into = sys.argv[1:]
    task.run(
        lambda: export(TrainSpec.from_json(json.loads(Path(given).read_bytes())), int(at), Path(into)), into
    )
