"""Batch inference on the platform: versions answer a dataset where it lies, and the answers come back as one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from qianfan.config import get_config
from qianfan.contract.enums import EvaluationTaskStatus
from qianfan.contract.evaluation import SATISFACTION
from qianfan.contract.ids import random_word
from qianfan.dataset.progress import counting
from qianfan.dataset.sources import QianfanDataSource
from qianfan.dataset.waiting import progress_of, wait_until
from qianfan.errors import InternalError
from qianfan.resources import Model
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset.dataset import Dataset

Id = int | str
MANUAL: Final = {"evalMode": "manual", "evaluationDimension": [{"dimension": SATISFACTION}]}
_UNDER_WAY: Final = (EvaluationTaskStatus.Pending, EvaluationTaskStatus.Doing)
_USABLE: Final = (
    EvaluationTaskStatus.Done,
    EvaluationTaskStatus.DoingWithManualBegin,
    EvaluationTaskStatus.PartlyDone,
)


def run_versions(
    dataset: Dataset,
    versions: Sequence[Mapping[str, Any]],
    *,
    stop: threading.Event | None = None,
    show_progress: bool | None = None,
    **options: Any,
) -> Dataset:
    """Let versions answer every row of a dataset on the platform; returns the dataset of answers.

    versions: [{"modelId", "modelVersionId"}], at most 5. Raises ValueError for a dataset that is not on the
    platform or holds texts, InternalError when no version answered."""
    from qianfan.dataset.dataset import Dataset

    source = source_of(dataset)
    created = Model.create_evaluation_task(
        name=f"model_run_{random_word(11)}",
        version_info=[dict(version) for version in versions],
        dataset_id=source.id,
        eval_config=MANUAL,
        **options,
    )["result"]
    detail = wait_for_evaluation(
        created.get("evalIdStr") or created["evalId"],
        get_config().BATCH_RUN_STATUS_POLLING_INTERVAL,
        stop=stop,
        show_progress=show_progress,
        **options,
    )
    return Dataset.load(qianfan_dataset_id=result_id(detail), **options)


def source_of(dataset: Dataset) -> QianfanDataSource:
    """Where a dataset lies on the platform. Raises ValueError when it does not, or when it holds texts."""
    source = dataset.inner_data_source_cache
    if not isinstance(source, QianfanDataSource) or dataset.is_changed:
        raise ValueError("the dataset is not on the platform; save it there and load it by its id")
    if dataset.is_dataset_generic_text():
        raise ValueError("a dataset of texts has no questions; use conversations or a query set")
    return source


def wait_for_evaluation(
    ident: Id,
    every: float,
    *,
    stop: threading.Event | None = None,
    show_progress: bool | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The detail of an evaluation that has ended, well or in part. Raises InternalError when it did not."""
    with counting(f"evaluation {ident}", show_progress) as shown:

        def look() -> Any:
            detail = Model.get_evaluation_info(ident, **options)
            progress = progress_of(detail)
            shown(int(progress.get("done") or 0), int(progress.get("total") or 0))
            return detail

        last: dict[str, Any] = wait_until(
            look, lambda seen: seen["result"]["state"] not in _UNDER_WAY, every, stop=stop
        )["result"]
    why = "; ".join(
        f"{unit.get('modelName')}: {unit['message']}"
        for unit in last.get("evalUnits") or []
        if unit.get("message")
    )
    if last["state"] not in _USABLE:
        raise InternalError(
            f"evaluation {ident} ended as {last['state']}: {why or 'the platform gives no reason'}",
            advice="mend the cause and run it again",
        )
    if why:
        logger.warning("evaluation %s: %s", ident, why)
    return last


def result_id(detail: Mapping[str, Any]) -> Id:
    """The id of the dataset of answers. Raises InternalError when the platform names none."""
    conf = detail["evalStandardConf"]
    found: Id | None = conf.get("resultDatasetIdStr") or conf.get("resultDatasetId")
    if not found:
        raise InternalError(
            f"evaluation {detail.get('evaluationIdStr')} has no dataset of answers", advice="run it again"
        )
    return found
