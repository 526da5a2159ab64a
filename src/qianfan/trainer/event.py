"""Events: what an action tells about itself, and the handler that hears it."""

from __future__ import annotations

from typing import Any

from qianfan.errors import InvalidArgumentError
from qianfan.trainer.consts import ActionState
from qianfan.utils.logging import logger


class Event:
    """One thing that happened to an action or a pipeline.

    action_id: id of the action, the key in `Pipeline.actions`. action_state: what happened.
    description: a sentence. data: `{}` before the work, the task detail while a training runs,
    the result when done, `{"error": text}` on an error."""

    action_class: str | None = None
    action_id: str | None = None
    action_state: ActionState
    description: str | None = None
    data: Any = None

    def __init__(
        self,
        action_id: str | None,
        state: ActionState,
        description: str | None = None,
        data: Any = None,
        *,
        action_class: str | None = None,
    ) -> None:
        self.action_id = action_id
        self.action_state = state
        self.description = description
        self.data = data
        self.action_class = action_class

    def __repr__(self) -> str:
        return str(
            {
                "action_class": self.action_class,
                "action_id": self.action_id,
                "action_state": self.action_state.value,
                "description": self.description,
                "data": self.data,
            }
        )


class EventHandler:
    """Hears events. Subclass it and write `dispatch`."""

    def dispatch(self, event: Event) -> None:
        """Called for every event, in the thread that runs the action. Does nothing by default."""


def a_handler(given: EventHandler | None) -> EventHandler | None:
    """What was given as a handler, if it can hear events; else InvalidArgumentError."""
    if given is None or (callable(getattr(given, "dispatch", None)) and not isinstance(given, type)):
        return given
    raise InvalidArgumentError(
        f"{given!r} cannot hear events",
        advice="subclass qianfan.trainer.EventHandler, write dispatch(self, event), and give an object of it",
    )


def dispatch_event(event_handler: EventHandler | None = None, event: Event | None = None) -> None:
    """Give the event to the handler, if there are both.

    A handler that fails is logged and does not stop the run."""
    if event_handler is None or event is None:
        return
    try:
        event_handler.dispatch(event)
    except Exception:
        logger.exception(
            "the event handler %s failed on %s of action %s; the run goes on",
            type(event_handler).__name__,
            event.action_state.value,
            event.action_id,
        )
