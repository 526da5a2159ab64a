"""What was typed into `qianfan chat`, kept from one conversation to the next, and line editing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

LONGEST: Final = 1000  # lines kept


def state_folder() -> Path:
    """Where programs of this user keep what they remember."""
    if named := os.environ.get("XDG_STATE_HOME"):
        return Path(named) / "qianfan"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "qianfan"
    return Path.home() / ".local" / "state" / "qianfan"


@contextlib.contextmanager
def line_editing(complete: Callable[[str], list[str]], keep: bool) -> Iterator[Path | None]:
    """Line editing inside the block. keep: read the history before, and write it afterwards.

    complete: what a word at the cursor may become. Yields the history's file, None when nothing is kept."""
    readline = _readline()
    if readline is None:
        yield None
        return
    file = state_folder() / "chat_history" if keep else None
    readline.clear_history()
    if file is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(file)
    readline.set_completer(lambda text, number: [*complete(text), None][number])
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
    try:
        yield file
    finally:
        readline.set_completer(None)
        if file is not None:
            _write(readline, file)


def _write(readline: ModuleType, file: Path) -> None:
    """Only this user may read it. A folder that cannot be written to costs the history, not the program."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600, exist_ok=True)
        readline.set_history_length(LONGEST)
        readline.write_history_file(file)


def _readline() -> ModuleType | None:
    try:
        import readline
    except ImportError:  # not everywhere
        return None
    return readline
