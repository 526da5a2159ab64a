"""`qianfan finetune`: training runs, what they do, and what they read."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import options
from .output import emit, note, show_table

if TYPE_CHECKING:
    from qianfan.model.log import TrainLog
    from qianfan.model.runs import Run

LOOK_S: Final = 0.5  # how often a run is looked at that is followed
OUTCOMES: Final = ("kept", "truncated", "split", "dropped")

nouns = typer.Typer(help="Training runs: look at them, and stop them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The run: its task-…, or its number.", metavar="RUN")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(nouns, name="finetune")


@nouns.command("list")
def runs(
    limit: Annotated[int, typer.Option(help="How many tasks, newest first.", min=1, max=100)] = 20,
    mode: Annotated[str | None, typer.Option(help="SFT, PostPretrain or DPO.", show_default=False)] = None,
    json: options.JsonObject = False,
) -> None:
    """List the runs, newest task first."""
    from qianfan.resources import FineTune

    jobs = FineTune.V2.job_list(mode, max_keys=limit)["result"]["jobList"]
    rows = [
        row for job in jobs for row in FineTune.V2.task_list(job["jobId"], max_keys=100)["result"]["taskList"]
    ]
    if json:
        emit({"runs": rows})
        return
    show_table(
        ("run", "name", "trains", "mode", "by", "status", "created"),
        [
            (
                row["taskId"],
                row["jobName"],
                row["model"],
                row["trainMode"],
                row["parameterScale"],
                row["runStatus"],
                row["createDate"],
            )
            for row in rows
        ],
    )


@nouns.command("show")
def show(run: Name, json: options.JsonObject = False) -> None:
    """Show where a run stands: step, loss, speed, what it was estimated to need, warnings."""
    from qianfan.resources import FineTune

    detail = dict(FineTune.V2.task_detail(run)["result"])
    if json:
        emit(detail)
        return
    progress = detail.get("progressDetail") or {}
    told = {
        "run": detail.get("taskId"),
        "task": f"{detail.get('jobId')}  {detail.get('jobName')}",
        "trains": f"{detail.get('model')}, {detail.get('trainMode')} by {detail.get('parameterScale')}",
        "status": f"{detail.get('runStatus')}  {detail.get('runProgress', '')}",
        "phase": progress.get("phase"),
        "step": f"{progress.get('step')} of {progress.get('steps')}" if progress.get("steps") else None,
        "loss": progress.get("loss"),
        "held-out loss": progress.get("evalLoss"),
        "tokens a second": progress.get("tokensPerSecond"),
        "seconds": progress.get("seconds"),
        "seconds left": progress.get("secondsLeft") or None,
        "estimated": _needed(progress.get("estimate")),
        "needed": _needed(progress.get("happened")),
        "samples": _pairs({name: (progress.get("ledger") or {}).get(name) for name in OUTCOMES}),
        "goes on from": progress.get("startsFrom"),
        "reason": progress.get("reason"),
    }
    show_table(("", ""), [(name, value) for name, value in told.items() if value not in (None, "")])
    for warning in progress.get("warnings") or ():
        note(f"! {warning}")


@nouns.command("log")
def log(run: Name, follow: Follow = False, json: options.JsonObject = False) -> None:
    """Print the log of a run: its lines; with --json also metrics and ledger.

    With --follow --json each line is an object of its own."""
    if not follow:
        told = _log(run)
        if json:
            emit({"lines": list(told), "metrics": told.metrics, "ledger": told.ledger})
        else:
            print(told)
        return
    from qianfan.model.log import line_of

    for page in _pages(run):
        for line in page.get("lines") or ():
            if json:
                emit(line)
            else:
                print(line_of(line), flush=True)


@nouns.command("curves")
def curves(
    run: Name,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="loss, eval loss, accuracy, learning rate, tokens/s, perplexity, memory MiB."),
    ] = None,
    follow: Follow = False,
    svg: Annotated[
        Path | None, typer.Option(help="Draw them into this file instead.", show_default=False)
    ] = None,
    json: options.JsonObject = False,
) -> None:
    """Draw the curves of a run: loss, held-out loss, learning rate, speed.

    qianfan finetune curves task-… --follow"""
    from qianfan.model.curves import SERIES

    wanted = tuple(names or ())
    if unknown := [name for name in wanted if name not in SERIES]:
        raise typer.BadParameter(f"there is no curve {unknown[0]!r}; there are {', '.join(SERIES)}")
    if follow and not json and svg is None:
        _draw_on(run, wanted)
        return
    told = _log(run, until_ended=follow)
    found = told.curves.only(*wanted) if wanted else told.curves
    if json:
        emit(found)
    elif svg is not None:
        svg.write_text(found.svg(wanted), encoding="utf-8")
        note(f"drawn into {svg}")
    else:
        print(found.text(wanted, width=_columns()))


@nouns.command("ledger")
def ledger(
    run: Name,
    what: Annotated[
        str | None, typer.Option(help="Only samples that were kept, truncated, split or dropped.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON lines, one a sample.")] = False,
) -> None:
    """Tell what became of every sample of a run; the counts sum to the dataset.

    qianfan finetune ledger task-… --what dropped"""
    from qianfan.errors import InternalError

    if what is not None and what not in OUTCOMES:
        raise typer.BadParameter(f"--what is one of {', '.join(OUTCOMES)}")
    counts = _log(run).ledger
    if counts is None:
        raise InternalError(f"run {run} has not counted its samples yet", advice="ask again in a while")
    if json:
        for entry in counts.entries(what):
            emit(entry)
        return
    if what is None:
        print(counts)
        return
    show_table(
        ("sample", "from", "tokens", "learned", "why"),
        [
            (row["sample"], _origin(row), row.get("tokens"), row.get("trainedTokens"), row.get("why"))
            for row in counts.entries(what)
        ],
        numbers=("sample", "tokens", "learned"),
    )


@nouns.command("xray")
def xray(
    run: Name,
    sample: Annotated[int, typer.Argument(help="Its number in the ledger, from 1.", min=1)],
    json: options.JsonObject = False,
) -> None:
    """Show a sample as the trainer reads it; what is learned stands between ⟦ and ⟧."""
    found = _run(run).xray(sample)
    if json:
        emit(found)
    else:
        print(found)


@nouns.command("stop")
def stop(run: Name, json: options.JsonObject = False) -> None:
    """Stop a run. It is over then; the same training goes on from its last checkpoint as another run."""
    from qianfan.resources import FineTune

    stopped = bool(FineTune.V2.stop_task(run)["result"])
    if json:
        emit({"stopped": stopped})
    else:
        print("stopped" if stopped else "it has ended already")


@nouns.command("delete")
def delete(run: Name, json: options.JsonObject = False) -> None:
    """Delete a run that has ended, with its checkpoints. Published models stay."""
    from qianfan.resources import FineTune

    FineTune.V2.delete_task(run)
    if json:
        emit({"deleted": run})
    else:
        print("deleted")


@nouns.command("trainers")
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
                row["job_id"] or "",
                row["updated"],
                row["error"] or "",
            )
            for row in rows
        ],
    )


@nouns.command("resume")
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


def _run(name: str) -> Run:
    from qianfan.model.runs import Run

    return Run(name, "") if name.startswith("task-") else Run("", name)


def _log(name: str, *, until_ended: bool = False) -> TrainLog:
    if until_ended:
        for _ in _pages(name):
            pass
    return _run(name).log()


def _pages(name: str) -> Iterator[dict[str, Any]]:
    """The log page by page as it grows, until the run has ended and all is told."""
    from qianfan.contract.enums import TrainStatus
    from qianfan.contract.lifecycle import run_status

    run, after = _run(name), 0
    while True:
        page: dict[str, Any] = {}
        for page in run.pages(after):
            after = page.get("next", after)
            yield page
        if run_status(page.get("runStatus", "")) is not TrainStatus.Running:
            return
        time.sleep(LOOK_S)


def _draw_on(name: str, wanted: tuple[str, ...]) -> None:
    """The curves, drawn anew while they grow; where there is no terminal, once at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from qianfan.model.curves import Curves

    console, metrics, found = Console(), list[dict[str, Any]](), Curves()
    with Live(console=console, transient=False, auto_refresh=False) as screen:
        for page in _pages(name):
            metrics += page.get("metrics") or []
            found = Curves.of(metrics)
            if console.is_terminal:
                text = (found.only(*wanted) if wanted else found).text(wanted, console.width, 6)
                screen.update(Text(text), refresh=True)
        if not console.is_terminal:
            screen.update(Text((found.only(*wanted) if wanted else found).text(wanted, _columns())))


def _columns() -> int:
    import shutil

    return min(100, shutil.get_terminal_size((80, 24)).columns) if sys.stdout.isatty() else 80


def _needed(figures: dict[str, Any] | None) -> str:
    units = (("seconds", "s"), ("memory_mib", "MiB"))
    told = figures or {}
    return ", ".join(f"{told[name]:g} {unit}" for name, unit in units if told.get(name))


def _pairs(values: dict[str, Any] | None) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in (values or {}).items() if value not in (None, "", 0)
    )


def _origin(row: dict[str, Any]) -> str:
    place = row.get("datasetName") or row.get("datasetId")
    return f"{place}, line {row['line']}" if place and row.get("line") else ""
