"""Markdown on a terminal while it is still being written."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

FENCE: Final = "```"
PER_SECOND: Final = 12


def settled(text: str, start: int) -> int:
    """Where the last finished block after `start` ends: an empty line outside of a code block, else `start`."""
    end, fenced, place = start, False, start
    for line in text[start:].splitlines(keepends=True):
        place += len(line)
        if line.lstrip().startswith(FENCE):
            fenced = not fenced
        if not fenced and not line.strip() and line.endswith("\n"):
            end = place
    return end


class Rendered:
    """Prints finished blocks for good; only the one that still grows is drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text, self._printed = "", 0
        self._live: Live | None = None

    def piece(self, text: str) -> None:
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=PER_SECOND, transient=True)
            self._live.start()
        self._text += text
        end = settled(self._text, self._printed)
        if end > self._printed:
            self._console.print(Markdown(self._text[self._printed : end]))
            self._printed = end
        self._live.update(Markdown(self._text[self._printed :]))

    def end(self) -> None:
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if rest := self._text[self._printed :].strip():
            self._console.print(Markdown(rest))
        self._text, self._printed = "", 0
