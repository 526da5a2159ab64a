"""The live picture of a run: a bar for each action, made of the events and of what the platform tells.

It asks the platform nothing; what it shows comes from the job details that are looked at anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qianfan.dataset.board import Board
from qianfan.dataset.progress import in_notebook, wanted
from qianfan.dataset.waiting import progress_of
from qianfan.trainer.consts import ActionState
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.base import BaseAction, Pipeline
    from qianfan.trainer.event import Event

_WORDS: Final = {
    "LoadDataSetAction": "dataset",
    "TrainAction": "training",
    "ModelPublishAction": "publish",
    "DeployAction": "deploy",
    "EvaluateAction": "evaluate",
}


@contextmanager
def shown(pipeline: Pipeline, asked: bool | None) -> Iterator[None]:
    """Show the pipeline's progress while the block runs, when it is wanted."""
    if not wanted(asked):
        yield
        return
    picture = _picture()
    actions = [*pipeline.actions.values()]
    for action in actions:
        action._observers.append(picture.seen)
        action._shown = True
    try:
        with picture:
            yield
    finally:
        for action in actions:
            action._observers.remove(picture.seen)
            action._shown = False


@contextmanager
def telling(word: str, asked: bool | None = None) -> Iterator[Callable[[Any], None]]:
    """Show the job details that are told to what this yields, when it is wanted; for a run without a pipeline."""
    if not wanted(asked):
        yield lambda detail: None
        return
    with _picture() as picture:
        yield partial(picture.draw, word, word, ActionState.Running)


def _picture() -> _Picture:
    from rich.console import Console

    console = Console()
    kind = _Cell if in_notebook() else _Bars if console.is_terminal else _Lines
    return kind(console)


class _Picture:
    """What both ways of showing have in common: what is said once, and no failure that stops the run."""

    def __init__(self, console: Any) -> None:
        self.console = console
        self._warned: set[str] = set()
        self._broken = False

    def __enter__(self) -> _Picture:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def seen(self, action: BaseAction[Any, Any], event: Event) -> None:
        """Take an event in."""
        if self._broken:
            return
        try:
            detail = event.data if event.action_state is ActionState.Running else {}
            for warning in progress_of(detail).get("warnings") or ():
                if warning not in self._warned:
                    self._warned.add(warning)
                    self.console.print(f"! {warning}", style="yellow", markup=False, highlight=False)
            summary = summary_of(detail)
            if summary and summary not in self._warned:
                self._warned.add(summary)
                self.console.print(summary, markup=False, highlight=False, soft_wrap=True)
            word = _WORDS.get(type(action).__name__, action.name)
            self.draw(action.id, word, event.action_state, detail)
        except Exception:
            self._broken = True
            logger.exception("the progress cannot be shown; the run goes on")

    def draw(self, id: str, word: str, state: ActionState, detail: Any) -> None:
        """Show that an action is in a state."""
        raise NotImplementedError


class _Cell(_Picture):
    """For a notebook."""

    def __init__(self, console: Any) -> None:
        super().__init__(console)
        self._board = Board()

    def __exit__(self, *args: object) -> None:
        self._board.__exit__(None, None, None)

    def draw(self, id: str, word: str, state: ActionState, detail: Any) -> None:
        ended = state in (ActionState.Done, ActionState.Error, ActionState.Stopped)
        share = 1.0 if state is ActionState.Done else share_of(detail)
        facts = facts_of(detail) if state is ActionState.Running else state.value.lower()
        self._board.tell(id, word, share, facts, ended=ended)


