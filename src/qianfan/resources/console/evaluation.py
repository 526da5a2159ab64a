"""Evaluations in the words of the V2 interface; and what this platform adds: people's scores, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qianfan.contract import routes
from qianfan.transport.call import Call

from .utils import console_call


class Evaluation:
    """Evaluations as `ame-…`; V1 has them in `Model`. Further keywords go into the body."""

    @classmethod
    def base_api_route(cls) -> str:
        """The path of all calls of this class; what they do is in the query, `?Action=`."""
        return routes.EVAL_V2_CREATE.path

    @console_call
    def create_eval_task(
        cls,
        /,
        task_name: str,
        eval_object_type: str,
        eval_object_config: dict[str, Any],
        eval_config: dict[str, Any],
        description: str = "",
        **kwargs: Any,
    ) -> Call:
        """Evaluate models on a dataset; the id is at `result.taskId`.

        eval_object_type: "model". eval_object_config: {"evalModelConfig": {"versionId": dataset,
        "evalModelConfigList": [{"modelId": "amv-…"}]}}. eval_config: {"autoRuleEvalConfig": {}}, and the like."""
        body = {
            **kwargs,
            "taskName": task_name,
            "evalObjectType": eval_object_type,
            "evalObjectConfig": eval_object_config,
            "evalConfig": eval_config,
            "description": description,
        }
        return Call(routes.EVAL_V2_CREATE, body, creates=True)

    @console_call
    def describe_eval_tasks(
        cls,
        /,
        eval_type: str | None = None,
        marker: str | None = None,
        max_keys: int | None = None,
        **kwargs: Any,
    ) -> Call:
        """Your evaluations, newest first: `result.evalTaskList`, `result.pageInfo`. eval_type: manual or auto."""
        return Call(
            routes.EVAL_LIST, {**kwargs, "evalType": eval_type, "marker": marker, "maxKeys": max_keys}
        )

    @console_call
    def describe_eval_task(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """One evaluation: `result.status` is Queued, Running, RunningWithManualBegin, Successed, Failed, ….

        On this platform `result.state` has the word of V1, too."""
        return Call(routes.EVAL_V2_DETAIL, {**kwargs, "taskId": task_id})

    @console_call
    def describe_eval_task_report(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """What each model came to: `result.evalReportList`; and `result.verdicts` here."""
        return Call(routes.EVAL_V2_REPORT, {**kwargs, "taskId": task_id})

    @console_call
    def delete_eval_task(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """Delete an evaluation; its dataset of answers stays."""
        return Call(routes.EVAL_V2_DELETE, {**kwargs, "taskId": task_id})

    # ── of this platform only ────────────────────────────────────────────────────────────────────

    @console_call
    def answers_to_score(
        cls, /, task_id: int | str, page_no: int = 1, page_size: int = 20, all: bool = False, **kwargs: Any
    ) -> Call:
        """Answers that wait for people's scores: `result.items`, `result.dimensions`, `result.waiting`.

        Which model gave an answer is not told. all: those that have scores as well."""
        body = {**kwargs, "taskId": task_id, "pageNo": page_no, "pageSize": page_size, "all": all}
        return Call(routes.EVAL_SCORING, body)

    @console_call
    def score(cls, /, task_id: int | str, results: Sequence[Mapping[str, Any]], **kwargs: Any) -> Call:
        """Give scores, all or none: [{"resultId": 7, "scores": {"满意度": 2}, "note": "…"}], at most 1000.

        Every dimension needs a whole number from its minScore to its maxScore. `result.waiting`: how many are left."""
        body = {**kwargs, "taskId": task_id, "results": [dict(one) for one in results]}
        return Call(routes.EVAL_SCORE, body)

    @console_call
    def finish_scoring(
        cls, /, task_id: int | str, subjective_impression: str | None = None, **kwargs: Any
    ) -> Call:
        """End people's scoring; from now on the report counts it."""
        body = {**kwargs, "taskId": task_id, "subjectiveImpression": subjective_impression}
        return Call(routes.EVAL_SCORING_FINISH, body)

    @console_call
    def give_verdict(
        cls,
        /,
        task_id: int | str,
        baseline: int | str | None = None,
        model_version_id: int | str | None = None,
        **kwargs: Any,
    ) -> Call:
        """Let a finished evaluation say whether a version is better than its baseline, and keep that for gates.

        baseline, model_version_id: default the first and the last model of the evaluation. Keywords: rule, metric,
        margin, confidence, fewest. `result.passed`, `result.reason`, and the figures."""
        body = {**kwargs, "taskId": task_id, "baseline": baseline, "modelVersionId": model_version_id}
        return Call(routes.EVAL_VERDICT_CREATE, body, creates=True)

    @console_call
    def verdicts(cls, /, task_id: int | str, **kwargs: Any) -> Call:
        """What an evaluation has said: `result.verdicts`, newest first."""
        return Call(routes.EVAL_VERDICTS, {**kwargs, "taskId": task_id})
