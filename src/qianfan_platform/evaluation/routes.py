"""The evaluation half of the Model interface: HTTP in, HTTP out."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract import errors, evaluation, routes
from qianfan.contract.enums import EvaluationResultExportTaskStatus, EvaluationTaskStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import JSONL_SINCE
from qianfan.contract.times import china
from qianfan_platform.datasets import links
from qianfan_platform.datasets.operations import group_of
from qianfan_platform.models import presets
from qianfan_platform.web import Call, Router

from . import exporting, listing, operations
from .tables import Evaluation, EvalUnit

router = Router()
POLL_AFTER_S: Final = 0.3
_ENDED: Final = (
    EvaluationTaskStatus.DoingWithManualBegin,
    EvaluationTaskStatus.Done,
    EvaluationTaskStatus.PartlyDone,
    EvaluationTaskStatus.Failed,
    EvaluationTaskStatus.Stopped,
)


@router.v1(routes.EVAL_CREATE, evaluation.CreateEvaluation)
async def create(call: Call) -> Any:
    row = await operations.create(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"evalId": row.id, "evalIdStr": row.public_id}


@router.v1(routes.EVAL_DETAIL, evaluation.EvaluationRef, write=False)
async def detail(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, call.body["id"])
    return await detail_view(call, row)


async def detail_view(call: Call, row: Evaluation) -> dict[str, Any]:
    """An evaluation as V1 shows it."""
    asked = await operations.dataset_of(call.tx, row)
    done = await operations.answered(call.tx, row)
    name = str(row.dataset_id)
    if asked is not None:
        name = f"{(await group_of(call.tx, asked)).name}>{asked.name}>V{asked.version}"
    progress: dict[str, Any] = {"done": done, "total": row.total, "reason": row.reason}
    if "apiName" in row.conf:
        progress["judged"] = await operations.judged(call.tx, row)
    if why := await operations.waiting(call.tx, row):
        progress["waiting"] = why
    if row.status not in _ENDED:
        progress["pollAfter"] = POLL_AFTER_S
    return {
        "evaluationId": row.id,
        "evaluationIdStr": row.public_id,
        "name": row.name,
        "description": row.description,
        "state": row.status,
        "evalUnits": [await _unit(call, unit) for unit in await operations.units(call.tx, row)],
        "datasetId": row.dataset_id,
        "datasetIdStr": asked.public_id if asked else "",
        "datasetName": name,
        "computeResourceConf": {
            "vmType": 1,
            "vmNumber": 8,
            **row.compute,
            "computeResourceId": "local",
            "cpu": 0,
            "memory": 0,
        },
        "evalStandardConf": {**row.conf, **await _result(call, row)},
        "createTime": china(row.created_at),
        "modifyTime": china(row.modified_at),
        "progressDetail": progress,
    }


async def _result(call: Call, row: Evaluation) -> dict[str, Any]:
    made = await operations.result_of(call.tx, row)
    if made is None:
        return {"resultDatasetId": "", "resultDatasetIdStr": "", "resultDatasetName": ""}
    return {  # the text in both: clients of two generations take either for the id of a dataset
        "resultDatasetId": made.public_id,
        "resultDatasetIdStr": made.public_id,
        "resultDatasetName": made.name,
        "resultDatasetProjectType": made.project_type,
        "resultDatasetImportStatus": made.import_status,
        "resultDatasetReleaseStatus": made.release_status,
    }


async def _unit(call: Call, unit: EvalUnit) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": unit.id,
        "modelVersionId": unit.version_id,
        "modelVersionIdStr": "",
        "modelId": unit.model_id,
        "modelIdStr": "",
        "modelName": unit.model_name,
        "modelVersion": unit.model_version,
        "modelSource": "UserCreate" if unit.version_id else "Service",
        "endpoint": unit.endpoint,
        "state": unit.status,
        "modelVersionDesc": "",
        "message": unit.message,
        "modelTags": [],
    }
    found = await operations.version_of(call.tx, unit)
    if found is not None:
        version, model = found
        shown |= {
            "modelVersionIdStr": version.public_id,
            "modelIdStr": model.public_id,
            "modelVersionDesc": version.description,
            "modelTags": model.tags or [],
        }
    preset = presets.find(call.platform.catalogue, unit.version_id) if unit.version_id else None
    if preset is not None:
        shown |= {
            "modelVersionIdStr": preset.version_public_id,
            "modelIdStr": preset.public_id,
            "modelSource": "Preset",
            "modelVersionDesc": preset.description,
        }
    return shown


@router.v1(routes.EVAL_REPORT, evaluation.EvaluationRef, write=False)
async def report(call: Call) -> Any:
    return await report_view(call, await operations.get(call.tx, call.owner, call.body["id"]))


async def report_view(call: Call, row: Evaluation) -> list[dict[str, Any]]:
    """What an evaluation has found, an entry for each model. Raises Fault before it has ended."""
    if row.status not in _ENDED:
        raise Fault(
            errors.WRONG_STATE,
            f"evaluation {row.id} is {row.status} and has no report yet",
            "wait for its end",
        )
    return [
        {
            **{
                name: shown[name]
                for name in (
                    "modelName",
                    "modelVersion",
                    "modelVersionId",
                    "modelVersionIdStr",
                    "modelId",
                    "modelIdStr",
                )
            },
            "modelVersionSource": shown["modelSource"],
            "evaluationName": row.name,
            "id": f"{unit.id:024x}",
            "evaluationJobId": row.job_id,
            "userId": row.owner_id,
            "projectId": 0,
            "evaluationId": row.id,
            "evaluationIdStr": row.public_id,
            "evalMode": row.conf["evalMode"],
            "effectMetric": unit.metrics,
        }
        for unit in await operations.units(call.tx, row)
        for shown in [await _unit(call, unit)]
    ]


@router.v1(routes.EVAL_CANCEL, evaluation.EvaluationRef)
async def cancel(call: Call) -> Any:
    await operations.cancel(call.tx, call.owner, call.body["id"])
    return {"result": True, "errorMessage": ""}


@router.v1(routes.EVAL_DELETE, evaluation.DeleteEvaluations)
async def delete(call: Call) -> Any:
    await operations.remove(call.tx, call.owner, call.body["evalIds"])
    return {}


@router.v1(routes.EVAL_RESULT_LIST, evaluation.ListResults, write=False)
async def result_list(call: Call) -> Any:
    return await listing.page(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]


@router.v1(routes.EVAL_EXPORT, evaluation.ExportResults)
async def export(call: Call) -> Any:
    made = await operations.export(call.platform, call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"exportID": made.id, "exportIDStr": made.public_id}


@router.v1(routes.EVAL_EXPORT_INFO, evaluation.ExportRef, write=False)
async def export_info(call: Call) -> Any:
    made = await operations.export_of(call.tx, call.owner, call.body["exportID"])
    url = ""
    if made.status == EvaluationResultExportTaskStatus.Done:
        file_id = made.csv_file if _reads_csv(call) else made.zip_file
        key: bytes = call.platform.link_key
        url = f"{call.base_url}/v2/files/{file_id}?{links.make(key, str(file_id))}"
    return {
        "id": made.evaluation_id,
        "exportID": made.id,
        "exportIDStr": made.public_id,
        "state": made.status,
        "reason": made.reason,
        "exportType": "storage" if made.bucket else "local",
        "volumeId": made.bucket,
        "exportPath": f"/{exporting.folder(made)}" if made.bucket else "",
        "downloadUrl": url,
        "progressDetail": {"pollAfter": POLL_AFTER_S} if not url else {},
    }


def _reads_csv(call: Call) -> bool:
    """Whether the client wants CSV: as it says, else as its published version reads."""
    wanted = call.body.get("format")
    if wanted is not None:
        if wanted not in ("csv", "jsonl"):
            raise Fault(errors.CONSOLE_PARAMETER, "param[format] invalid", "use csv or jsonl")
        return bool(wanted == "csv")
    return call.source.language == "python" and call.source.version < JSONL_SINCE
