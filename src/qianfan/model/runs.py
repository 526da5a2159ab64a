"""One training run, whichever generation of the interface it belongs to.

The names swap between the generations: the container is a V1 *task* and a V2 *job*, the run a V1 *job* and a
V2 *task*. A run whose task id is `task-…` is of V2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qianfan.config import get_config
from qianfan.contract.enums import TrainStatus
from qianfan.contract.lifecycle import run_status
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import APIError, InternalError, RequestError
from qianfan.model.log import TrainLog
from qianfan.resources import FineTune
from qianfan.utils.logging import logger

Id = int | str


@dataclass(frozen=True)
class Run:
    """A run by the two ids that a result holds: `task_id` and `job_id`, in the words of its generation."""

    task_id: Id
    job_id: Id

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
        return f"{self.container_id}/{self.run_id}"

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
        lines, metrics, ledger, after = list[dict[str, Any]](), list[dict[str, Any]](), None, 0
        while True:
            try:
                page = FineTune.V2.task_log(self.run_id, after, **options)["result"]
            except (APIError, RequestError) as error:
                if error.status_code in (401, 403):
                    raise
                raise InternalError(
                    f"the platform gives no log of training run {self}: {getattr(error, 'error_msg', '') or error}",
                    cause=error,
                    advice="on the cloud look at the run's page in the console; the link is vdlLink in the job detail",
                ) from error
            lines += page.get("lines") or []
            metrics = metrics + (page.get("metrics") or []) if after else list(page.get("metrics") or [])
            ledger = page.get("ledger") or ledger
            following = page.get("next", after)
            if not page.get("lines") or not isinstance(following, int) or following <= after:
                return TrainLog(lines, _distinct(metrics), ledger)
            after = following


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
