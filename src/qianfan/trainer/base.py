"""Actions and pipelines: what runs, in which order, and what it tells while it runs."""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from qianfan.contract.ids import random_word
from qianfan.dataset import state as saved_state
from qianfan.errors import InternalError, InvalidArgumentError, TrainingFailed
from qianfan.model.runnable import Executable, ExecuteSerializable, Input, Output, Serializable
from qianfan.trainer.consts import ActionState
from qianfan.trainer.event import Event, EventHandler, a_handler, dispatch_event
from qianfan.trainer.trainer import Trainer
from qianfan.utils.logging import logger

__all__ = [
    "BaseAction",
    "Executable",
    "ExecuteSerializable",
    "Pipeline",
    "RunStopped",
    "Serializable",
    "Trainer",
    "with_event",
]

T = TypeVar("T")


class RunStopped(TrainingFailed):
    """The run was stopped before it ended."""


class BaseAction(ExecuteSerializable[Input, Output], ABC):
    """One step of a pipeline.

    id: letters and digits, random by default; the key in `Pipeline.actions`. name: default `action_<id>`.
    event_handler: hears the events of this action. state: the state of the last event.

    A subclass writes `exec` and `resume`, decorated with `with_event` to have them told; to be saved with a
    pipeline it is decorated with `qianfan.dataset.state.saved` and adds what it holds to `to_state`."""

    kind: ClassVar[str] = "action"
    id: str
    name: str
    state: ActionState
    event_dispatcher: EventHandler | None
    result: Output | None = None

    def __init__(
        self,
        id: str | None = None,
        name: str | None = None,
        event_handler: EventHandler | None = None,
        **kwargs: Any,
    ) -> None:
        self.id = id or random_word(10)
        self.name = name or f"action_{self.id}"
        self.state = ActionState.Preceding
        self.event_dispatcher = a_handler(event_handler)
        self._say_ignored(kwargs)
        self._input: Any = None
        self._observers: list[Callable[[BaseAction[Any, Any], Event], None]] = []
        self._keepers: list[Callable[[], None]] = []  # who writes the state down, between the events too
        self._shown = False  # a progress tells what would else be logged
        self._stop = threading.Event()
        self._in_pipeline = False
        self._telling = False
        self._stop_told = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, state={self.state.value!r})"

    @classmethod
    def action_type(cls) -> str:
        """The type of the action in one word."""
        return "base"

    @abstractmethod
    def exec(self, input: Input | None = None, **kwargs: Any) -> Output:
        """Run the action once."""

    @abstractmethod
    def resume(self, **kwargs: Any) -> Output:
        """Go on from the last input: work that is done is not done again."""

    def stop(self, **kwargs: Any) -> None:
        """Stop the action; `exec` in another thread ends within 0.2 s. Told once, as `Stopped`."""
        self._stop.set()
        self._tell_stopped()

    def action_event(self, state: ActionState, msg: str = "", data: Any = None) -> None:
        """Set the state and tell it to the handler. msg: a sentence. data: see `Event`."""
        self._tell(state, f"action_event: action[{self.id}], msg:{msg or state.value}", data)

    def action_error_event(self, e: Exception) -> None:
        """Set the state Error and tell it, with the text of the error as `data["error"]`."""
        self._tell(ActionState.Error, f"action_error: action[{self.id}], msg:{e}", {"error": str(e)})

    def dumps(self) -> bytes | None:
        """The state as versioned JSON."""
        return saved_state.pack(self)

    def loads(self, data: bytes) -> Any:
        """A new action of the saved state; this one stays as it is. Pickled bytes raise UnsafeState."""
        from qianfan.trainer import loads

        return loads(data, BaseAction)

    def to_state(self) -> dict[str, Any]:
        """What is saved; a subclass adds its own members."""
        return {
            "id": self.id,
            "name": self.name,
            "action_state": self.state,
            "input": self._input,
            "result": self.result,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """An action of a saved state; constructor arguments are the members that are not of BaseAction."""
        own = {k: v for k, v in state.items() if k not in ("action_state", "input", "result")}
        return cls(**own)._restored(state)

    def _restored(self, state: dict[str, Any]) -> Any:
        self.state = ActionState(state["action_state"])
        self._input, self.result = state.get("input"), state.get("result")
        return self

    def _renew(self, input: Any) -> None:
        """Forget what an earlier execution left: this one begins anew, with this input."""
        self._input, self.result = input, None
        self.state = ActionState.Preceding

    def _is_unended(self) -> bool:
        """Whether it was begun and told no end: it runs, or was interrupted, here or in another process."""
        return self.state is ActionState.Running

    def _note(self) -> None:
        """Have the state written down now: the platform has begun what must not be begun twice."""
        for keep in list(self._keepers):
            keep()

    def _say_ignored(self, unknown: Iterable[str]) -> None:
        """Warn of arguments that no constructor of this class has."""
        for name in unknown:
            makers = [vars(cls)["__init__"] for cls in type(self).__mro__ if "__init__" in vars(cls)]
            known = {word for maker in makers[:-1] for word in inspect.signature(maker).parameters}
            near = difflib.get_close_matches(name, known - {"self", "args", "kwargs"}, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            logger.warning("%s has no argument %r, so it is ignored%s", type(self).__name__, name, meant)

    def _adopt(self, stop: threading.Event) -> None:
        """Share the pipeline's stop; only the outermost pipeline clears it."""
        self._stop, self._in_pipeline = stop, True

    def _clear_stop(self) -> None:
        if not self._in_pipeline:
            self._stop.clear()

    def _tell(self, state: ActionState, description: str, data: Any) -> None:
        with self._lock:
            if self._stop_told and state is ActionState.Running:
                return  # of a look that was under way when it was stopped
            self.state = state
        event = Event(self.id, state, description, data, action_class=type(self).__name__)
        dispatch_event(self.event_dispatcher, event)
        for observer in list(self._observers):
            observer(self, event)

    def _tell_stopped(self) -> None:
        with self._lock:
            if self._stop_told:
                return
            self._stop_told = True
        self.action_event(ActionState.Stopped, "stopped", {})

    def _told(self, work: Callable[[], T]) -> T:
        """Tell, work, tell: Preceding, then Done, Error or Stopped. Inside another `_told` it only works."""
        if self._telling:
            return work()
        self._telling, self._stop_told = True, False
        self._clear_stop()
        try:
            self.action_event(ActionState.Preceding, data={})
            result = work()
            if not self._stop_told:
                self.action_event(ActionState.Done, data=result)
            return result
        except RunStopped as error:
            if self._stop.is_set() or not isinstance(self, Pipeline):
                self._tell_stopped()
            else:
                self.action_error_event(error)  # stopped on the platform, not by us
            raise
        except Exception as error:
            self.action_error_event(error)
            raise
        finally:
            self._telling = False


def with_event(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `exec` or `resume` of an action: Preceding is told before, Done or Error after it.

    An error goes on to the caller. Where the method calls another one that tells, only the outer one does."""

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self, BaseAction):
            return func(self, *args, **kwargs)
        return self._told(lambda: func(self, *args, **kwargs))

    return wrapper


@saved_state.saved
class Pipeline(BaseAction[dict[str, Any], dict[str, Any]]):
    """Actions in a row: the output of each is the input of the next.

    actions: in order; two of one id raise ValueError. post_actions: run after the last, each with a copy of
    the final output; what they return is dropped. event_handler: hears the pipeline, and every action that
    has no handler of its own.

    `actions` are the actions by id, `seq` their ids in order, `current_action` the id last started."""

    kind = "pipeline"

    def __init__(
        self,
        actions: Sequence[BaseAction[Any, Any]],
        post_actions: Sequence[BaseAction[Any, Any]] = (),
        event_handler: EventHandler | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_handler=event_handler, **kwargs)
        for one in [*actions, *post_actions]:
            if not isinstance(one, BaseAction):
                raise InvalidArgumentError(
                    f"a pipeline is made of actions, {one!r} is none",
                    advice="subclass qianfan.trainer.base.BaseAction, and give an object of it",
                )
        self.actions: dict[str, BaseAction[Any, Any]] = {}
        for action in actions:
            if action.id in self.actions:
                raise ValueError(f"two actions have the id {action.id!r}; give each its own")
            self.actions[action.id] = action
        self.seq = list(self.actions)
        self.post_actions = list(post_actions)
        self.current_action = ""
        self._posts_done = 0  # post_actions that need not be done again
        self._working = False  # the current action is at it
        for action in [*actions, *self.post_actions]:
            action._adopt(self._stop)
            if event_handler is not None and action.event_dispatcher is None:
                action.event_dispatcher = event_handler

    @classmethod
    def action_type(cls) -> str:
        return "pipeline"

    def __repr__(self) -> str:
        names = ", ".join(type(action).__name__ for action in self.actions.values())
        return f"{type(self).__name__}(id={self.id!r}, actions=[{names}], state={self.state.value!r})"

    def __getitem__(self, key: str) -> BaseAction[Any, Any] | None:
        return self.actions.get(key)

    def exec(self, input: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
        """Run all actions and return the last output; a stopped pipeline returns the last one there is."""
        self._input, self._posts_done = copy.deepcopy(input), 0
        return self._told(lambda: self._run(input, 0, **kwargs))

    def exec_from(
        self, input: dict[str, Any] | None = None, start: int | str | None = 0, **kwargs: Any
    ) -> dict[str, Any]:
        """Run from an action on. start: its index or its id, else InvalidArgumentError.

        input: of that action; by default what the action before it left."""
        self._clear_stop()
        self._posts_done = 0
        return self._run(input, self._index(start), **kwargs)

    def resume(self, **kwargs: Any) -> dict[str, Any]:
        """Go on with the current action, then with those after it; one that never ran starts from the beginning."""
        return self._told(lambda: self._again(**kwargs))

    def stop(self, **kwargs: Any) -> None:
        """Stop the current action and start no other. Raises InternalError when nothing was started.

        A training that goes on on the platform though nobody waits for it any more, after Ctrl-C or a crash,
        is stopped there, too."""
        action = self.actions.get(self.current_action)
        if action is None and not self._telling:
            raise InternalError("unknown action to stop: the pipeline was not started", advice="run it first")
        self._stop.set()
        if action is not None and (self._working or action._is_unended()):
            action.stop(**kwargs)
        self._tell_stopped()

    def register_event_handler(self, event_handler: EventHandler, action_id: str | None = None) -> None:
        """Give the handler to one action, or without an id to the pipeline and all its actions."""
        a_handler(event_handler)
        if action_id is not None:
            self.actions[self.seq[self._index(action_id)]].event_dispatcher = event_handler
            return
        for action in [self, *self.actions.values(), *self.post_actions]:
            action.event_dispatcher = event_handler

    def to_state(self) -> dict[str, Any]:
        return {
            **super().to_state(),
            "actions": list(self.actions.values()),
            "post_actions": self.post_actions,
            "current_action": self.current_action,
            "post_actions_done": self._posts_done,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        pipeline = cls(state["actions"], state["post_actions"], id=state["id"], name=state["name"])
        pipeline.current_action = state["current_action"]
        pipeline._posts_done = state.get("post_actions_done", 0)
        return pipeline._restored(state)

    def _adopt(self, stop: threading.Event) -> None:
        super()._adopt(stop)
        for action in [*self.actions.values(), *self.post_actions]:
            action._adopt(stop)

    def _index(self, start: Any) -> int:
        if isinstance(start, str) and start in self.actions:
            return self.seq.index(start)
        if isinstance(start, int) and not isinstance(start, bool) and 0 <= start <= len(self.seq):
            return start
        raise InvalidArgumentError(
            f"there is no action {start!r} in the pipeline",
            advice=f"give an index below {len(self.seq)}, or one of the ids {', '.join(self.seq)}",
        )

    def _run(self, input: dict[str, Any] | None, start: int, **kwargs: Any) -> dict[str, Any]:
        if input is None and start > 0:
            input = self.actions[self.seq[start - 1]].result
        output: Any = copy.deepcopy(input) if input is not None else {}
        for id in self.seq[start:]:
            if self._stop.is_set():
                return self._keep(output)
            action = self.actions[id]
            self.current_action = id
            action._renew(output)
            self.action_event(ActionState.Running, "pipeline running", {"action": id})
            if self._stop.is_set():
                return self._keep(output)
            output = self._work(action.exec, input=output, **kwargs)
            if action.result is None:
                action.result = output
        for post in self.post_actions[self._posts_done :]:
            if self._stop.is_set():
                break
            post.exec(input=copy.deepcopy(output), **kwargs)
            self._posts_done += 1
        return self._keep(output)

    def _again(self, **kwargs: Any) -> dict[str, Any]:
        if self.current_action not in self.actions:
            return self._run(self._input, 0, **kwargs)
        self.action_event(ActionState.Running, "pipeline resumed", {"action": self.current_action})
        output = self._work(self.actions[self.current_action].resume, **kwargs)
        return self._run(output, self.seq.index(self.current_action) + 1, **kwargs)

    def _work(self, work: Callable[..., Any], **kwargs: Any) -> Any:
        self._working = True
        try:
            return work(**kwargs)
        finally:
            self._working = False

    def _keep(self, output: Any) -> dict[str, Any]:
        self.result = output
        return output  # type: ignore[no-any-return]
