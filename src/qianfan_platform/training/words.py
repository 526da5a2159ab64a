"""A trainer's events in words: the lines of a run's log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final


def in_words(event: dict[str, Any]) -> tuple[str, str]:
    """(level, text) of one event; levels are debug, info, warning, error."""
    kind = event.get("kind", "")
    if kind == "log":
        return str(event.get("level", "info")), str(event.get("text", ""))
    teller = _TELLERS.get(kind)
    return ("error" if kind == "failed" else "info"), teller(event) if teller else kind


def _plan(event: dict[str, Any]) -> str:
    estimate = event.get("estimate") or {}
    text = (
        f"{event.get('steps')} steps over {event.get('epochs')} epochs, "
        f"{event.get('trainable_parameters', 0):,} trainable parameters, "
        f"{event.get('dtype')}, {event.get('threads')} threads"
    )
    if estimate:
        text += f"; about {estimate.get('seconds', 0):.0f} s and {estimate.get('memory_mib', 0):.0f} MiB"
    if estimate.get("seconds_range"):
        least, most = estimate["seconds_range"]
        text += f" ({least:.0f} to {most:.0f} s by {estimate['of_runs']} earlier runs)"
    if event.get("resumed_step"):
        text += f"; goes on from step {event['resumed_step']}"
    return text


def _ledger(event: dict[str, Any]) -> str:
    split = "".join(f"{event[what]} {what}, " for what in ("split", "refused") if event.get(what))
    return (
        f"{event.get('samples')} samples: {event.get('kept')} kept, {event.get('truncated')} truncated, {split}"
        f"{event.get('dropped')} dropped; {event.get('trained_tokens')} tokens are trained on"
    )


def _step(event: dict[str, Any]) -> str:
    return (
        f"step {event.get('step')}/{event.get('steps')}  loss {event.get('loss') or 0:.4f}  "
        f"learning rate {event.get('learning_rate', 0):.3g}  {event.get('tokens_per_second', 0):.0f} tokens/s"
    )


def _eval(event: dict[str, Any]) -> str:
    text = f"step {event.get('step')}: held-out loss {event.get('loss') or 0:.4f}"
    if event.get("perplexity") is not None:
        text += f", perplexity {event['perplexity']:.3f}"
    if event.get("accuracy") is not None:
        text += f", the better answer preferred in {event['accuracy']:.0%}"
    return text


def _finished(event: dict[str, Any]) -> str:
    return (
        f"finished at step {event.get('step')} after {event.get('seconds', 0):.0f} s, "
        f"{event.get('tokens_per_second', 0):.0f} tokens/s"
    )


_TELLERS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "plan": _plan,
    "ledger": _ledger,
    "step": _step,
    "eval": _eval,
    "checkpoint": lambda event: f"checkpoint at step {event.get('step')}",
    "finished": _finished,
    "failed": lambda event: str(event.get("reason", "failed")),
    "stopped": lambda event: (
        f"stopped at step {event['step']}" if event.get("step") else "stopped before it made a step"
    ),
}
