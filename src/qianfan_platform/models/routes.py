"""The Model interface: HTTP in, HTTP out."""

from __future__ import annotations

from typing import Any

from qianfan.contract import bodies, routes
from qianfan.contract.enums import DataProjectType, DataTemplateType, ModelState
from qianfan.contract.times import china, plain
from qianfan_platform.web import Call, Router

from . import operations
from .tables import Model, ModelVersion

router = Router()
POLL_AFTER_S = 0.3

_PARAMS: dict[str, Any] = {
    "input": {
        "type": "object",
        "properties": {
            "messages": {"name": "messages", "type": "array", "description": "user, assistant, …, user"},
            "stream": {
                "name": "stream",
                "type": "boolean",
                "description": "answer in pieces",
                "default": False,
            },
            "temperature": {"name": "temperature", "type": "number", "description": "(0, 1]"},
            "top_p": {"name": "top_p", "type": "number", "description": "[0, 1]"},
        },
    },
    "output": {
        "type": "object",
        "properties": {
            "result": {"name": "result", "type": "string", "description": "the answer"},
            "usage": {"name": "usage", "type": "object", "description": "tokens of prompt and answer"},
        },
    },
}


async def _version_view(call: Call, row: ModelVersion, model: Model) -> dict[str, Any]:
    run, task = await operations.lineage(call.tx, row)
    return {
        "modelId": model.id,
        "modelIdStr": model.public_id,
        "modelName": model.name,
        "modelVersionId": row.id,
        "modelVersionIdStr": row.public_id,
        "version": str(row.version),
        "description": row.description,
        "sourceType": "Train",
        "sourceExtra": {
            "sourceType": "Train",
            "trainSourceExtra": {
                "taskId": task.id,
                "taskIdStr": task.public_id,
                "taskName": task.name,
                "iterationVersion": run.ordinal,
                "runId": run.id,
                "runIdStr": run.public_id,
                "devType": 0,
                "modelType": DataProjectType.Conversation.value,
                "templateType": DataTemplateType.NonSortedConversation.value,
            },
        },
        "framework": "Pytorch",
        "algorithm": row.entry,
        "modelNet": f"{row.entry}-{row.method}",
        "state": row.status,
        "ioMode": "chat",
        "ioLength": "",
        "copyright": "",
        "property": {},
        "createTime": china(row.created_at),
        "modifyTime": china(row.modified_at),
        "deployResource": ["Private"],
        "supportOptions": ["Deploy"],
        "trainType": row.train_type,
        "reason": row.reason,
        "proof": row.proof,
        "progressDetail": {"pollAfter": POLL_AFTER_S} if row.status == ModelState.Creating else {},
    }


@router.v1(routes.MODEL_DETAIL, bodies.ModelRef, write=False)
async def detail(call: Call) -> Any:
    model = await operations.get(call.tx, call.owner, call.body["modelId"])
    versions = await operations.versions(call.tx, model)
    return {
        "modelId": model.id,
        "modelIdStr": model.public_id,
        "modelName": model.name,
        "source": "UserCreate",
        "modelType": 0,
        "createUserId": model.owner_id,
        "createUser": "",
        "createTime": china(model.created_at),
        "modifyTime": china(model.modified_at),
        "description": model.description,
        "trainType": model.train_type,
        "modelVersionList": [await _version_view(call, row, model) for row in versions],
    }


@router.v1(routes.MODEL_VERSION_DETAIL, bodies.VersionRef, write=False)
async def version_detail(call: Call) -> Any:
    row = await operations.version(call.tx, call.owner, call.body["modelVersionId"])
    model = await operations.get(call.tx, call.owner, row.model_id)
    return {**await _version_view(call, row, model), "params": _PARAMS}


@router.v1(routes.MODEL_PUBLISH, bodies.PublishModel)
async def publish(call: Call) -> Any:
    model, version = await operations.publish(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {
        "modelId": model.id,
        "modelIDStr": model.public_id,
        "version": str(version.version),
        "versionId": version.id,
        "versionIdStr": version.public_id,
    }


@router.v1(routes.MODEL_USER_LIST, bodies.ListModels, write=False)
async def user_list(call: Call) -> Any:
    body = call.body
    models, total = await operations.page(
        call.tx,
        call.owner,
        body.get("pageNo", 1),
        body.get("pageSize", 20),
        body.get("nameFilter"),
        body.get("orderBy"),
        body.get("order"),
    )
    items = []
    for model in models:
        versions = await operations.versions(call.tx, model)
        newest = await _version_view(call, versions[0], model) if versions else {}
        items.append(
            {
                "modelName": model.name,
                "modelId": model.id,
                "modelIdStr": model.public_id,
                "modelType": 0,
                "tags": model.tags or None,
                "createTime": plain(model.created_at),
                "versionCount": len(versions),
                "trainType": model.train_type,
                "latestVersionInfo": {
                    key: newest[name]
                    for key, name in {
                        "state": "state",
                        "version": "version",
                        "sourceType": "sourceType",
                        "sourceExtra": "sourceExtra",
                        "versionId": "modelVersionId",
                        "versionIdStr": "modelVersionIdStr",
                    }.items()
                    if name in newest
                },
            }
        )
    return {"total": total, "items": items}


@router.v1(routes.MODEL_BATCH_DELETE, bodies.DeleteModels)
async def batch_delete(call: Call) -> Any:
    await operations.delete_models(call.tx, call.owner, call.body["modelIDs"])
    return {}


@router.v1(routes.MODEL_VERSION_BATCH_DELETE, bodies.DeleteVersions)
async def batch_delete_versions(call: Call) -> Any:
    await operations.delete_versions(call.tx, call.owner, call.body["modelVersionIds"])
    return {}
