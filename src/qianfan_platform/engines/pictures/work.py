"""What a model of the child process is asked, and how it may end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Stopped(Exception):
    """Nobody waits for the answer any more."""


class Refused(Exception):
    """The model is well, but cannot do this. The text is for the user."""


class TooLong(Exception):
    """The prompt does not fit; its tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens


class Work:
    """One question under way, as the model sees it."""

    def __init__(self, given_up: Callable[[], bool], say: Callable[[Mapping[str, Any]], None]) -> None:
        self._given_up, self._say, self._steps = given_up, say, 0

    def step(self) -> None:
        """Tell that work goes on. Raises Stopped when it should not."""
        if self._given_up():
            raise Stopped
        self._steps += 1
        self._say({"step": self._steps})

    def text(self, piece: str) -> None:
        """A piece of the answer."""
        self._say({"text": piece})


class Model(Protocol):
    """What answers: a painter or a looker. `answer` gives the members of the end, and pictures as PNG."""

    device: str

    def answer(self, ask: Mapping[str, Any], work: Work) -> tuple[dict[str, Any], list[bytes]]: ...