class _Bars(_Picture):
    """For a terminal."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        super().__init__(console)
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<9}", markup=False, table_column=Column(min_width=10)),  # whole
            BarColumn(bar_width=24),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Picture:
        self._bars.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._bars.stop()

    def draw(self, id: str, word: str, state: ActionState, detail: Any) -> None:
        if id not in self._tasks:
            self._tasks[id] = self._bars.add_task(word, total=None, facts="")
        task = self._tasks[id]
        if state is ActionState.Done:
            self._bars.update(task, total=1, completed=1)
        elif state in (ActionState.Error, ActionState.Stopped):
            self._bars.update(task, facts=state.value.lower())
            self._bars.stop_task(task)
        elif state is ActionState.Running:
            share = share_of(detail)
            if share is not None:
                self._bars.update(task, total=1, completed=share)
            self._bars.update(task, facts=facts_of(detail))


class _Lines(_Picture):
    """For a file or a pipe: a line when something begins or ends, and at every tenth of a training."""

    def __init__(self, console: Any) -> None:
        super().__init__(console)
        self._last: tuple[Any, ...] = ()

    def draw(self, id: str, word: str, state: ActionState, detail: Any) -> None:
        share = share_of(detail)
        mark = (id, state, progress_of(detail).get("phase"), None if share is None else int(share * 10))
        if mark != self._last:
            self._last = mark
            facts = facts_of(detail) if state is ActionState.Running else ""
            self.console.print(
                f"{word}: {facts or state.value.lower()}", markup=False, highlight=False, soft_wrap=True
            )


def share_of(detail: Any) -> float | None:
    """How much of a training is done, 0 to 1, or None when the platform does not tell."""
    progress = progress_of(detail)
    if progress.get("steps"):
        return min(1.0, float(progress.get("step") or 0) / float(progress["steps"]))
    result = detail["result"] if isinstance(detail, Mapping) and "result" in detail else {}
    percent = result.get("progress", result.get("runProgress"))
    if isinstance(percent, str):
        percent = percent.rstrip("%")
    try:
        return None if percent is None else min(1.0, float(percent) / 100)
    except (TypeError, ValueError):
        return None


def facts_of(detail: Any) -> str:
    """What is known of a training in one line: phase, step, loss, tokens per second, time left."""
    progress = progress_of(detail)
    if not progress:
        share = share_of(detail)
        return "" if share is None else f"{share:.0%}"
    parts = [str(progress.get("note") or progress.get("phase") or "")]
    waiting = progress.get("waiting")
    if waiting:
        place = f", place {waiting['position']}" if waiting.get("position") else ""
        begins = "" if waiting.get("seconds") is None else f", begins in about {waiting['seconds']:.0f} s"
        parts.append(f"{waiting.get('why', 'in the queue')}{place}{begins}")
    if progress.get("steps"):
        parts.append(f"step {progress.get('step') or 0}/{progress['steps']}")
    for name, text in (
        ("loss", "loss {:.3f}"),
        ("evalLoss", "eval {:.3f}"),
        ("tokensPerSecond", "{:.0f} tok/s"),
    ):
        value = progress.get(name)
        if isinstance(value, (int, float)) and value:
            parts.append(text.format(value))
    left = progress.get("secondsLeft")
    if isinstance(left, (int, float)) and left > 0:
        parts.append(f"{int(left) // 60}:{int(left) % 60:02d} left")
    return "  ".join(part for part in parts if part)


def summary_of(detail: Any) -> str:
    """What a training that is over has done, in one line; "" while it goes on and where the platform tells none."""
    report = progress_of(detail).get("report")
    if not isinstance(report, Mapping):
        return ""
    parts = [f"{report.get('steps')} steps on {report.get('samples')} samples"]
    for words, first, last in (
        ("loss", "lossFirst", "lossLast"),
        ("held-out loss", "evalLossBefore", "evalLossAfter"),
    ):
        before, after = report.get(first), report.get(last)
        if isinstance(before, (int, float)) and isinstance(after, (int, float)):
            parts.append(f"{words} {before:.3f} → {after:.3f}")
    if isinstance(report.get("seconds"), (int, float)):
        parts.append(f"{report['seconds']:.0f} s")
    return ", ".join(parts)
