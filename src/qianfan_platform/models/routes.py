"""The Model interface of V1: HTTP in, HTTP out. That of V2 is in `v2.py`, over the same operations."""

from __future__ import annotations

from typing import Any

from qianfan.contract import bodies, routes
from qianfan.contract.errors import CONSOLE_PARAMETER, Fault
from qianfan.contract.ids import as_number
from qianfan_platform.web import Call, Router

from . import lineage, operations, presets, views

router = Router()


@router.v1(routes.MODEL_DETAIL, bodies.ModelRef, write=False)
async def detail(call: Call) -> Any:
    """One model, the account's own or a preset, with its versions, newest first."""
    preset = presets.find(call.platform.catalogue, call.body["modelId"])
    if preset is not None:
        return views.preset_model(call, preset)
    return await views.model(call, await operations.get(call.tx, call.owner, call.body["modelId"]))


@router.v1(routes.MODEL_VERSION_DETAIL, bodies.VersionRef, write=False)
async def version_detail(call: Call) -> Any:
    """One version, with the way back to its run, data and base."""
    preset = presets.find(call.platform.catalogue, call.body["modelVersionId"])
    if preset is not None:
        return {**views.preset_version(call, preset), "params": views.PARAMS}
    row = await operations.version(call.tx, call.owner, call.body["modelVersionId"])
    model = await operations.get(call.tx, call.owner, row.model_id)
    return {
        **await views.version(call, row, model),
        "params": views.PARAMS,
        "lineage": await lineage.trace(call.tx, row, call.platform.catalogue),
    }


@router.v1(routes.MODEL_PUBLISH, bodies.PublishModel)
async def publish(call: Call) -> Any:
    catalogue = call.platform.catalogue
    presets.must_be_own(catalogue, None if call.body["isNewModel"] else call.body.get("modelId"))
    model, version = await operations.publish(catalogue, call.tx, call.owner, call.body)  # type: ignore[arg-type]
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
        name=body.get("nameFilter"),
        types=types_of(body.get("modelType")),
        by=_order_by(body.get("orderBy")),
        order=_order(body.get("order")),
    )
    return {"total": total, "items": [await views.user_item(call, model) for model in models]}


@router.v1(routes.MODEL_PRESET_LIST, bodies.ListPresetModels, write=False)
async def preset_list(call: Call) -> Any:
    """What everybody may call here; each says whether it is a stand-in."""
    body = call.body
    _order(body.get("order")), _order_by(body.get("orderBy"))
    found = presets.matching(call.platform.catalogue, body, types_of(body.get("modelType")))
    page = presets.listed(found, body.get("pageNo", 1), body.get("pageSize", 20))
    return {"total": len(found), "items": [views.preset_item(call, preset) for preset in page]}


@router.v1(routes.MODEL_BATCH_DELETE, bodies.DeleteModels)
async def batch_delete(call: Call) -> Any:
    presets.must_be_own(call.platform.catalogue, *call.body["modelIDs"])
    await operations.delete_models(call.tx, call.owner, call.body["modelIDs"])
    return {}


@router.v1(routes.MODEL_VERSION_BATCH_DELETE, bodies.DeleteVersions)
async def batch_delete_versions(call: Call) -> Any:
    presets.must_be_own(call.platform.catalogue, *call.body["modelVersionIds"])
    await operations.delete_versions(call.tx, call.owner, call.body["modelVersionIds"])
    return {}


@router.v1(routes.MODEL_EVALUABLE_LIST, write=False)
async def evaluable(call: Call) -> Any:
    """Models that can be evaluated: the account's own that are Ready, then the presets that chat."""
    names = (
        *("modelVersionId", "modelVersionIdStr", "version", "sourceType", "framework"),
        *("algorithm", "modelNet", "trainType", "description"),
    )

    def item(model: dict[str, Any], versions: list[dict[str, Any]]) -> dict[str, Any]:
        kept = ("modelId", "modelIdStr", "modelName", "source", "modelType", "trainType")
        shown = [{name: version[name] for name in names} for version in versions]
        return {**{name: model[name] for name in kept}, "modelVersionList": shown}

    found = []
    for row, versions in await operations.ready(call.tx, call.owner):
        own = {
            "modelId": row.id, "modelIdStr": row.public_id, "modelName": row.name, "source": "UserCreate",
            "modelType": row.model_type, "trainType": row.train_type,
        }  # fmt: skip
        found.append(item(own, [await views.version(call, one, row) for one in versions]))
    for preset in presets.all_of(call.platform.catalogue):
        if preset.first.kind == "chat":
            model = views.preset_model(call, preset)
            found.append(item(model, model["modelVersionList"]))
    return found


def types_of(sent: Any) -> list[int]:
    """`modelType` as published clients send it: a text, a number, or a list of either. Raises Fault."""
    many = sent if isinstance(sent, list) else [] if sent is None else [sent]
    found = []
    for one in many:
        for part in str(one).split(","):
            number = as_number(part.strip())
            if number is None and part.strip():
                raise Fault(
                    CONSOLE_PARAMETER,
                    f"param[modelType] invalid: {part.strip()[:40]!r} is no number",
                    "send 0 (text), 1 (image), 4 (vector), 5 (image understanding), or a list of them",
                )
            if number is not None:
                found.append(number)
    return found


def _order_by(sent: str | None) -> str | None:
    known = {"createTime": "create_time", "modifyTime": "modify_time", "modelName": "name"}
    asked = known.get(sent, sent) if sent else None
    if asked not in (None, "create_time", "modify_time", "name"):
        raise Fault(
            CONSOLE_PARAMETER,
            f"param[orderBy] invalid: {str(sent)[:40]!r}",
            "use create_time, modify_time or name",
        )
    return asked


def _order(sent: str | None) -> str | None:
    if sent and sent.lower() not in ("asc", "desc"):
        raise Fault(CONSOLE_PARAMETER, f"param[order] invalid: {sent[:40]!r}", "use asc or desc")
    return sent.lower() if sent else None
