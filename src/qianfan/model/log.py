"""The log of a training run: its lines, its curves, and what became of its samples."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qianfan.errors import InternalError
from qianfan.model.curves import Curves
from qianfan.model.ledger import Ledger, Xray

if TYPE_CHECKING:
    from qianfan.model.runs import Run

_LINES = 20  # that a notebook shows


class TrainLog(list[str]):
    """The lines of a log as texts; `str()` is all of them. A notebook shows curves, ledger and the last lines.

    entries: the lines as they came: n, time, level, text. metrics: one dict for each logged step (`kind`
    "step": step, loss, learning_rate, tokens_per_second, …) and evaluation (`kind` "eval").
    ledger: what became of every sample, or None when the run has not counted them yet.
    files: links to what the run left beside, such as TensorBoard's files."""

    def __init__(
        self,
        entries: Iterable[dict[str, Any]],
        metrics: list[dict[str, Any]] | None = None,
        ledger: dict[str, Any] | None = None,
        files: dict[str, str] | None = None,
        run: Run | None = None,
    ) -> None:
        self.entries = list(entries)
        self.metrics = metrics or []
        self.files = files or {}
        self._run = run
        self.ledger = None if ledger is None else Ledger(ledger, None if run is None else run.ledger_page)
        super().__init__(line_of(entry) for entry in self.entries)

    @property
    def curves(self) -> Curves:
        """Loss, evaluation loss, learning rate, tokens per second and more, by name: points `(step, value)`."""
        return Curves.of(self.metrics)

    @property
    def examples(self) -> list[dict[str, Any]]:
        """What the model said to a few of its samples before the first step and after the last: `sample`,
        `held_out`, `question`, `wanted`, `before`, `after`. Empty until a run has finished."""
        ends = [event for event in self.metrics if event.get("kind") == "finished"]
        return list(ends[-1].get("examples") or ()) if ends else []

    def plot(self, *names: str) -> Curves | None:
        """Show the curves: in a notebook as a picture, which is returned, else as text on standard output.

        names: some of "loss", "eval loss", "accuracy", "learning rate", "tokens/s", "perplexity",
        "memory MiB"."""
        from qianfan.dataset.progress import in_notebook

        curves = self.curves.only(*names) if names else self.curves
        if in_notebook():
            return curves
        print(curves.text(names))
        return None

    def xray(self, sample: int) -> Xray:
        """A sample as the trainer reads it: its tokens, and which of them are learned.

        sample: its number in the ledger, from 1. Raises InternalError where the platform does not tell."""
        if self._run is None:
            raise InternalError("this log was made without its run", advice="take it from trainer.get_log()")
        return self._run.xray(sample)

    def __str__(self) -> str:
        return "\n".join(self)

    def _repr_html_(self) -> str:
        told = html.escape("\n".join([*([str(self.ledger)] if self.ledger else ()), *self[-_LINES:]]))
        return f"{self.curves.svg() if self.curves else ''}{self._answers()}<pre>{told}</pre>"

    def _answers(self) -> str:
        """The examples as a table in HTML."""
        if not self.examples:
            return ""
        names = ("sample", "question", "wanted", "before", "after")
        rows = [[html.escape(str(one.get(name, ""))) for name in names] for one in self.examples]
        cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
        heads = "".join(f"<th>{name}</th>" for name in names)
        return f"<table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def line_of(entry: dict[str, Any]) -> str:
    """A line of the log as text."""
    parts = (entry.get("time"), entry.get("level"), entry.get("text"))
    return " ".join(str(part) for part in parts if part not in (None, ""))
