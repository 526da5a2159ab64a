"""python -m qianfan_platform.trainers.child.export SPEC STEP OUT

Makes a result folder OUT, as a finished run leaves it, of the checkpoint at STEP that the run of SPEC has kept:
so it can be published, and other runs can start from it. The last line on stdout is {"finished": OUT} or
{"failed": reason}."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import checkpoint
from qianfan_platform.trainers.child.__main__ import reason
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


def main(spec_file: str, step: str, out: str) -> int:
    try:
        export(TrainSpec.from_json(json.loads(Path(spec_file).read_bytes())), int(step), Path(out))
    except Exception as error:
        print(json.dumps({"failed": reason(error)}), flush=True)
        return 1
    print(json.dumps({"finished": out}), flush=True)
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
