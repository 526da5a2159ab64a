"""Trainers kept on this machine: one JSON file each, and the process that runs it, if there is one.

The file is what `dumps` gives, with a few words about it beside. Who runs a trainer holds a lock on a file of
its own, so that a process which died is seen to be gone, and two never run the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import orjson

from qianfan.config import PREFIX, SETTINGS, get_config
from qianfan.dataset import state as saved_state
from qianfan.errors import InvalidArgumentError, TrainingFailed
from qianfan.trainer.consts import ActionState
from qianfan.trainer.locks import is_locked, locked
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.trainer.running import PipelineTrainer

_EVERY_S: Final = 10.0  # how often a run is written down between its events
_LOOK_S: Final = 0.1


def folder() -> Path:
    """Where trainers are kept."""
    return Path(get_config().CACHE_DIR).expanduser() / "trainers"


def about(trainer: PipelineTrainer) -> dict[str, Any]:
    """What is told of a trainer without reading all of it."""
    pipeline = trainer._only_pipeline()
    train = next((action for action in trainer.actions.values() if hasattr(action, "train_type")), None)
    run = getattr(train, "run", None)
    outcome = trainer.output
    error = outcome.get("error") if isinstance(outcome, dict) else None
    return {
        "id": pipeline.id,
        "kind": trainer.kind,
        "train_type": getattr(train, "train_type", None),
        "status": str(getattr(trainer.status, "value", trainer.status)),
        "action": pipeline.current_action,
        "ended": pipeline.state in (ActionState.Done, ActionState.Error, ActionState.Stopped),
        "task_id": getattr(run, "task_id", None),
        "job_id": getattr(run, "job_id", None),
        "platform": get_config().CONSOLE_API_BASE_URL.rpartition("@")[2],
        "error": f"{error}" if error else None,
        "updated": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(trainer: PipelineTrainer, file: str | Path | None = None) -> Path:
    """Write a trainer down; the file is whole or unchanged, and for this user alone."""
    document = orjson.loads(saved_state.pack(trainer))
    path = Path(file).expanduser() if file is not None else _path(trainer.id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    document["about"] = about(trainer)
    handle, waiting = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(orjson.dumps(document))
        os.replace(waiting, path)
    except BaseException:
        Path(waiting).unlink(missing_ok=True)
        raise
    return path


def read(id: str | None, file: str | Path | None) -> bytes:
    """The bytes of a trainer that is kept, or of a file. Raises InvalidArgumentError when there is none."""
    if (id is None) == (file is None):
        raise InvalidArgumentError("give an id or a file", advice="list() shows the ids that are kept here")
    path = Path(file).expanduser() if file is not None else _path(str(id))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InvalidArgumentError(
            f"there is no trainer {id or str(file)!r} here",
            advice="list() or `qianfan finetune trainers` shows what is kept",
        ) from None


def row(id: str) -> dict[str, Any] | None:
    """What is known of a trainer that is kept, or None."""
    path = _path(id)
    try:
        known = orjson.loads(path.read_bytes())["about"]
    except (OSError, ValueError, KeyError):
        return None
    return {
        **known,
        "running": is_running(id),
        "file": str(path),
        "log": str(_log(id)) if _log(id).exists() else None,
    }


def rows() -> list[dict[str, Any]]:
    """All trainers that are kept, the newest first."""
    found = [row(unquote(path.stem)) for path in folder().glob("*.json")]
    return sorted((one for one in found if one), key=lambda one: str(one["updated"]), reverse=True)


@contextlib.contextmanager
def keeping(trainer: PipelineTrainer) -> Iterator[None]:
    """Keep a trainer while the block runs it: at its events, and at its end.

    What cannot be written down is run all the same, and said once. Raises InvalidArgumentError when another
    process runs it."""
    with contextlib.ExitStack() as held:
        if get_config().DISABLE_CACHE or not _held(trainer.id, held):
            yield
            return
        keeper = _Keeper(trainer)
        try:
            yield
        finally:
            keeper.end()


def _held(id: str, until: contextlib.ExitStack) -> bool:
    """Take the lock on a trainer until the end of the stack; False where no lock can be made."""
    try:
        until.enter_context(locked(_lock(id)))
        _pid_file(id).unlink(missing_ok=True)  # of an earlier process
    except BlockingIOError:
        raise InvalidArgumentError(
            f"trainer {id} is run by another process", advice="wait() for it, or stop() it"
        ) from None
    except OSError as error:
        logger.info("the trainer cannot be kept: %s", error)
        return False
    return True


class _Keeper:
    """Writes a trainer down at its events, as long as that goes well."""

    def __init__(self, trainer: PipelineTrainer) -> None:
        pipeline = trainer._only_pipeline()
        self._trainer, self._watched = trainer, [pipeline, *pipeline.actions.values()]
        self._mark: Any = None
        self._at = 0.0
        self._works = True
        self._one = threading.RLock()  # a stop is told by another thread
        for action in self._watched:
            action._observers.append(self._seen)
            action._keepers.append(self._keep)

    def _seen(self, action: Any, event: Any) -> None:
        mark = (action.id, event.action_state, getattr(action, "run", None))
        if mark != self._mark or time.monotonic() - self._at >= _EVERY_S:
            self._mark, self._at = mark, time.monotonic()
            self._keep()

    def _keep(self) -> None:
        with self._one:
            if not self._works:
                return
            try:
                write(self._trainer)
            except Exception as error:
                self._works = False
                logger.info("the trainer cannot be kept, so only this process can go on with it: %s", error)

    def end(self) -> None:
        """Write it down for the last time."""
        for action in self._watched:
            action._observers.remove(self._seen)
            action._keepers.remove(self._keep)
        self._keep()


def start(trainer: PipelineTrainer) -> None:
    """Run a trainer in a process of its own. Keys go in the environment, never into a file."""
    if get_config().DISABLE_CACHE:
        raise InvalidArgumentError(
            "a trainer cannot be started in a process of its own while QIANFAN_DISABLE_CACHE is set",
            advice="unset it, or call run()",
        )
    if is_running(trainer.id):
        raise InvalidArgumentError(f"trainer {trainer.id} runs already", advice="wait() for it, or stop() it")
    path = write(trainer)
    with _log(trainer.id).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "qianfan.trainer.background", trainer.kind, trainer.id],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert child.stdout is not None
    with child.stdout:
        word = child.stdout.readline().strip()
    threading.Thread(target=child.wait, daemon=True).start()  # it leaves no zombie behind
    if word != b"running":
        raise InvalidArgumentError(
            f"trainer {trainer.id} could not be started",
            advice=f"{_log(trainer.id)} says why; {path} is kept",
        )


def stop(id: str) -> bool:
    """Stop the process that `start` made for a trainer; False when there is none."""
    number = _pid(id)
    if number is None or not is_running(id):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        wait(id, 30)
    return True


def wait(id: str, timeout: float | None = None) -> str | None:
    """Wait until no process runs a trainer; returns the text of the error that ended it, or None."""
    until = None if timeout is None else time.monotonic() + timeout
    while is_running(id):
        if until is not None and time.monotonic() > until:
            raise TimeoutError(f"trainer {id} still runs after {timeout:g} s")
        time.sleep(_LOOK_S)
    known = row(id)
    if known is None:
        raise InvalidArgumentError(f"trainer {id} was not started", advice="start() it")
    if not known["ended"]:
        return f"the process that ran trainer {id} ended before its time; resume() goes on with it"
    error: str | None = known["error"]
    return error


def failed(text: str) -> TrainingFailed:
    """The error of a trainer that another process ran."""
    return TrainingFailed(text, advice="info() has the log of its process; resume() goes on with it")


def is_running(id: str) -> bool:
    """Whether a process, this one or another, runs a trainer."""
    return is_locked(_lock(id))


def say_pid(id: str) -> None:
    """Write down which process runs a trainer; called by one that `start` made."""
    _pid_file(id).write_text(str(os.getpid()))


def _pid(id: str) -> int | None:
    try:
        return int(_pid_file(id).read_text())
    except (OSError, ValueError):
        return None


def _environment() -> dict[str, str]:
    """This process's environment with the settings that were changed in it."""
    config = get_config()
    changed = {
        PREFIX + name: str(value)
        for name, (kind, default) in SETTINGS.items()
        if (value := getattr(config, name)) != default and value is not None and kind != "codes"
    }
    gone = {PREFIX + name for name in SETTINGS}
    inherited = {name: value for name, value in os.environ.items() if name not in gone}
    return {**inherited, **changed, PREFIX + "PROGRESS": "False"}


def _path(id: str) -> Path:
    return folder() / f"{quote(id, safe='')}.json"


def _lock(id: str) -> Path:
    return _path(id).with_suffix(".lock")


def _log(id: str) -> Path:
    return _path(id).with_suffix(".log")


def _pid_file(id: str) -> Path:
    return _path(id).with_suffix(".pid")
