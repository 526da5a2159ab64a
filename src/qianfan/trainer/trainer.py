"""`Trainer`: a whole training in one call."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from qianfan.errors import InvalidArgumentError
from qianfan.trainer.consts import FinetuneStatus, status_of

if TYPE_CHECKING:
    from qianfan.trainer.base import BaseAction, Pipeline
    from qianfan.trainer.event import EventHandler


_IDS: Final = ("task_id", "job_id", "model_id", "model_version_id", "service_id", "service_endpoint")


class Trainer(ABC):
    """A whole training in one call: `run`, `stop`, `resume`.

    ppls: its pipelines. result: what each left, or `{"error": exception}` when it failed."""

    ppls: list[Pipeline] = []  # noqa: RUF012  documented; each object has its own
    result: list[Any] = []  # noqa: RUF012

    @abstractmethod
    def run(self, **kwargs: Any) -> Trainer:
        """Run the training and wait for its end."""

    @abstractmethod
    def stop(self, **kwargs: Any) -> Trainer:
        """Stop the training; called from another thread or from an event handler."""

    @abstractmethod
    def resume(self, **kwargs: Any) -> Trainer:
        """Go on after a stop or a failure."""

    @property
    @abstractmethod
    def output(self) -> Any:
        """What the training left."""

    @property
    def status(self) -> str:
        """The current action and its state in one word of `FinetuneStatus` or `ServiceStatus`."""
        pipeline = self._only_pipeline()
        action = pipeline.actions.get(pipeline.current_action)
        return FinetuneStatus.Unknown if action is None else status_of(type(action), action.state)

    def __repr__(self) -> str:
        pipelines = ", ".join(map(repr, self.ppls))
        return f"{type(self).__name__}(status={self._word()!r}, ppls=[{pipelines}])"

    def _repr_html_(self) -> str:
        """For a notebook: a row for each action, with its state and the ids that it left."""
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in _row(action))}</tr>"
            for pipeline in self.ppls
            for action in pipeline.actions.values()
        )
        head = html.escape(f"{type(self).__name__}: {self._word()}")
        return f"<table><caption>{head}</caption><tr><th>action<th>state<th>left</tr>{rows}</table>"

    @property
    def actions(self) -> dict[str, BaseAction[Any, Any]]:
        """The actions of the first pipeline by id."""
        return self.ppls[0].actions if self.ppls else {}

    def register_event_handler(self, event_handler: EventHandler, ppl_id: str | None = None) -> None:
        """Give the handler to one pipeline by its id, or to all, actions included."""
        chosen = [pipeline for pipeline in self.ppls if ppl_id in (None, pipeline.id)]
        if not chosen:
            raise InvalidArgumentError(
                f"there is no pipeline {ppl_id!r}", advice=f"its id is one of {[p.id for p in self.ppls]}"
            )
        for pipeline in chosen:
            pipeline.register_event_handler(event_handler)

    def get_evaluate_result(self) -> Any:
        """What the evaluation found, where the trainer evaluates."""
        raise NotImplementedError(
            f"{type(self).__name__} makes no evaluation; give it eval_dataset= and evaluators="
        )

    def get_log(self) -> Any:
        """The log of the training, where the trainer keeps one."""
        raise NotImplementedError(f"{type(self).__name__} keeps no log")

    def _word(self) -> str:
        return str(getattr(self.status, "value", self.status)) if len(self.ppls) == 1 else ""

    def _only_pipeline(self) -> Pipeline:
        if len(self.ppls) != 1:
            raise InvalidArgumentError(
                f"the trainer has {len(self.ppls)} pipelines where one is wanted",
                advice="make the trainer through its constructor",
            )
        return self.ppls[0]


def _row(action: BaseAction[Any, Any]) -> tuple[str, str, str]:
    left = action.result if isinstance(action.result, dict) else {}
    ids = [f"{name} {value}" for name, value in left.items() if name in _IDS]
    return type(action).__name__, action.state.value, ", ".join(ids)
