"""What the four actions have in common: they tell around their work, resume, and can be interrupted."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import Interrupted
from qianfan.trainer.base import BaseAction, RunStopped

Fields = dict[str, Any]
Id = int | str


class Step(BaseAction[Fields, Fields]):
    """An action that tells around `work`: Preceding before it, Done, Error or Stopped after it."""

    result: Fields | None = None

    def exec(self, input: Fields | None = None, **kwargs: Any) -> Fields:
        """Run the action once; the output is `{**input, …}`. kwargs: options of the calls it makes."""
        self._input, self.result = dict(input or {}), None
        return self._told(lambda: self._done(self._interruptible(self._input, kwargs)))

    def resume(self, **kwargs: Any) -> Fields:
        """Go on from the last input; what is done already is not done again."""
        if self.result is not None:
            return self._told(lambda: self._done(self.result))
        return self._told(lambda: self._done(self._interruptible(self._input or {}, kwargs, again=True)))

    @abstractmethod
    def work(self, input: Fields, options: Fields, again: bool) -> Fields:
        """The work itself. options: of the transport. again: it was begun before."""

    def _interruptible(self, input: Fields, kwargs: Fields, again: bool = False) -> Fields:
        try:
            return self.work(input, transport_options(kwargs), again)
        except Interrupted:
            raise RunStopped(
                f"{type(self).__name__} was stopped", advice="resume() goes on with it"
            ) from None

    def _done(self, result: Any) -> Fields:
        self.result = result
        return self.result
