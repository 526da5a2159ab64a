"""Looking until it is done."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from qianfan.dataset.waiting import Interrupted, poll_after, progress_of, wait_until


class Watch:
    """A clock that does not wait, and remembers what it was asked; it may set `stop` at one pause."""

    def __init__(self, stops_at: int | None = None) -> None:
        self.pauses: list[float] = []
        self.stops_at = stops_at

    def pause(self, seconds: float, stop: threading.Event | None) -> bool:
        self.pauses.append(seconds)
        return len(self.pauses) == self.stops_at


def test_it_looks_until_the_answer_is_final() -> None:
    """The final answer is returned at once, without a last pause."""
    answers, clock = iter([1, 2, 3]), Watch()
    assert wait_until(lambda: next(answers), lambda seen: seen == 3, 30.0, clock) == 3
    assert clock.pauses == [30.0, 30.0]


@pytest.mark.parametrize(
    ("hint", "pause"), [(0.3, 0.3), (90, 30.0), (0, 0.05), (None, 30.0), ("x", 30.0), (-1, 30.0)]
)
def test_the_platforms_hint_makes_it_shorter_never_longer(hint: Any, pause: float) -> None:
    """min(interval, hint); without a hint, or with a foolish one, the interval."""
    answers = iter([{"result": {"progressDetail": {"pollAfter": hint}}}, None])
    clock = Watch()
    wait_until(lambda: next(answers), lambda seen: seen is None, 30.0, clock)
    assert clock.pauses == [pause]


def test_a_stop_ends_the_waiting() -> None:
    """Set before, nothing is looked at; set while waiting, nothing more is."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        wait_until(lambda: pytest.fail("looked"), bool, 1.0, Watch(), stop)
    looks: list[int] = []
    with pytest.raises(Interrupted):
        wait_until(lambda: looks.append(1), lambda seen: False, 1.0, Watch(stops_at=2), threading.Event())
    assert len(looks) == 2


def test_the_detail_is_found_wherever_it_stands() -> None:
    """In the result, in a dataset's version, or on top."""
    detail = {"progressDetail": {"pollAfter": 1}}
    for answer in (detail, {"result": detail}, {"result": {"versionInfo": detail}}, {"versionInfo": detail}):
        assert poll_after(answer) == 1
    assert progress_of({"result": True}) == {} == progress_of(None)
