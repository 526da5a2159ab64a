"""`qianfan demo`: tune a small model on this machine and see what it learned. Public SDK only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from qianfan import embedded

TRAIN_TYPE = "SmolLM2-135M-Instruct"
ANSWER_TOKENS = 40
TEMPERATURE = 0.01  # the interface takes no 0
ASKED_AT_ONCE = 4
SHOWN = 6


@dataclass(frozen=True)
class Question:
    """One held-out conversation."""

    text: str
    expected: str


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("demo")(demo)


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep the platform in; default: a temporary one.")
    ] = None,
    train_type: Annotated[str, typer.Option(help="What to tune.")] = TRAIN_TYPE,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 3,
) -> None:
    """Fine-tune, publish, deploy and ask a model on this machine: base and tuned side by side."""
    console = Console()
    began = time.monotonic()
    console.print("[bold]Open Qianfan demo[/]: a model learns to route support tickets")
    try:
        with embedded.start(data) as platform:
            console.print(f"platform  {platform.base_url}  (log: {platform.log_file})")
            base, tuned, questions = _run(console, train_type, epochs)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left running")
        raise typer.Exit(130) from None
    _table(console, questions, base, tuned)
    right = [_exact(questions, answers) for answers in (base, tuned)]
    seconds = time.monotonic() - began
    console.print(f"base {right[0]}/{len(questions)}, tuned {right[1]}/{len(questions)}, {seconds:.0f} s")


def _run(console: Console, train_type: str, epochs: int) -> tuple[list[str], list[str], list[Question]]:
    from qianfan.dataset import Dataset
    from qianfan.resources import ChatCompletion
    from qianfan.resources.console.consts import DeployPoolType
    from qianfan.trainer import LLMFinetune
    from qianfan.trainer.configs import DeployConfig, TrainConfig
    from qianfan.trainer.consts import ServiceType

    folder = example("tickets")
    dataset = Dataset.load(data_file=str(folder / "train.jsonl"))
    questions = _questions(folder / "heldout.jsonl")
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
    service = trainer.result[0]["service"]
    _tell_training(console, trainer)

    plain = ChatCompletion(endpoint=train_type)
    with Progress(console=console, transient=True) as progress:
        base = _answers(progress, "asking the base model", questions, lambda body: plain.do(**body))
        tuned = _answers(progress, "asking the tuned model", questions, service.exec)
    return base, tuned, questions


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


def _answers(
    progress: Progress, what: str, questions: Sequence[Question], ask: Callable[[dict[str, Any]], Any]
) -> list[str]:
    row = progress.add_task(what, total=len(questions))

    def answer(question: Question) -> str:
        body = {
            "messages": [{"role": "user", "content": question.text}],
            "temperature": TEMPERATURE,
            "max_output_tokens": ANSWER_TOKENS,
        }
        text = str(ask(body)["result"]).strip()
        progress.advance(row)
        return text

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        return list(pool.map(answer, questions))


def _table(
    console: Console, questions: Sequence[Question], base: Sequence[str], tuned: Sequence[str]
) -> None:
    table = Table(show_lines=True)
    for name in ("question", "expected", "base model", "tuned model"):
        table.add_column(name, overflow="fold", ratio=1)
    for question, plain, learned in list(zip(questions, base, tuned, strict=True))[:SHOWN]:
        mark = "green" if learned == question.expected else "red"
        table.add_row(
            question.text, question.expected, f"[red]{_shown(plain)}[/]", f"[{mark}]{_shown(learned)}[/]"
        )
    console.print(table)


def _shown(text: str, most: int = 110) -> str:
    from rich.markup import escape

    flat = " ".join(text.split())
    return escape(flat if len(flat) <= most else flat[: most - 1] + "…")


def _exact(questions: Sequence[Question], answers: Sequence[str]) -> int:
    return sum(answer == question.expected for question, answer in zip(questions, answers, strict=True))


def _questions(path: Path) -> list[Question]:
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    return [Question(row[0]["prompt"], row[0]["response"][0][0]) for row in rows]


def example(name: str) -> Path:
    """Folder of an example: in the installed package, or in a checkout."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "examples" / name, here.parents[3] / "examples" / name):
        if folder.is_dir():
            return folder
    raise typer.BadParameter(f"the example {name!r} is not in this installation; run from a checkout")
