"""`qianfan finetune trainers` and `resume`: trainers that are kept on this machine, and going on with one."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from . import options
from .output import emit, show_table

MOST_SHOWN: Final = 120  # characters of an error


def add_to(nouns: typer.Typer) -> None:
    """Register the commands."""
    nouns.command("trainers")(trainers)
    nouns.command("resume")(resume)


def trainers(json: options.JsonObject = False) -> None:
    """List the trainers that are kept on this machine, the newest first: who runs them, how they stand."""
    from qianfan.trainer import kept

    rows = kept.rows()
    if json:
        emit({"trainers": rows})
        return
    show_table(
        ("trainer", "trains", "status", "running", "run", "updated", "error"),
        [
            (
                row["id"],
                row["train_type"],
                row["status"],
                "yes" if row["running"] else "",
                _run_of(row) or "",
                row["updated"],
                _short(row["error"] or ""),
            )
            for row in rows
        ],
    )


def resume(
    trainer: Annotated[str, typer.Argument(help="The trainer, as `qianfan finetune trainers` lists it.")],
    json: options.JsonObject = False,
) -> None:
    """Go on with a trainer that is kept here, after a stop, a failure or a crash, and wait for its end."""
    from qianfan.trainer import kept, loads
    from qianfan.trainer.running import PipelineTrainer

    went_on = loads(kept.read(trainer, None), PipelineTrainer)
    went_on.resume(show_progress=False if json else None)
    if json:
        emit(kept.about(went_on))
        return
    result = went_on.output if isinstance(went_on.output, dict) else {}
    plain = {name: value for name, value in result.items() if isinstance(value, (int, str))}
    show_table(("", ""), plain.items())


def _run_of(row: dict[str, Any]) -> Any:
    """What the other commands call the run: V2's task, V1's job."""
    task = str(row["task_id"] or "")
    return task if task.startswith("task-") else row["job_id"]


def _short(error: str) -> str:
    """The first line of an error; --json has it all."""
    first, *rest = error.split("\n")
    first = first.rstrip(":") if rest else first
    return first if len(first) <= MOST_SHOWN else f"{first[: MOST_SHOWN - 1]}…"
