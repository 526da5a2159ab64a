"""How models look on the wire: the shapes that V1 and V2 share."""

from __future__ import annotations

from typing import Any, Final

from qianfan.contract.enums import DataProjectType, DataTemplateType, ModelSource, ModelSourceType, ModelState
from qianfan.contract.times import china, plain
from qianfan_platform.accounts.operations import account_name
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.web import Call

from . import lineage, operations, presets
from .presets import Preset
from .tables import Model, ModelVersion

POLL_AFTER_S: Final = 0.3
TEMPLATES: Final = {
    "PostPretrain": DataTemplateType.GenericText,
    "DPO": DataTemplateType.PromptChosenRejected,
}
PROJECTS: Final = {"PostPretrain": DataProjectType.GenericText}

PARAMS: Final[dict[str, Any]] = {
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


async def version(call: Call, row: ModelVersion, model: Model) -> dict[str, Any]:
    """A version without `params`, as modelDetail lists it."""
    return {
        "modelId": model.id,
        "modelIdStr": model.public_id,
        "modelName": model.name,
        "modelVersionId": row.id,
        "modelVersionIdStr": row.public_id,
        "version": str(row.version),
        "description": row.description,
        "sourceType": row.source_type,
        "sourceExtra": await _source_extra(call, row),
        "framework": "Pytorch",
        "algorithm": model.name if not row.run_id else row.entry,
        "modelNet": model.name if not row.run_id else f"{row.entry}-{row.method}",
        "state": row.status,
        "ioMode": "chat",
        "ioLength": _context(row, call.platform.catalogue),
        "copyright": "",
        "property": {} if row.step is None else {"step": row.step},
        "createTime": china(row.created_at),
        "modifyTime": china(row.modified_at),
        "deployResource": ["Private"],
        "supportOptions": ["Deploy", *(["FineTuning"] if row.run_id else [])],
        "trainType": row.train_type,
        "reason": row.reason,
        "proof": row.proof,
        "progressDetail": {"pollAfter": POLL_AFTER_S} if row.status == ModelState.Creating else {},
    }


def _context(row: ModelVersion, catalogue: Catalogue) -> str:
    """Tokens of one sequence; "" where the base is gone from the catalogue, or nothing is known yet."""
    entry = catalogue.entries.get(row.entry)
    tokens = row.context or (entry.context if entry else 0)
    return str(tokens) if tokens else ""


async def _source_extra(call: Call, row: ModelVersion) -> dict[str, Any]:
    if not row.run_id:
        return {"sourceType": row.source_type}
    run, task = await lineage.run_and_task(call.tx, row)
    return {
        "sourceType": row.source_type,
        "trainSourceExtra": {
            "taskId": task.id,
            "taskIdStr": task.public_id,
            "taskName": task.name,
            "iterationVersion": run.ordinal,
            "runId": run.id,
            "runIdStr": run.public_id,
            "devType": 0,
            "modelType": PROJECTS.get(run.train_mode, DataProjectType.Conversation).value,
            "templateType": TEMPLATES.get(run.train_mode, DataTemplateType.NonSortedConversation).value,
        },
    }


async def model(call: Call, row: Model) -> dict[str, Any]:
    """modelDetail of an account's own model."""
    return {
        "modelId": row.id,
        "modelIdStr": row.public_id,
        "modelName": row.name,
        "source": ModelSource.UserCreate.value,
        "modelType": row.model_type,
        "createUserId": row.owner_id,
        "createUser": await account_name(call.tx, row.owner_id),
        "createTime": china(row.created_at),
        "modifyTime": china(row.modified_at),
        "description": row.description,
        "tags": row.tags or None,
        "trainType": row.train_type,
        "modelVersionList": [
            await version(call, one, row) for one in await operations.versions(call.tx, row)
        ],
    }


async def user_item(call: Call, row: Model) -> dict[str, Any]:
    """An item of model/user/list."""
    versions = await operations.versions(call.tx, row)
    newest: dict[str, Any] = {}
    if versions:
        newest = {
            "state": versions[0].status,
            "version": str(versions[0].version),
            "sourceType": versions[0].source_type,
            "sourceExtra": await _source_extra(call, versions[0]),
            "versionId": versions[0].id,
            "versionIdStr": versions[0].public_id,
        }
    return {
        "modelName": row.name,
        "modelId": row.id,
        "modelIdStr": row.public_id,
        "modelType": row.model_type,
        "tags": row.tags or None,
        "createTime": plain(row.created_at),
        "versionCount": len(versions),
        "trainType": row.train_type,
        "latestVersionInfo": newest,
    }


def preset_version(call: Call, preset: Preset) -> dict[str, Any]:
    """A version of a preset, without `params`: it has one, which is always Ready."""
    entry = preset.first.entry
    return {
        "modelId": preset.id,
        "modelIdStr": preset.public_id,
        "modelName": preset.name,
        "modelVersionId": preset.version_id,
        "modelVersionIdStr": preset.version_public_id,
        "version": "1",
        "description": preset.description,
        "sourceType": ModelSourceType.PlatformPreset.value,
        "sourceExtra": {"sourceType": ModelSourceType.PlatformPreset.value},
        "framework": "Pytorch",
        "algorithm": entry.name,
        "modelNet": entry.name,
        "state": ModelState.Ready.value,
        "ioMode": preset.first.kind,
        "ioLength": str(preset.context),
        "copyright": entry.licence,
        "property": {"servedBy": entry.name, "standIn": preset.first.stand_in},
        "createTime": "",
        "modifyTime": "",
        "deployResource": ["Public"],
        "supportOptions": presets.capabilities(preset, call.platform.catalogue),
        "trainType": preset.name,
        "reason": "",
        "proof": {},
        "progressDetail": {},
    }


def preset_model(call: Call, preset: Preset) -> dict[str, Any]:
    """modelDetail of a preset."""
    return {
        "modelId": preset.id,
        "modelIdStr": preset.public_id,
        "modelName": preset.name,
        "source": ModelSource.PlatformPreset.value,
        "modelType": preset.model_type,
        "createUserId": 0,
        "createUser": "",
        "createTime": "",
        "modifyTime": "",
        "description": preset.description,
        "tags": None,
        "trainType": preset.name,
        "modelVersionList": [preset_version(call, preset)],
    }


def preset_item(call: Call, preset: Preset) -> dict[str, Any]:
    """An item of model/preset/list; `servedBy` and `standIn` say what really answers."""
    return {
        "modelId": preset.id,
        "modelIdStr": preset.public_id,
        "modelName": preset.name,
        "modelType": preset.model_type,
        "description": preset.description,
        "versionCount": 1,
        "modifyTime": "",
        "isStarModel": False,
        "isNewest": True,
        "modelAdvantage": None,
        "vendor": preset.vendor,
        "ctxLength": preset.context,
        "languageSupport": list(preset.first.entry.languages),
        "servedBy": preset.first.entry.name,
        "standIn": preset.first.stand_in,
        "versionSummaries": [
            {
                "versionId": preset.version_id,
                "versionIdStr": preset.version_public_id,
                "version": "1",
                "algorithm": preset.first.entry.name,
                "framework": "Pytorch",
                "apiDocLink": "",
                "presetService": preset.first.endpoint,
                "supportOptions": presets.capabilities(preset, call.platform.catalogue),
            }
        ],
    }
