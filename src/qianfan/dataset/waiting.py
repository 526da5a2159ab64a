"""Waiting for something on the platform: look, and look again, until the answer is final."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
SHORTEST_S = 0.05


class Clock(Protocol):
    """What `wait_until` waits with; tests give one that does not wait."""

    def pause(self, seconds: float, stop: threading.Event | None) -> bool:
        """Wait; return at once with True when `stop` is set meanwhile."""


class RealClock:
    """The clock of the machine."""

    def pause(self, seconds: float, stop: threading.Event | None) -> bool:
        if stop is not None:
            return stop.wait(seconds)
        time.sleep(seconds)
        return False


REAL_CLOCK = RealClock()


class Interrupted(Exception):
    """`stop` was set while waiting."""


def wait_until(
    look: Callable[[], T],
    final: Callable[[T], bool],
    every: float,
    clock: Clock = REAL_CLOCK,
    stop: threading.Event | None = None,
) -> T:
    """Look until the answer is final, and return it.

    every: seconds between looks; the platform's hint `pollAfter` in the answer makes it shorter, never longer.
    stop: when it is set, `Interrupted` is raised at once. What `look` raises goes through."""
    while True:
        if stop is not None and stop.is_set():
            raise Interrupted
        answer = look()
        if final(answer):
            return answer
        hint = poll_after(answer)
        pause = every if hint is None else min(every, max(hint, SHORTEST_S))
        if clock.pause(pause, stop):
            raise Interrupted


def progress_of(answer: Any) -> dict[str, Any]:
    """The member `progressDetail` of an answer, of its result, or of its version; {} when there is none."""
    place = answer
    for member in ("result", "versionInfo", None):
        detail = member_of(place, "progressDetail")
        if isinstance(detail, Mapping):
            return dict(detail)
        inner = member_of(place, member) if member else None
        place = inner if inner is not None else place
    return {}


def poll_after(answer: Any) -> float | None:
    """Seconds after which the platform wants to be asked again, or None."""
    hint = progress_of(answer).get("pollAfter")
    return (
        float(hint) if isinstance(hint, (int, float)) and not isinstance(hint, bool) and hint >= 0 else None
    )


def member_of(value: Any, name: str) -> Any:
    """A member of a mapping, or of a response that is read like one; None when it has none."""
    body = getattr(value, "body", value)
    return body.get(name) if isinstance(body, Mapping) else None
