"""Evaluation in the words of V2, over the rows of V1; and, of this platform only, people's scores and verdicts."""

from __future__ import annotations

from typing import Any, Final, cast

from qianfan.contract import errors, evaluation, routes
from qianfan.contract.enums import EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import CreateEvaluation, EvalConf, EvaluatedVersion, V2CreateEvaluation
from qianfan.contract.times import zulu
from qianfan_platform.models import gates
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import operations, people, verdicts
from .routes import detail_view, report_view
from .tables import Evaluation

router = Router(aliases={"maker": "marker"})
SUCCEEDED: Final = "Successed"  # as the cloud spells it
STATES: Final = {
    EvaluationTaskStatus.Pending: "Queued",
    EvaluationTaskStatus.Doing: "Running",
    EvaluationTaskStatus.DoingWithManualBegin: "RunningWithManualBegin",
    EvaluationTaskStatus.Stopping: "Stopping",
    EvaluationTaskStatus.Stopped: "Stopped",
    EvaluationTaskStatus.Done: SUCCEEDED,
    EvaluationTaskStatus.PartlyDone: SUCCEEDED,  # V2 has no word for it; `partial` tells
    EvaluationTaskStatus.Failed: "Failed",
}


async def view(call: Call, row: Evaluation) -> dict[str, Any]:
    """An evaluation as V2 shows it, and with the members of V1 beside: their names do not meet."""
    state = STATES[EvaluationTaskStatus(row.status)]
    dataset = await operations.dataset_of(call.tx, row)
    return {
        **await detail_view(call, row),
        "taskId": row.public_id,
        "taskName": row.name,
        "evalType": "manual" if "manual" in row.conf["evalMode"] else "auto",
        "evalObjectType": "model",
        "evalObjectConfig": {
            "evalModelConfig": {
                "versionId": dataset.public_id if dataset else "",
                "evalModelConfigList": [
                    {
                        "modelId": unit.version_id or "",
                        "endpoint": unit.endpoint,
                        "promptTemplate": unit.prefix,
                    }
                    for unit in await operations.units(call.tx, row)
                ],
            }
        },
        "evalConfig": row.conf,
        "status": state,
        "runStatus": state,
        "partial": row.status == EvaluationTaskStatus.PartlyDone,
        "failedReason": row.reason,
        "createTime": zulu(row.created_at),
        "finishTime": zulu(row.modified_at) if row.status in verdicts.ENDED else "",
    }


@router.v2(routes.EVAL_V2_CREATE, evaluation.V2CreateEvaluation)
async def create(call: Call) -> Any:
    spec = translated(cast(V2CreateEvaluation, call.body))
    row = await operations.create(call.platform, call.tx, call.owner, spec)
    return {"taskId": row.public_id, "evalId": row.id}


def translated(body: V2CreateEvaluation) -> CreateEvaluation:
    """The task in the words of V1. Raises Fault for what is not evaluated here."""
    models = body["evalObjectConfig"].get("evalModelConfig")
    if body.get("evalObjectType", "model") != "model" or models is None:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[evalObjectType] invalid: answers that are there already are not evaluated on the platform",
            "send evalObjectType model with evalModelConfig, or score them with EvaluationManager.eval_only",
        )
    units: list[EvaluatedVersion] = []
    for one in models["evalModelConfigList"]:
        unit = cast(EvaluatedVersion, {"params": one.get("params", {})})
        if "endpoint" in one:
            unit["endpoint"] = one["endpoint"]
        if "modelId" in one:
            unit["modelVersionId"] = one["modelId"]
        if one.get("promptTemplate"):
            unit["prompt"] = {"enable": True, "content": one["promptTemplate"]}
        units.append(unit)
    return {
        "name": body["taskName"],
        "versionEvalInfo": units,
        "datasetId": models["versionId"],
        "evalStandardConf": _conf(body["evalConfig"]),
        "description": body.get("description", ""),
    }


def _conf(given: evaluation.V2EvalConf) -> EvalConf:
    judge, rule = given.get("autoModelEvalConfig"), given.get("autoRuleEvalConfig")
    manual = given.get("manualEvalConfig")
    parts = {"model": judge, "rule": rule, "manual": manual}
    modes = given.get("evalMode") or ",".join(mode for mode, part in parts.items() if part is not None)
    conf: dict[str, Any] = {"evalMode": modes or "manual"}
    if rule is None and "rule" in modes:
        rule = {}
    if rule is not None:
        conf |= {"scoreModes": ["accuracy", "similarity"], **rule}
    return cast(EvalConf, {**conf, **(judge or {}), **(manual or {})})


@router.v2(routes.EVAL_LIST, evaluation.ListEvaluations, write=False)
async def describe_all(call: Call) -> Any:
    """The account's evaluations, newest first."""
    size, marker = call.body.get("maxKeys", 20), call.body.get("marker")
    rows, following = await operations.page(
        call.tx, call.owner, marker, size, call.body.get("evalType") or ""
    )
    return {
        "evalTaskList": [await view(call, row) for row in rows],
        "pageInfo": page_info(marker, size, following),
    }


@router.v2(routes.EVAL_V2_DETAIL, evaluation.EvalTaskRef, write=False)
async def describe(call: Call) -> Any:
    return await view(call, await operations.get(call.tx, call.owner, call.body["taskId"]))


@router.v2(routes.EVAL_V2_REPORT, evaluation.EvalTaskRef, write=False)
async def report(call: Call) -> Any:
    """What each model came to, as V1 has it, and the verdicts that were given."""
    row = await operations.get(call.tx, call.owner, call.body["taskId"])
    return {
        "taskId": row.public_id,
        "evalReportList": await report_view(call, row),
        "verdicts": await verdicts.listed(call.tx, call.owner, row),
    }


@router.v2(routes.EVAL_V2_DELETE, evaluation.EvalTaskRef)
async def delete(call: Call) -> Any:
    await operations.remove(call.tx, call.owner, [call.body["taskId"]])
    return {}


# ── of this platform only ────────────────────────────────────────────────────────────────────────


@router.v2(routes.EVAL_SCORING, evaluation.ListScoring, write=False)
async def scoring(call: Call) -> Any:
    """What waits for people's scores, a page at a time."""
    return await people.waiting(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]


@router.v2(routes.EVAL_SCORE, evaluation.ScoreResults)
async def score(call: Call) -> Any:
    """Keep scores of people; all of them or none."""
    return {"waiting": await people.score(call.tx, call.owner, call.body)}  # type: ignore[arg-type]


@router.v2(routes.EVAL_SCORING_FINISH, evaluation.FinishScoring, write=False)
async def finish_scoring(call: Call) -> Any:
    """End the scoring; the report has the means from now on."""
    row = await people.finish(call.platform, call.owner, call.body)  # type: ignore[arg-type]
    return {"taskId": row.public_id, "state": row.status}


@router.v2(routes.EVAL_VERDICT_CREATE, evaluation.CreateVerdict, write=False)
async def give_verdict(call: Call) -> Any:
    """Say whether one model of a finished evaluation is better than another, or not worse, and keep it for gates."""
    return gates.verdict_view(await verdicts.create(call.platform, call.owner, call.body))


@router.v2(routes.EVAL_VERDICTS, evaluation.EvalTaskRef, write=False)
async def describe_verdicts(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, call.body["taskId"])
    return {"verdicts": await verdicts.listed(call.tx, call.owner, row)}
