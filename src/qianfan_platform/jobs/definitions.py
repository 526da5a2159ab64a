"""Which jobs this program knows, and what a handler may raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

Handler = Callable[..., Awaitable[None]]
H = TypeVar("H", bound=Handler)


class Retry(Exception):
    """Raised by a handler: not now; run me again in `after_s` seconds. Not counted as an attempt."""

    def __init__(self, after_s: float, reason: str = "") -> None:
        self.after_s = after_s
        super().__init__(reason or f"to be tried again in {after_s:g} s")


class Cancelled(Exception):
    """Raised by `step.check()` when the job was asked to stop: ends the handler, the job is cancelled."""


class Fenced(Exception):
    """Another worker has taken the job over; nothing was written. The handler must stop: let it pass."""


class Unfit(Exception):
    """What was given cannot be worked on, and its owner is told why: the log gets a line, no traceback."""


@dataclass(frozen=True)
class Definition:
    """A kind of job: its handler, what follows a failure or a cancellation, and how often it is tried."""

    kind: str
    run: Handler  # (step, **args)
    on_failure: Handler | None  # (step, error, **args)
    on_cancel: Handler | None  # (tx, job, **args)
    max_attempts: int


KNOWN: Final[dict[str, Definition]] = {}


def job(
    kind: str,
    *,
    on_failure: Handler | None = None,
    on_cancel: Handler | None = None,
    max_attempts: int = 1,
) -> Callable[[H], H]:
    """Register `async def handler(step, **args)` for jobs of `kind`, such as "training.run".

    on_failure(step, error, **args) runs when an error of the handler is final; with the commit of its first
        `step.transaction()` the job is failed.
    on_cancel(tx, job, **args) runs in the transaction in which the job becomes cancelled.
    max_attempts: how often the handler may raise before that is final, with growing pauses between; a lost
        worker is no attempt."""

    def register(handler: H) -> H:
        known = KNOWN.get(kind)
        if known is not None and known.run.__qualname__ != handler.__qualname__:
            raise ValueError(f"the job {kind!r} is registered already, by {known.run.__qualname__}")
        KNOWN[kind] = Definition(kind, handler, on_failure, on_cancel, max_attempts)
        return handler

    return register


def reason_of(error: BaseException) -> str:
    """What is kept of an error: its text (a Fault's with the advice), at most 2000 characters."""
    text = getattr(error, "text", None) or str(error) or type(error).__name__
    return str(text)[:2000]
