"""`qianfan train-log`: what a run said."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-log")(train_log)


def train_log(
    run: Annotated[str, typer.Argument(help="Id of the run: a number, or task-…")],
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Print the log of a training run: its lines, metrics and the ledger of its samples."""
    from qianfan.trainer.log import fetch_log

    log = fetch_log(run)
    if json:
        answer = {"lines": list(log), "metrics": log.metrics, "ledger": log.ledger}
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
        return
    print(log)
