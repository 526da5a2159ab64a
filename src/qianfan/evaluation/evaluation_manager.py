"""`EvaluationManager`: models and services answer a dataset, evaluators score the answers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from qianfan.config import get_config
from qianfan.contract.evaluation import MANUAL_SCORE, SATISFACTION
from qianfan.contract.ids import random_word
from qianfan.dataset import Dataset, asking, batch
from qianfan.dataset.upload import transport_options
from qianfan.errors import APIError, InvalidArgumentError, RequestError
from qianfan.evaluation import metrics
from qianfan.evaluation.evaluation_result import EvaluationResult
from qianfan.evaluation.evaluator import LocalEvaluator, QianfanEvaluator
from qianfan.model import Model, Service
from qianfan.model.consts import ServiceType
from qianfan.resources import Model as ModelCalls
from qianfan.utils.logging import logger

PAGE: Final = 1000
MOVED: Final = 1.0  # points by which a plea may not move a judge that is to be trusted
TAG: Final = "llm_tag"
Llm = Model | Service


class EvaluationManager:
    """Evaluates with evaluators of one kind (ValueError for none, for both, and for two of one class of the
    platform's). task_id: the id of the last evaluation on the platform, or of one to look at again."""

    def __init__(
        self,
        local_evaluators: Sequence[LocalEvaluator] | None = None,
        qianfan_evaluators: Sequence[QianfanEvaluator] | None = None,
        task_id: int | str | None = None,
    ) -> None:
        self.local_evaluators = list(local_evaluators or [])
        self.qianfan_evaluators = list(qianfan_evaluators or [])
        self.task_id = task_id
        if self.local_evaluators and self.qianfan_evaluators:
            raise ValueError("local and qianfan evaluators do not go together; make two evaluations")
        if not self.local_evaluators and not self.qianfan_evaluators and task_id is None:
            raise ValueError("there is no evaluator; give local_evaluators or qianfan_evaluators")
        kinds = [type(one).__name__ for one in self.qianfan_evaluators]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(f"there are two evaluators of the kind {twice[0]}; give one")

    def eval(
        self,
        llms: Sequence[Llm] | Llm,
        dataset: Dataset,
        *,
        stop: threading.Event | None = None,
        **kwargs: Any,
    ) -> EvaluationResult | None:
        """Let models, or services, answer a dataset, and score the answers; None when people are to score them.

        llms: all Model or all Service (ValueError). With qianfan evaluators the dataset must be on the platform
        and hold questions (ValueError); a Service is evaluated as its model, or, on this platform, by its address.
        name, description: of the evaluation. params: of every answer, such as {"temperature": 0.1}.
        show_progress: a bar, by default on a terminal. Further keywords are options of the calls.
        Raises InternalError when no model answered."""
        given = [llms] if isinstance(llms, (Model, Service)) else list(llms)
        if not given:
            raise ValueError("there is nothing to evaluate; give models or services")
        if not (
            all(isinstance(one, Model) for one in given) or all(isinstance(one, Service) for one in given)
        ):
            raise ValueError("models and services do not go together; give either")
        if self.local_evaluators:
            return self._locally(given, dataset, stop, kwargs)
        return self._on_the_platform(given, dataset, stop, kwargs)

    def eval_only(
        self,
        dataset: Dataset,
        eval_input_column: str | None = None,
        eval_llm_output_column: str | None = None,
        reference_column: str | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Score answers that are there already, with local evaluators (ValueError without).

        The columns may be attributes of the dataset as well (ValueError without the first two)."""
        if not self.local_evaluators:
            raise ValueError("answers that are there already are scored by local evaluators")
        asked = eval_input_column or dataset.eval_input_column
        said = eval_llm_output_column or dataset.eval_llm_output_column
        expected = reference_column or dataset.reference_column
        if not asked or not said:
            raise ValueError("eval_input_column and eval_llm_output_column are not both set")
        return self._scored(
            (
                row.get(TAG) or "",
                row,
                row[asked],
                asking.text_of(row.get(expected) if expected else ""),
                row[said],
            )
            for row in dataset
        )

    def result(self, **options: Any) -> EvaluationResult:
        """What the evaluation `task_id` on the platform has found."""
        if self.task_id is None:
            raise InvalidArgumentError(
                "no evaluation has been made yet", advice="give task_id, or call eval()"
            )
        detail = ModelCalls.get_evaluation_info(self.task_id, **options)["result"]
        answers = Dataset.load(qianfan_dataset_id=batch.result_id(detail), **options)
        report = ModelCalls.get_evaluation_result(self.task_id, **options)["result"]
        moved = max((abs(row["effectMetric"].get("judgeShift") or 0) for row in report), default=0)
        if moved >= MOVED:
            logger.warning(
                "the judge of evaluation %s can not be trusted: a plea for the best score moved it by %g points",
                self.task_id,
                moved,
            )
        return EvaluationResult(
            answers,
            {_name(row): row["effectMetric"] for row in report},
            _rows(self.task_id, options),
            detail.get("evaluationIdStr") or self.task_id,
        )

    # ── on the platform ──────────────────────────────────────────────────────────────────────────

    def _on_the_platform(
        self, llms: Sequence[Llm], dataset: Dataset, stop: threading.Event | None, kwargs: dict[str, Any]
    ) -> EvaluationResult | None:
        if not self.qianfan_evaluators:
            raise ValueError("there is no evaluator; give qianfan_evaluators")
        source = batch.source_of(dataset)
        options = transport_options(kwargs)
        conf: dict[str, Any] = {"evalMode": ",".join(one.mode for one in self.qianfan_evaluators)}
        for one in self.qianfan_evaluators:
            conf |= one.conf()
        created = ModelCalls.create_evaluation_task(
            name=kwargs.get("name") or f"sdk_eval_{random_word(11)}",
            version_info=[_unit(llm, kwargs.get("params"), options) for llm in llms],
            dataset_id=source.id,
            eval_config=conf,
            description=kwargs.get("description"),
            **options,
        )["result"]
        self.task_id = created.get("evalIdStr") or created["evalId"]
        batch.wait_for_evaluation(
            self.task_id,
            get_config().EVALUATION_ONLINE_POLLING_INTERVAL,
            stop=stop,
            show_progress=kwargs.get("show_progress"),
            **options,
        )
        if conf["evalMode"] == "manual":
            logger.info("evaluation %s: the answers are there, people may score them", self.task_id)
            return None
        return self.result(**options)

    # ── in this process ──────────────────────────────────────────────────────────────────────────

    def _locally(
        self, llms: Sequence[Llm], dataset: Dataset, stop: threading.Event | None, kwargs: dict[str, Any]
    ) -> EvaluationResult:
        params = kwargs.pop("params", None) or {}
        answered: list[tuple[str, Mapping[str, Any], Any, str, str]] = []
        for llm in llms:
            tag = _tag(llm)
            for row in _answers(llm, dataset, stop, {**kwargs, **params}):
                asked = row.get("input_chats") or row["input_prompt"]
                answered.append((tag, row, asked, row[asking.EXPECTED], row[asking.OUTPUT]))
        return self._scored(answered)

    def _scored(self, answered: Iterable[tuple[str, Mapping[str, Any], Any, str, str]]) -> EvaluationResult:
        rows: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        for tag, row, asked, expected, said in answered:
            scores: dict[str, Any] = {}
            for one in self.local_evaluators:
                scores |= one.evaluate(asked, expected, said)
            place = places[tag] = places.get(tag, -1) + 1
            shown.append({TAG: tag, **{name: value for name, value in row.items() if name != TAG}, **scores})
            rows.append(
                {
                    "model": tag,
                    "row": place,
                    "prompt": asked if isinstance(asked, str) else asked[-1]["content"],
                    "prediction": said,
                    "reference": expected,
                    "scores": {
                        name: float(value)
                        for name, value in scores.items()
                        if isinstance(value, (int, float))
                    },
                    "latency": row.get(asking.COMPLETE),
                }
            )
        means = {tag: metrics.mean([row["scores"] for row in rows if row["model"] == tag]) for tag in places}
        return EvaluationResult(Dataset.create_from_pyobj(shown), means, rows)


def _unit(llm: Llm, params: Mapping[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    """An item of versionEvalInfo."""
    more = {"params": dict(params)} if params else {}
    model = llm if isinstance(llm, Model) else llm.model
    if model is not None and (model.version_id is not None or model.id is not None):
        model._complete(options)
        return {"modelId": model.id, "modelVersionId": model.version_id, **more}
    address = llm.endpoint if isinstance(llm, Service) else None
    name = address or (model.name if model is not None else None)
    if name is None:
        raise ValueError("a model without ids can not be evaluated; publish it first")
    return {"endpoint": name, **more}


def _answers(
    llm: Llm, dataset: Dataset, stop: threading.Event | None, kwargs: dict[str, Any]
) -> Iterable[Mapping[str, Any]]:
    service = llm if isinstance(llm, Service) else llm.service
    if service is None:
        assert isinstance(llm, Model)
        llm._complete(transport_options(kwargs))
        return dataset.test_using_llm(model_version_id=llm.version_id, **{**kwargs, "stop": stop})
    name = service.model.name if service.model is not None and not service.endpoint else None
    is_chat = service.service_type in (None, ServiceType.Chat)
    if dataset.is_dataset_located_in_qianfan():
        dataset = Dataset.load(qianfan_dataset_id=batch.source_of(dataset).id)
    return dataset.test_using_llm(
        service_model=name, service_endpoint=service.endpoint, is_chat_service=is_chat, **kwargs
    )


def _tag(llm: Llm) -> str:
    """`<id>_<version>_<name>` of a model, `<id>_<endpoint>[_<name>]` of a service."""
    if isinstance(llm, Model):
        return f"{llm.id}_{llm.version_id}_{llm.name}"
    name = llm.model.name if llm.model is not None else None
    return f"{llm.id}_{llm.endpoint}" + (f"_{name}" if name else "")


def _name(row: Mapping[str, Any]) -> str:
    version = row.get("modelVersion")
    return f"{row['modelName']}_{version}" if version else str(row["modelName"])


def _rows(ident: int | str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Every answer with its scores; none from a platform that does not list them."""
    rows: list[dict[str, Any]] = []
    try:
        while True:
            number = len(rows) // PAGE + 1
            page = ModelCalls.get_evaluation_result_list(ident, page_no=number, page_size=PAGE, **options)[
                "result"
            ]
            rows += [_row(item) for item in page["items"]]
            if len(page["items"]) < PAGE:
                return rows
    except (APIError, RequestError, KeyError, TypeError) as error:
        logger.warning("the single results of evaluation %s can not be had: %s", ident, error)
        return rows


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    scores = dict(item.get("metrics") or {})
    judged = item.get("judgeScore")
    if judged is not None and judged >= 0:
        scores["judgeScore"] = judged
    if item.get("manual"):
        scores[MANUAL_SCORE] = item["manual"][SATISFACTION]
    return {
        "model": _name(item),
        "row": f"{item.get('line')}.{item.get('turn')}",
        "prompt": item.get("prompt", ""),
        "prediction": item.get("prediction", ""),
        "reference": item.get("completion", ""),
        "scores": scores,
        "reason": item.get("judgeReason", ""),
        "error": item.get("error", ""),
        "latency": item.get("latency"),
    }
