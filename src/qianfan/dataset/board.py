"""Bars in a notebook, drawn by IPython alone: no widgets have to be installed."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Final

_EVERY_S: Final = 0.1  # between two drawings
_CELLS: Final = 24  # of a bar as text


@dataclass
class _Row:
    label: str
    share: float | None
    facts: str
    since: float
    until: float | None = None

    def seconds(self, now: float) -> int:
        return int((self.until if self.until is not None else now) - self.since)


class Board:
    """A bar for each thing that goes on, in the output of one cell. It is drawn anew when it is told something.

        with Board() as board:
            board.tell("rows", "reading", 0.4, "4 of 10")

    display: shows an object and gives a handle with `update(object)`; by default IPython's."""

    def __init__(
        self, display: Callable[[Any], Any] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._display, self._clock = display or _in_the_cell, clock
        self._rows: dict[str, _Row] = {}
        self._handle: Any = None
        self._drawn = float("-inf")

    def tell(
        self, id: str, label: str, share: float | None = None, facts: str = "", *, ended: bool = False
    ) -> None:
        """Say how far something is. share: 0 to 1; None where it is not known. ended: its clock stops."""
        now = self._clock()
        row = self._rows.setdefault(id, _Row(label, None, "", now))
        news = ended or row.since == now
        row.share, row.facts = share, facts
        if ended and row.until is None:
            row.until = now
        if news or now - self._drawn >= _EVERY_S:
            self._draw(now)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = self._clock()
        for row in self._rows.values():
            row.until = row.until if row.until is not None else now
        if self._rows:
            self._draw(now)

    def _draw(self, now: float) -> None:
        self._drawn = now
        picture = _Picture(
            [(row.label, row.share, row.facts, row.seconds(now)) for row in self._rows.values()]
        )
        if self._handle is None:
            self._handle = self._display(picture)
        else:
            self._handle.update(picture)


class _Picture:
    """What a notebook draws, and the text for those that draw nothing."""

    def __init__(self, rows: list[tuple[str, float | None, str, int]]) -> None:
        self._rows = rows

    def __repr__(self) -> str:
        return "\n".join(
            f"{label:<9} {_bar(share)} {facts}  {took // 60}:{took % 60:02d}"
            for label, share, facts, took in self._rows
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(label)}<td><progress max='1'"
            f"{'' if share is None else f' value={share:.3f}'}></progress>"
            f"<td style='text-align:left'>{html.escape(facts)}<td>{took // 60}:{took % 60:02d}</tr>"
            for label, share, facts, took in self._rows
        )
        return f"<table>{rows}</table>"


def _bar(share: float | None) -> str:
    full = 0 if share is None else round(share * _CELLS)
    return "━" * full + "·" * (_CELLS - full)


def _in_the_cell(picture: Any) -> Any:
    return import_module("IPython.display").display(picture, display_id=True)
