"""One training run, whichever generation of the interface it belongs to.

The names swap between the generations: the container is a V1 *task* and a V2 *job*, the run a V1 *job* and a
V2 *task*. A run whose task id is `task-…` is of V2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qianfan.config import get_config
from qianfan.contract.enums import TrainMode, TrainStatus
from qianfan.contract.lifecycle import run_status
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import APIError, InternalError, RequestError
from qianfan.model.ledger import Xray
from qianfan.model.log import TrainLog
from qianfan.resources import FineTune
from qianfan.utils.logging import logger

Id = int | str


@dataclass(frozen=True)
class Run:
    """A run by the two ids that a result holds: `task_id` and `job_id`, in the words of its generation.

    uuid: the `task-…` of a run of V1, where it is known. mode: of the training, where it is known."""

    task_id: Id
    job_id: Id
    uuid: str | None = field(default=None, compare=False)
    mode: TrainMode | None = field(default=None, compare=False)

    @property
    def is_v2(self) -> bool:
        """True for a run of the V2 interface."""
        return str(self.task_id).startswith("task-")

    @property
    def container_id(self) -> Id:
        """The id of the container: the V1 task, the V2 job."""
        return self.job_id if self.is_v2 else self.task_id

    @property
    def run_id(self) -> Id:
        """The id of the run: the V1 job, the V2 task."""
        return self.task_id if self.is_v2 else self.job_id

    def __str__(self) -> str:
        return f"{self.container_id}/{self.run_id}" if self.container_id else str(self.run_id)

    def public_id(self, **options: Any) -> Id:
        """The `task-…` by which V2 knows the run; asked for where a run of V1 does not have it."""
        if self.is_v2:
            return self.task_id
        return self.uuid or self.look(**options)["result"].get("uuid") or self.job_id

    def train_type(self, **options: Any) -> str:
        """What the run trains, as the platform tells."""
        result = self.look(**options)["result"]
        return str(result.get("model") or result.get("trainType") or "")

    def look(self, **options: Any) -> Any:
        """The detail of the run: a QfResponse of jobDetail (V1) or DescribeFineTuningTask (V2)."""
        if self.is_v2:
            return FineTune.V2.task_detail(str(self.task_id), **options)
        return FineTune.get_job(self.task_id, self.job_id, **options)

    def wait(
        self, told: Callable[[Any], None] | None = None, stop: threading.Event | None = None, **options: Any
    ) -> tuple[TrainStatus, Any]:
        """Look until the run has ended; `told` gets each detail. Returns the last status and detail."""

        def look() -> Any:
            detail = self.look(**options)
            if told is not None:
                told(detail)
            return detail

        every = get_config().TRAIN_STATUS_POLLING_INTERVAL
        last = wait_until(look, lambda seen: status_of(seen) is not TrainStatus.Running, every, stop=stop)
        return status_of(last), last

    def stop(self, **options: Any) -> None:
        """Ask the platform to stop the run. A refusal is logged: the run has ended by itself then."""
        try:
            if self.is_v2:
                FineTune.V2.stop_task(str(self.task_id), **options)
            else:
                FineTune.stop_job(self.task_id, self.job_id, **options)
        except (APIError, RequestError) as error:
            logger.warning("the platform did not stop training run %s: %s", self, error)

    def log(self, **options: Any) -> TrainLog:
        """The log so far. Raises InternalError on a platform that keeps none, such as the cloud."""
        lines, metrics, ledger, files = list[dict[str, Any]](), list[dict[str, Any]](), None, None
        for page in self.pages(**options):
            lines += page.get("lines") or []
            metrics += page.get("metrics") or []
            ledger, files = page.get("ledger") or ledger, page.get("files") or files
        return TrainLog(lines, _distinct(metrics), ledger, files, self)

    def pages(self, after: int = 0, **options: Any) -> Iterator[dict[str, Any]]:
        """The log page by page, from line `after` on, until there is no more for now; the last may be empty."""
        while True:
            page: dict[str, Any] = self._told(FineTune.V2.task_log, "log", after, **options)
            yield page
            following = page.get("next", after)
            if not page.get("lines") or not isinstance(following, int) or following <= after:
                return
            after = following

    def ledger_page(
        self, marker: str | None = None, what: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """A page of the ledger: `samples`, and the marker of the next in `pageInfo`."""
        return self._told(FineTune.V2.task_ledger, "ledger", marker, 1000, what, **options)

    def xray(self, sample: int, **options: Any) -> Xray:
        """One sample as the trainer reads it."""
        return Xray(self._told(FineTune.V2.task_sample, "samples", sample, **options))

    def _told(self, call: Callable[..., Any], what: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return dict(call(self.run_id, *arguments, **options)["result"])
        except (APIError, RequestError) as error:
            if error.status_code in (401, 403):
                raise
            advice = (
                "on the cloud look at the run's page in the console; the link is vdlLink in the job detail"
            )
            raise InternalError(
                f"the platform gives no {what} of training run {self}: {getattr(error, 'error_msg', '') or error}",
                cause=error,
                advice=error.advice if error.error_code == "NoSuchResource" else advice,
            ) from error


def ids(run: Run | None) -> dict[str, Any] | None:
    """A run as plain values."""
    if run is None:
        return None
    mode = None if run.mode is None else run.mode.value
    return {"task_id": run.task_id, "job_id": run.job_id, "uuid": run.uuid, "mode": mode}


def of(saved: dict[str, Any] | None) -> Run | None:
    """The run of what `ids` gave."""
    if saved is None:
        return None
    mode = None if saved.get("mode") is None else TrainMode(saved["mode"])
    return Run(saved["task_id"], saved["job_id"], saved.get("uuid"), mode)


def findings(detail: Any) -> dict[str, Any]:
    """What a finished run found out, as far as the platform tells: `metrics` and `checkpoints`."""
    result = detail["result"]
    named = (("metrics", "metrics"), ("checkpoints", "checkpointList"))
    return {name: result[key] for name, key in named if result.get(key)}


def status_of(detail: Any) -> TrainStatus:
    """What a detail says of the run, in one vocabulary. Raises InternalError for an unknown word."""
    result = detail["result"]
    word = result.get("trainStatus", result.get("runStatus", ""))
    try:
        return run_status(word)
    except ValueError:
        raise InternalError(
            f"the platform says that the run is {word!r}, which this release does not know",
            advice="update open-qianfan",
        ) from None


def why(detail: Any) -> str:
    """Where a run ended and for which reason, as far as the platform tells."""
    progress = progress_of(detail)
    place = f" at step {progress['step']} of {progress['steps']}" if progress.get("steps") else ""
    return f"{place}: {progress.get('reason') or 'the platform gives no reason'}"


def _distinct(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pages may repeat the metrics; each of a kind and step is kept once."""
    return list({(m.get("kind"), m.get("step")): m for m in metrics}.values())
