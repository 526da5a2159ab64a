"""What the four actions have in common: they tell around their work, resume, and can be interrupted."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import Interrupted
from qianfan.errors import InvalidArgumentError
from qianfan.resources.console.utils import OPTIONS
from qianfan.trainer.base import BaseAction, RunStopped
from qianfan.utils.logging import logger

Fields = dict[str, Any]
Id = int | str


def warn_of_unknown(given: Fields, *also: str) -> None:
    """Warn of keywords of a run that are no option of a call, and so are heard by nobody here.

    also: what else is taken."""
    for name in given.keys() - OPTIONS - set(also):
        near = difflib.get_close_matches(name, [*OPTIONS, *also], 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        logger.warning("no call has the option %r, only actions of your own may take it%s", name, meant)


class Step(BaseAction[Fields, Fields]):
    """An action that tells around `work`: Preceding before it, Done, Error or Stopped after it."""

    result: Fields | None = None

    def exec(self, input: Fields | None = None, **kwargs: Any) -> Fields:
        """Run the action once; the output is `{**input, …}`. kwargs: options of the calls it makes."""
        if input is not None and not isinstance(input, Mapping):
            raise InvalidArgumentError(
                f"the input of {type(self).__name__} is a dict, not {input!r}",
                advice="give what the action before it returned",
            )
        self._renew(dict(input or {}))
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
        if not self._in_pipeline:
            warn_of_unknown(kwargs)
        try:
            return self.work(input, transport_options(kwargs), again)
        except Interrupted:
            raise RunStopped(
                f"{type(self).__name__} was stopped", advice="resume() goes on with it"
            ) from None

    def _done(self, result: Any) -> Fields:
        self.result = result
        return self.result
