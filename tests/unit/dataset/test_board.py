"""Bars in a notebook."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from qianfan.dataset.board import Board
from qianfan.dataset.progress import counting, in_notebook, reading, working


class Cell:
    """The output of a cell: what is drawn in it replaces what was drawn before."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.pictures = 0

    def display(self, picture: Any, display_id: bool = True) -> Cell:
        self.pictures += 1
        self.update(picture)
        return self

    def update(self, picture: Any) -> None:
        self.drawn.append(repr(picture))
        self.html = picture._repr_html_()


def test_a_board_draws_one_picture_and_changes_it() -> None:
    """A row for each thing; not more often than ten times a second, but the first and the last always."""
    cell, now = Cell(), [100.0]
    with Board(cell.display, lambda: now[0]) as board:
        board.tell("a", "training", None, "waiting <b>")
        for step in range(100):
            now[0] += 0.01
            board.tell("a", "training", step / 100, f"step {step}")
        board.tell("a", "training", 1.0, "done", ended=True)
        now[0] += 70
        board.tell("b", "publish")
    assert cell.pictures == 1
    assert 8 <= len(cell.drawn) <= 15
    assert "waiting &lt;b&gt;" not in cell.html
    first, last = cell.drawn[-1].splitlines()
    assert first == f"training  {'━' * 24} done  0:01"
    assert last.endswith("0:00")
    assert "<progress max='1' value=1.000>" in cell.html


class ZMQInteractiveShell:
    """By its name the shell of a notebook's kernel is known."""


class Colab(ZMQInteractiveShell):
    pass


def test_in_a_notebook_every_bar_is_drawn_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No widgets are asked for, whoever's kernel it is."""
    cell, python, display = Cell(), ModuleType("IPython"), ModuleType("IPython.display")
    python.get_ipython = Colab  # type: ignore[attr-defined]
    display.display = cell.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert in_notebook()
    with working("saving"):
        pass
    assert "saving" in cell.html
    with counting("asking") as told:
        told(3, 12)
    assert "3 of 12" in cell.html
    with reading("reading", 4_000_000) as read:
        assert read is not None
        read(1_000_000)
    assert "1.0 of 4.0 MB" in cell.html
    assert cell.pictures == 3
