"""`qianfan finetune`: training runs, what they do, and what they read."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import kept_trainers, options, train, train_types
from .output import emit, note, show_table

if TYPE_CHECKING:
    from qianfan.model.log import TrainLog
    from qianfan.model.runs import Run

LOOK_S: Final = 0.5  # how often a run is looked at that is followed
MOST_SHOWN: Final = 80  # characters of a question or an answer
OUTCOMES: Final = ("kept", "truncated", "split", "dropped", "refused")
PAGE: Final = 100  # runs that are asked for at once

nouns = typer.Typer(help="Training runs: start them, look at them, stop them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The run: its task-…, or its number.", metavar="RUN")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    train.add_to(nouns)
    kept_trainers.add_to(nouns)
    train_types.add_to(nouns)
    app.add_typer(nouns, name="finetune")


@nouns.command("list")
def runs(
    limit: Annotated[int, typer.Option(help="How many tasks, newest first.", min=1, max=100)] = 20,
    mode: Annotated[str | None, typer.Option(help="SFT, PostPretrain or DPO.", show_default=False)] = None,
    json: options.JsonObject = False,
) -> None:
    """List the runs, newest task first."""
    from qianfan.resources import FineTune

    options.check_mode(mode)
    jobs = FineTune.V2.job_list(mode, max_keys=limit)["result"]["jobList"]
    rows = [row for job in jobs for row in _runs_of(job["jobId"])]
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


def _runs_of(job: str) -> Iterator[dict[str, Any]]:
    """All runs of a container, newest first."""
    from qianfan.resources import FineTune

    marker: str | None = None
    while True:
        found = FineTune.V2.task_list(job, marker, PAGE)["result"]
        yield from found["taskList"]
        marker = (found.get("pageInfo") or {}).get("nextMarker")
        if not marker:
            return


@nouns.command("show")
def show(run: Name, json: options.JsonObject = False) -> None:
    """Show where a run stands: what it waits for, step, loss, speed, what it was estimated to need, warnings."""
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
        "phase": " ".join(filter(None, (progress.get("phase"), progress.get("note")))),
        "waits": _wait(progress.get("waiting")),
        "step": f"{progress.get('step')} of {progress.get('steps')}" if progress.get("steps") else None,
        "loss": progress.get("loss"),
        "held-out loss": progress.get("evalLoss"),
        "tokens a second": progress.get("tokensPerSecond"),
        "seconds": progress.get("seconds"),
        "seconds left": progress.get("secondsLeft") or None,
        "estimated": _needed(progress.get("estimate")),
        "needed": _needed(progress.get("happened")),
        "samples": _pairs({name: (progress.get("ledger") or {}).get(name) or None for name in OUTCOMES}),
        "learned": _learned(progress.get("report")),
        "learns with": _pairs(progress.get("hyperParameters")),
        "trains further": progress.get("startsFrom"),
        "reason": progress.get("reason"),
    }
    show_table(("", ""), [(name, value) for name, value in told.items() if value not in (None, "")])
    if examples := (progress.get("report") or {}).get("examples"):
        names = ("sample", "question", "wanted", "before", "after")
        rows = [[one.get("sample"), *(_line(one.get(name)) for name in names[1:])] for one in examples]
        show_table(names, rows, numbers=("sample",))
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


@nouns.command("wait")
def wait(run: Name, json: options.JsonObject = False) -> None:
    """Wait for the end of a run, and show how far it is; exit code 1 when it failed or was stopped."""
    from qianfan.contract.enums import TrainStatus
    from qianfan.errors import TrainingFailed
    from qianfan.model.runs import why
    from qianfan.trainer import live

    waited = _run(_known(run))
    with live.telling("training", False if json else None) as told:
        status, detail = waited.wait(told, **options.PATIENT)
    if json:
        emit(dict(detail["result"]))
    if status is not TrainStatus.Finish:
        word = "failed" if status is TrainStatus.Fail else "was stopped"
        raise TrainingFailed(
            f"training run {waited} {word}{why(detail)}", advice=f"see `qianfan finetune log {run}`"
        )
    if not json:
        print("done")


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
        str | None, typer.Option(help="Only samples that were kept, truncated, split, dropped or refused.")
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


def _run(name: str) -> Run:
    from qianfan.model.runs import Run

    return Run(name, "") if name.startswith("task-") else Run("", name)


def _known(name: str) -> str:
    """The `task-…` of a run that is named in either way: what is known of it is asked for by that."""
    from qianfan.resources import FineTune

    return name if name.startswith("task-") else str(FineTune.V2.task_detail(name)["result"]["taskId"])


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
        for page in run.pages(after, **options.PATIENT):
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


def _line(text: Any) -> str:
    """A text in one line, with signs where it breaks."""
    line = str(text).replace("\n", "⏎")
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]}…"


def _learned(report: dict[str, Any] | None) -> str:
    """What a run that is over has learned, and how far its loss went."""
    if not report:
        return ""
    told = f"{report.get('tokensTrained')} tokens in {report.get('steps')} steps"
    for word, first, last in (
        ("loss", report.get("lossFirst"), report.get("lossLast")),
        ("held-out loss", report.get("evalLossBefore"), report.get("evalLossAfter")),
    ):
        if first is not None and last is not None:
            told += f", {word} {first:.4g} → {last:.4g}"
    return told


def _needed(figures: dict[str, Any] | None) -> str:
    units = (("seconds", "s"), ("memory_mib", "MiB"))
    told = figures or {}
    text = ", ".join(f"{told[name]:g} {unit}" for name, unit in units if told.get(name))
    least, most = told.get("seconds_range") or (None, None)
    return text if least is None else f"{text}; {least:g} to {most:g} s by earlier runs"


def _wait(waiting: dict[str, Any] | None) -> str:
    if not waiting:
        return ""
    seconds = waiting.get("seconds")
    begins = "" if seconds is None else f"; it begins in about {seconds:.0f} s"
    return f"place {waiting.get('position')}: {waiting.get('why')}{begins}"


def _pairs(values: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items() if value not in (None, ""))


def _origin(row: dict[str, Any]) -> str:
    place = row.get("datasetName") or row.get("datasetId")
    return f"{place}, line {row['line']}" if place and row.get("line") else ""
