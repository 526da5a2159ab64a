"""Saying, once, that another model answers than the one that was asked for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Final

from qianfan.utils.logging import logger

HEADER: Final = "x-qianfan-served-by"  # `<entry of the catalogue>`, or `<entry>; stand-in`
_TALKING: Final = frozenset({"chat", "completions", "plugin"})

_told: set[str] = set()  # values of the header, of this process


def notice(headers: Mapping[str, str], kind: str) -> None:
    """Look at the headers of an answer; the first of a stand-in is told to the log, or to the terminal.

    kind: of the class that asked. With the log switched off or taken over by the program, the line goes to
    standard error where that is a terminal: nobody shall take a stand-in for the model behind the name."""
    served = headers.get(HEADER)
    if served is None or served in _told:
        return
    _told.add(served)
    entry, _, mark = served.partition(";")
    if mark.strip() != "stand-in":
        return
    brings = "a model that speaks Chinese" if kind in _TALKING else "another one"
    line = (
        f"{entry.strip()} answers, as a stand-in for the model that was asked for; an entry in the platform's"
        f" catalogue brings {brings}: docs/guides/catalogue.md"
    )
    logger.warning(line)
    if sys.stderr.isatty() and not _shown_by_log():
        print(line, file=sys.stderr)


def _shown_by_log() -> bool:
    """True when the SDK's own handler has written the line to standard error."""
    return logger.isEnabledFor(logging.WARNING) and not logging.getLogger().handlers
