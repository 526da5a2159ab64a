"""A trainer with one pipeline: it runs, stops, goes on, is saved, and goes on in another process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from qianfan.config import get_config
from qianfan.contract import train_types
from qianfan.dataset import state as saved_state
from qianfan.errors import InternalError, InvalidArgumentError
from qianfan.model.log import TrainLog
from qianfan.trainer import kept, live
from qianfan.trainer.base import Pipeline, Trainer
from qianfan.trainer.evaluating import EvaluateAction
from qianfan.trainer.steps import warn_of_unknown
from qianfan.trainer.training import TrainAction
from qianfan.utils.logging import logger

T = TypeVar("T", bound="PipelineTrainer")


class PipelineTrainer(Trainer):
    """What `LLMFinetune`, `PostPreTrain` and `DPO` have in common.

    While it runs it is kept as JSON in the cache folder (QIANFAN_CACHE_DIR; QIANFAN_DISABLE_CACHE=1 turns that
    off), without keys: `list()` shows what is there, `load(id).resume()` goes on with it."""

    kind: ClassVar[str]
    train_mode: ClassVar[str] = "SFT"

    @classmethod
    def train_type_list(cls) -> dict[str, train_types.TrainType]:
        """What can be trained, by name: base, tuning methods, defaults and the cloud's limits."""
        return {name: row for name, row in train_types.table().items() if cls.train_mode in row.modes}

    @property
    def id(self) -> str:
        """The id of the pipeline, by which the trainer is kept."""
        return self._only_pipeline().id

    @property
    def train_action(self) -> TrainAction:
        """The action that trains. Raises InvalidArgumentError where there is none."""
        for action in self.actions.values():
            if isinstance(action, TrainAction):
                return action
        raise InvalidArgumentError("the trainer has no TrainAction", advice="make it through its constructor")

    def run(self, **kwargs: Any) -> Trainer:
        """Run the whole training and wait for its end; `trainer.result[0]` is what it left. Returns self.

        input: the first action's input, such as {"name": "my_model"}. show_progress: True or False; by
        default a bar is shown on a terminal and in a notebook. Other keywords are options of the calls, such as
        retry_count and request_timeout. A failure is kept as `{"error": exception}` in `result[0]` and raised.
        Raises InvalidArgumentError when the trainer has no pipeline."""
        input = kwargs.pop("input", None)
        return self._drive(lambda pipeline, options: pipeline.exec(input, **options), kwargs)

    def resume(self: T, **kwargs: Any) -> T:
        """Go on after a stop or a failure, also in another process after `loads` or `load`. Returns self.

        A run that still goes on is waited for; one that was stopped or failed is created again for the same
        task: this platform starts it from its last checkpoint, the cloud from the beginning."""
        return self._drive(lambda pipeline, options: pipeline.resume(**options), kwargs)

    def stop(self, **kwargs: Any) -> Trainer:
        """Stop the training: from another thread, from an event handler, where `start()` runs it, or after Ctrl-C
        or a crash left it alone on the platform. Returns self.

        `run()` raises TrainingFailed then. Raises InternalError when nothing was started."""
        if kept.stop(self.id):
            return self
        pipeline = self._only_pipeline()
        if kept.is_running(self.id) and not pipeline._telling:  # by run() of another process
            self._reload()
            self.train_action.stop(**kwargs)
        else:
            pipeline.stop(**kwargs)
            if not pipeline._telling and kept.row(self.id) is not None:  # nobody else writes it down
                self.save()
        return self

    @property
    def output(self) -> Any:
        """The same as `result[0]`."""
        return self.result[0] if self.result else None

    def get_log(self) -> TrainLog:
        """The log of the run so far: a list of lines with `metrics`, `ledger`, curves and samples.

        Raises InternalError before there is a run, and on a platform that keeps no log."""
        if self.train_action.run is None:
            self._reload()
        run = self.train_action.run
        if run is None:
            raise InternalError(
                "there is no log yet: no training run was created", advice="run the trainer first"
            )
        return run.log()

    def get_evaluate_result(self) -> Any:
        """What the evaluation found: an EvaluationResult, or None before it ended.

        Raises NotImplementedError for a trainer without evaluators."""
        for action in self.actions.values():
            if isinstance(action, EvaluateAction):
                return (action.result or {}).get("eval_res")
        return super().get_evaluate_result()

    def dumps(self) -> bytes:
        """The trainer with all its actions as versioned JSON, at any step."""
        return saved_state.pack(self)

    def loads(self: T, data: bytes) -> T:
        """A new trainer of what `dumps` wrote; `resume()` goes on with it. Pickled bytes raise UnsafeState."""
        from qianfan.trainer import loads

        return loads(data, type(self))  # type: ignore[no-any-return]

    def to_state(self) -> dict[str, Any]:
        """What is saved; handlers are not."""
        return {"pipeline": self._only_pipeline(), "result": self.result}

    @classmethod
    def from_state(cls: type[T], state: dict[str, Any]) -> T:
        """A trainer of a saved state."""
        trainer = cls.__new__(cls)
        trainer.ppls, trainer.result = [state["pipeline"]], state["result"]
        return trainer

    @classmethod
    def list(cls) -> list[dict[str, Any]]:
        """The trainers of this class that are kept here, the newest first, each as `info()` tells it."""
        return [row for row in kept.rows() if row["kind"] == cls.kind]

    @classmethod
    def load(cls: type[T], id: str | None = None, file: str | Path | None = None) -> T:
        """A trainer that is kept here, by its id, or one that `save(file=…)` wrote; `resume()` goes on with it.

        Raises InvalidArgumentError when there is none, UnsafeState for a file of another kind."""
        from qianfan.trainer import loads

        return loads(kept.read(id, file), cls)  # type: ignore[no-any-return]

    def save(self: T, file: str | Path | None = None) -> T:
        """Write the trainer down, in the cache folder or in a file. Returns self.

        Raises InvalidArgumentError for an action or evaluator that cannot be written down."""
        kept.write(self, file)
        return self

    def info(self) -> dict[str, Any]:
        """Where the trainer stands: id, status, whether a process of this machine runs it, ids, error, files."""
        row = kept.row(self.id)
        return row if row is not None else kept.about(self)

    def start(self: T, input: dict[str, Any] | None = None) -> T:
        """Run the trainer in a process of its own, which goes on when this one ends. Returns self at once.

        `wait()` waits for it; `info()`, `stop()` and `get_log()` work meanwhile, also in another process after
        `load(id)`. What was begun is gone on with. input: of the first action. Handlers are not taken along.
        Raises InvalidArgumentError when it runs already, or cannot be written down."""
        if input is not None:
            self._only_pipeline()._input = input
        kept.start(self)
        return self

    def wait(self: T, timeout: float | None = None) -> T:
        """Wait until the process of `start()` has ended, and take over what it left. Returns self.

        timeout: seconds; TimeoutError when it is over. Raises what ended the training, as TrainingFailed."""
        error = kept.wait(self.id, timeout)
        self._reload()
        if error:
            raise kept.failed(error)
        return self

    def _reload(self) -> None:
        """Take over what another process wrote down; what this one runs stays as it is."""
        if not self._only_pipeline()._telling and kept.row(self.id) is not None:
            fresh = type(self).load(self.id)
            self.ppls, self.result = fresh.ppls, fresh.result

    def _drive(self: T, work: Callable[[Pipeline, dict[str, Any]], Any], kwargs: dict[str, Any]) -> T:
        pipeline = self._only_pipeline()
        if pipeline._telling:
            raise InvalidArgumentError(f"trainer {self.id} runs already", advice="stop() it, or let it end")
        asked = kwargs.pop("show_progress", None)
        warn_of_unknown(kwargs, "input", "show_progress")
        config = get_config()
        options = {
            "backoff_factor": config.TRAINER_STATUS_POLLING_BACKOFF_FACTOR,
            "retry_count": config.TRAINER_STATUS_POLLING_RETRY_TIMES,
            **kwargs,
        }
        self.result = [None]
        with kept.keeping(self):
            try:
                with live.shown(pipeline, asked):
                    self.result[0] = work(pipeline, options)
            except Exception as error:
                self.result[0] = {"error": error}
                raise
            except KeyboardInterrupt:
                self._say_what_goes_on()
                raise
        return self

    def _say_what_goes_on(self) -> None:
        """After Ctrl-C: nobody waits here any more, but the platform may go on."""
        train = next((one for one in self.actions.values() if isinstance(one, TrainAction)), None)
        if train is not None and train._is_unended():
            shell = "" if get_config().DISABLE_CACHE else f"; `qianfan finetune resume {self.id}` waits, too"
            logger.warning(
                "training run %s goes on on the platform: trainer.resume() waits for it, trainer.stop() stops it%s",
                train.run,
                shell,
            )
