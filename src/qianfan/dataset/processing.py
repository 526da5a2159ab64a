"""Cleaning a dataset: its rows here, or the whole of it where it lies on the platform."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from qianfan.config import get_config
from qianfan.contract.enums import DataStorageType, ETLTaskStatus
from qianfan.contract.ids import random_word
from qianfan.dataset.progress import counting
from qianfan.dataset.rowed import Rowed
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.upload import transport_options
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import InternalError
from qianfan.resources import Data
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset.dataset import Dataset
    from qianfan.dataset.qianfan_data_operators import QianfanOperator

RESULT_NAME: Final = "etl_result_set_"
_UNDER_WAY: Final = (ETLTaskStatus.Running, ETLTaskStatus.Paused)


class Processing(Rowed):
    """What the operators of `qianfan.dataset.qianfan_data_operators` do with a dataset."""

    def process(
        self, operators: Sequence[QianfanOperator], *, columns: Sequence[str] | None = None, **kwargs: Any
    ) -> Dataset:
        """Clean every text of every row here, and return self; a text that is dropped takes its row with it.

        Operators run by stage, whatever their order: clean, filter, deduplication (of whole rows),
        desensitization. columns: only these members of rows and of turns. processes: default one on each core where
        processes are forked, else 1, since a script without `if __name__ == "__main__"` could not start any.
        A dataset that is used on the platform is cleaned there, as by `online_data_process`; what is returned then
        is the new dataset, used where it lies. Raises InternalError when that fails."""
        if self._chain is None:
            result = self.online_data_process(operators, **kwargs)
            if not result["is_succeeded"]:
                raise InternalError(
                    f"the cleaning task {result['etl_task_id']} failed",
                    advice="Data.get_dataset_etl_task_info() says why",
                )
            return type(cast("Dataset", self)).load(
                qianfan_dataset_id=result["new_dataset_id"],
                is_download_to_local=False,
                **transport_options(kwargs),
            )
        import multiprocessing

        from qianfan.dataset.operators.rows import Cleaning
        from qianfan.dataset.qianfan_data_operators import stages_of

        stages = stages_of(operators)
        processes = kwargs.get("processes")
        if processes is None:
            processes = 0 if multiprocessing.get_context().get_start_method() == "fork" else 1

        def step(rows: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
            return Cleaning(stages, columns, processes).run(rows)

        self._then(step)
        return cast("Dataset", self)

    def start_online_data_process_task(self, operators: Sequence[QianfanOperator], **kwargs: Any) -> str:
        """Start to clean a dataset of texts where it lies, into a new one; returns the id of the task.

        Raises ValueError for a dataset that is not on the platform, or holds no texts."""
        return self._started(operators, transport_options(kwargs))[0]

    def online_data_process(self, operators: Sequence[QianfanOperator], **kwargs: Any) -> dict[str, Any]:
        """Clean a dataset of texts where it lies, into a new one, and wait for it.

        Returns {"is_succeeded", "etl_task_id"}, and "new_dataset_id" when it succeeded. stop: an event that ends
        the waiting. Raises ValueError as `start_online_data_process_task` does."""
        options = transport_options(kwargs)
        task, _ = self._started(operators, options)
        stop: threading.Event | None = kwargs.get("stop")
        with counting(f"cleaning {task}", kwargs.get("show_progress")) as shown:

            def look() -> Any:
                detail = Data.get_dataset_etl_task_info(task, **options)
                progress = progress_of(detail)
                shown(int(progress.get("done") or 0), int(progress.get("of") or 0))
                return detail

            every = get_config().ETL_STATUS_POLLING_INTERVAL
            row = wait_until(
                look, lambda found: found["result"]["processStatus"] not in _UNDER_WAY, every, stop=stop
            )["result"]
        done = row["processStatus"] == ETLTaskStatus.Finished
        if not done:
            reason = (row.get("result") or {}).get("failReason") or "the platform gives no reason"
            logger.error("cleaning task %s did not finish: %s", task, reason)
            return {"is_succeeded": False, "etl_task_id": task}
        return {"is_succeeded": True, "etl_task_id": task, "new_dataset_id": row["destDatasetStrId"]}

    def _started(
        self, operators: Sequence[QianfanOperator], options: dict[str, Any]
    ) -> tuple[str, QianfanDataSource]:
        from qianfan.dataset.qianfan_data_operators import stages_of

        mine = cast("Dataset", self)
        source = self.inner_data_source_cache
        if self._chain is not None or not isinstance(source, QianfanDataSource):
            raise ValueError(
                "the rows of this dataset are here; use process(), or load it with is_download_to_local=False"
            )
        if not mine.is_dataset_generic_text():
            raise ValueError(
                "only a dataset of texts (template GenericText) is cleaned on the platform; "
                "download it and use process()"
            )
        keys = source._options(options)
        target = QianfanDataSource.create_bare_dataset(
            f"{RESULT_NAME}{random_word(8)}",
            cast(Any, source.template_type),
            source.storage_type or DataStorageType.PublicBos,
            source.storage_id if source.storage_type is DataStorageType.PrivateBos else None,
            source.storage_raw_path if source.storage_type is DataStorageType.PrivateBos else None,
            **keys,
        )
        stages = {name: list(items) for name, items in stages_of(operators).items()}
        made = Data.create_dataset_etl_task(source.id, target.id, stages, **keys)["result"]
        return made if isinstance(made, str) else _task_into(target, keys), target


def _task_into(target: QianfanDataSource, options: dict[str, Any]) -> str:
    """The task that fills a dataset; some platforms answer the creation with `true` alone."""
    for row in Data.get_dataset_etl_task_list(**options)["result"]["items"]:
        if target.id in (row.get("destDatasetStrId"), row.get("destDatasetId")):
            return str(row["etlStrId"])
    raise InternalError(
        "the platform does not name the cleaning task that it has started",
        advice="look at Data.get_dataset_etl_task_list()",
    )
