"""Whether progress is shown, and one line of it for a call that takes a while."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qianfan.config import get_config
from qianfan.dataset.board import Board


def wanted(asked: bool | None = None) -> bool:
    """Whether to show progress: as asked, else as QIANFAN_PROGRESS says, else on a terminal or in a notebook."""
    if asked is not None:
        return asked
    setting = get_config().PROGRESS
    if isinstance(setting, bool):
        return setting
    return in_notebook() or bool(getattr(sys.stdout, "isatty", lambda: False)())


def in_notebook() -> bool:
    """True inside a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return any(
        kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__
    )  # Colab's is a child of it


@contextmanager
def working(what: str, asked: bool | None = None) -> Iterator[None]:
    """Show a moving line with `what` while the block runs; nothing where progress is not wanted."""
    if not wanted(asked):
        yield
        return
    if in_notebook():
        with Board() as board:
            board.tell("", what)
            yield
            board.tell("", what, 1.0, ended=True)
        return
    from rich.console import Console

    with Console().status(what):
        yield


@contextmanager
def counting(what: str, asked: bool | None = None) -> Iterator[Callable[[int, int], None]]:
    """A bar with `what`, for as long as the block runs: it gives a function to be told (done, total).

    total 0: it is not known yet. Nothing is shown where progress is not wanted."""
    if not wanted(asked):
        yield lambda done, total: None
        return
    if in_notebook():
        with Board() as board:
            yield lambda done, total: board.tell(
                "", what, done / total if total else None, f"{done} of {total}" if total else str(done)
            )
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def reading(what: str, size: int, asked: bool | None = None) -> Iterator[Callable[[int], None] | None]:
    """A bar with `what` for a file of `size` bytes: it gives a function to be told how many have been read.

    None where progress is not wanted."""
    if not size or not wanted(asked):
        yield None
        return
    if in_notebook():
        with Board() as board:
            yield lambda done: board.tell(
                "", what, min(1.0, done / size), f"{done / 1e6:.1f} of {size / 1e6:.1f} MB"
            )
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=size)
        yield lambda done: bar.update(task, completed=done)
