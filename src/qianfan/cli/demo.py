"""`qianfan demo`: tune a small model on this machine and see what it learned. Public SDK only."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from qianfan import embedded

from .evaluation import preset

if TYPE_CHECKING:
    from qianfan.evaluation import EvaluationResult

TRAIN_TYPE = "SmolLM2-135M-Instruct"
PARAMS = {"temperature": 0, "max_output_tokens": 40}
METRIC = "exactMatch"
SHOWN = 6


@dataclass(frozen=True)
class Outcome:
    """What the evaluation found. base, tuned: the names of both models in `result`."""

    result: EvaluationResult
    base: str
    tuned: str
    report: Path

    def right(self, model: str) -> int:
        """How many questions a model answered exactly."""
        return round(sum(self.result.scores(model, METRIC).values()))


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("demo")(demo)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep the platform in; default: a temporary one.")
    ] = None,
    train_type: Annotated[str, typer.Option(help="What to tune.")] = TRAIN_TYPE,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 3,
    report: Annotated[
        Path | None,
        typer.Option(help="Where the report goes; default: the folder of --data, else a temporary one."),
    ] = None,
) -> None:
    """Fine-tune, publish, deploy and evaluate a model on this machine: base and tuned side by side."""
    console = Console()
    began = time.monotonic()
    console.print("[bold]Open Qianfan demo[/]: a model learns to route support tickets")
    try:
        with embedded.start(data) as platform:
            console.print(f"platform  {platform.base_url}  (log: {platform.log_file})")
            outcome = _run(console, train_type, epochs, report or _place(data))
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        raise typer.Exit(130) from None
    _table(console, outcome)
    seconds = time.monotonic() - began
    asked = len(outcome.result.scores(outcome.base, METRIC))
    console.print(f"report    {outcome.report}")
    console.print(
        f"base {outcome.right(outcome.base)}/{asked}, tuned {outcome.right(outcome.tuned)}/{asked}, {seconds:.0f} s"
    )


def _place(data: Path | None) -> Path:
    """Where the report goes when nobody says."""
    folder = data or Path(tempfile.mkdtemp(prefix="qianfan-demo-"))
    return folder / "report.html"


def _run(console: Console, train_type: str, epochs: int, report: Path) -> Outcome:
    from qianfan.dataset import Dataset
    from qianfan.resources.console.consts import DeployPoolType
    from qianfan.trainer import LLMFinetune
    from qianfan.trainer.configs import DeployConfig, TrainConfig
    from qianfan.trainer.consts import ServiceType

    folder = example("tickets")
    dataset = Dataset.load(data_file=str(folder / "train.jsonl"))
    questions = Dataset.load(data_file=str(folder / "heldout.jsonl"))
    console.print(f"data      {len(dataset)} conversations to learn from, {len(questions)} held out")

    trainer = LLMFinetune(
        train_type=train_type,
        dataset=dataset,
        train_config=TrainConfig(
            epoch=epochs, batch_size=8, learning_rate=1e-3, peft_type="LoRA", trainset_rate=5
        ),
        deploy_config=DeployConfig(
            replicas=1,
            pool_type=DeployPoolType.PrivateResource,
            endpoint_prefix="tickets",
            service_type=ServiceType.Chat,
        ),
    )
    trainer.run(show_progress=True)
    _tell_training(console, trainer)
    return _evaluate(console, trainer, train_type, questions, report)


def _evaluate(console: Console, trainer: Any, train_type: str, questions: Any, report: Path) -> Outcome:
    """Both models answer the held-out questions on the platform; the gate says whether the tuned one is better."""
    from qianfan.evaluation import EvaluationManager, Gate, QianfanRuleEvaluator

    questions.save(replace_source=True, qianfan_dataset_create_args={}, show_progress=True)
    rules = QianfanRuleEvaluator(using_similarity=True, using_accuracy=True)
    manager = EvaluationManager(qianfan_evaluators=[rules])
    made = trainer.result[0]
    result = manager.eval([preset(train_type), made["model"]], questions, params=PARAMS, show_progress=True)
    assert result is not None  # None is the answer of people's scores alone
    base, tuned = result.models
    verdict = Gate("better", METRIC).check(result, base, tuned)
    console.print(f"gate      {'open' if verdict.passed else 'closed'}: {verdict.reason}")
    result.to_html(
        report,
        title="Open Qianfan demo",
        verdicts=[verdict],
        settings={"train type": train_type, **PARAMS, "metric of the gate": METRIC},
        lineage={
            name: made[name]
            for name in ("task_id", "job_id", "model_id", "model_version_id", "service_endpoint")
        },
        loss=_losses(trainer),
    )
    return Outcome(result, base, tuned, report)


def _losses(trainer: Any) -> Mapping[str, Sequence[tuple[float, float]]]:
    """Curves of the loss: of training, and of the rows held out from it."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for event in trainer.get_log().metrics:
        for name in ("loss", "eval_loss"):
            if isinstance(event.get(name), float):
                curves.setdefault(name, []).append((event["step"], event[name]))
    return curves


def _tell_training(console: Console, trainer: Any) -> None:
    log = trainer.get_log()
    steps = [event for event in log.metrics if event["kind"] == "step"]
    done = [event for event in log.metrics if event["kind"] == "finished"]
    if not steps or not done:
        return
    console.print(
        f"training  {done[0]['step']} steps in {done[0]['seconds']:.0f} s, "
        f"{done[0]['tokens_per_second']:.0f} tokens/s, loss {steps[0]['loss']:.2f} → {steps[-1]['loss']:.2f}"
    )
    console.print("loss      " + _spark([event["loss"] for event in steps]))
    if log.ledger:
        ledger = log.ledger
        console.print(
            f"samples   {ledger['samples']}: {ledger['kept']} kept, {ledger['truncated']} truncated, "
            f"{ledger['dropped']} dropped; {ledger['trained_tokens']} tokens trained on"
        )


def _spark(values: Sequence[float], width: int = 32) -> str:
    """A curve in one line of text."""
    bars = "▁▂▃▄▅▆▇█"
    size = max(1, len(values) // width)
    means = [sum(values[at : at + size]) / len(values[at : at + size]) for at in range(0, len(values), size)]
    low, high = min(means), max(means)
    return "".join(bars[int((value - low) / ((high - low) or 1) * (len(bars) - 1))] for value in means)


def _table(console: Console, outcome: Outcome) -> None:
    table = Table(show_lines=True)
    for name in ("question", "expected", "base model", "tuned model"):
        table.add_column(name, overflow="fold", ratio=1)
    rows = {(row["model"], row["row"]): row for row in outcome.result.rows}
    for number in [row["row"] for row in outcome.result.rows if row["model"] == outcome.base][:SHOWN]:
        plain, learned = rows[outcome.base, number], rows[outcome.tuned, number]
        mark = "green" if learned["scores"][METRIC] else "red"
        table.add_row(
            plain["prompt"],
            plain["reference"],
            f"[red]{_shown(plain['prediction'])}[/]",
            f"[{mark}]{_shown(learned['prediction'])}[/]",
        )
    console.print(table)


def _shown(text: str, most: int = 110) -> str:
    from rich.markup import escape

    flat = " ".join(text.split())
    return escape(flat if len(flat) <= most else flat[: most - 1] + "…")


def example(name: str) -> Path:
    """Folder of an example: in the installed package, or in a checkout."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "examples" / name, here.parents[3] / "examples" / name):
        if folder.is_dir():
            return folder
    raise typer.BadParameter(f"the example {name!r} is not in this installation; run from a checkout")
