"""The Model interface of V2. A V1 model is a model set here, a V1 version is a model."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from starlette.responses import FileResponse, Response

from qianfan.contract import bodies, routes
from qianfan.contract.enums import ModelSource, ModelState
from qianfan.contract.errors import CONSOLE_PARAMETER, NOT_FOUND, Fault
from qianfan.contract.times import zulu
from qianfan_platform.datasets import links
from qianfan_platform.training import operations as training
from qianfan_platform.web import Call, Router, Visit
from qianfan_platform.web.pages import page_info

from . import gates, importing, lineage, operations, presets, views
from .presets import Preset
from .tables import Model, ModelExport, ModelVersion

router = Router(aliases={"maker": "marker"})

PAGE, MOST = 10, 100
POLL_AFTER_S: Final = 0.3
OWN: Final = {0: "Text2Text", 1: "Text2Image", 3: "TextRepresentation", 5: "ImageUnderstanding", 2: "Industry"}  # fmt: skip
PRESET: Final = {0: "Text2Text", 1: "Text2Image", 4: "TextRepresentation", 5: "ImageUnderstanding"}


@router.v2(routes.MODEL_V2_CREATE_SET, bodies.CreateModelSet)
async def create_set(call: Call) -> Any:
    """An empty model set; models are added by CreateCustomModel or by publishing."""
    body = call.body
    numbers = {word: number for number, word in OWN.items()}
    row = await operations.create(
        call.tx,
        call.owner,
        body["modelSetName"],
        body.get("labels", ()),
        model_type=numbers[body.get("modelType", "Text2Text")],
        description=body.get("description", ""),
    )
    return {"modelSetId": row.public_id}


@router.v2(routes.MODEL_V2_SYSTEM_SETS, bodies.V2ModelPage, write=False)
async def system_sets(call: Call) -> Any:
    """The platform's own models; each says whether it is a stand-in."""
    found = list(presets.all_of(call.platform.catalogue))
    if call.body.get("pageReverse"):
        found.reverse()
    marker, size = call.body.get("marker"), _size(call)
    begin = 0
    if marker is not None:
        first = presets.find(call.platform.catalogue, marker)
        if first is None:
            raise Fault(NOT_FOUND, f"the marker {str(marker)[:60]} names no model set")
        begin = found.index(first)
    after = found[begin + size] if len(found) > begin + size else None
    return {
        "systemModelSetList": [
            {
                **_preset_set(preset),
                "modelCount": 1,
                "modelNames": [preset.name],
                "servedBy": preset.first.entry.name,
                "standIn": preset.first.stand_in,
            }
            for preset in found[begin : begin + size]
        ],
        "pageInfo": page_info(marker, size, after.public_id if after else None),
    }


@router.v2(routes.MODEL_V2_CUSTOM_SETS, bodies.V2ModelPage, write=False)
async def custom_sets(call: Call) -> Any:
    """The account's own model sets, newest first."""
    marker, size = call.body.get("marker"), _size(call)
    rows, after = await operations.following(
        call.tx, call.owner, marker, size, call.body.get("pageReverse", False)
    )
    sets = [await _set(call, row) for row in rows]
    return {
        "customModelSetList": [{**one, "modelCount": len(one["modelIds"])} for one in sets],
        "pageInfo": page_info(marker, size, after.public_id if after else None),
    }


@router.v2(routes.MODEL_V2_SET, bodies.ModelSetRef, write=False)
async def describe_set(call: Call) -> Any:
    """A model set by id or name; `modelIds` are its models, newest first."""
    ident, name = call.body.get("modelSetId"), call.body.get("modelSetName")
    catalogue = call.platform.catalogue
    if ident is not None:
        preset = presets.find(catalogue, ident)
        return (
            _preset_set(preset)
            if preset
            else await _set(call, await operations.get(call.tx, call.owner, ident))
        )
    if not name:
        raise Fault(CONSOLE_PARAMETER, "neither modelSetId nor modelSetName was sent", "send one of them")
    preset = presets.named(catalogue, name)
    try:
        return await _set(call, await operations.named(call.tx, call.owner, name))
    except Fault:
        if preset is None:
            raise
        return _preset_set(preset)


@router.v2(routes.MODEL_V2_DELETE_SET, bodies.ModelSetRef)
async def delete_set(call: Call) -> Any:
    ident = _required_set(call)
    presets.must_be_own(call.platform.catalogue, ident)
    await operations.delete_models(call.tx, call.owner, [ident])
    return {}


@router.v2(routes.MODEL_V2_CREATE, bodies.CreateModel)
async def create_model(call: Call) -> Any:
    """Add a model to a set: Train, of a run, or Import, of uploaded files or a hub."""
    body = call.body
    presets.must_be_own(call.platform.catalogue, body["modelSetId"])
    owner_set = await operations.get(call.tx, call.owner, body["modelSetId"])
    description = body.get("description", "")
    if body["sourceType"] == "Train":
        if "trainMeta" not in body:
            raise Fault(CONSOLE_PARAMETER, "param[trainMeta] invalid: a trained model needs it", "send {'taskId': …}")  # fmt: skip
        meta = body["trainMeta"]
        run = await training.run_of(call.tx, call.owner, meta.get("jobId"), meta["taskId"])
        row = await operations.add_trained(
            call.platform.catalogue, call.tx, owner_set, run, meta.get("step"), description, gate=body.get("gate")
        )  # fmt: skip
    else:
        if "importMeta" not in body:
            raise Fault(CONSOLE_PARAMETER, "param[importMeta] invalid: an import needs it", "send {'files': […]} or {'source': …}")  # fmt: skip
        origin = await importing.origin_of(call.platform, call.owner, body["importMeta"])
        row = await operations.add_imported(call.tx, owner_set, origin, description=description)
    return {"modelId": row.public_id, "modelSetId": owner_set.public_id}


@router.v2(routes.MODEL_V2_DETAIL, bodies.ModelRef, write=False)
async def describe_model(call: Call) -> Any:
    """A model (V1: a version), with the way back to its run, data and base."""
    ident = call.body["modelId"]
    preset = presets.find(call.platform.catalogue, ident)
    if preset is not None:
        shown = views.preset_version(call, preset)
        return {**_common(shown, OWN | PRESET, preset.model_type), "sourceInfo": {}, "isSupportModelComp": False}  # fmt: skip
    row = await operations.version(call.tx, call.owner, ident)
    owner_set = await operations.get(call.tx, call.owner, row.model_id)
    shown = await views.version(call, row, owner_set)
    return {
        **_common(shown, OWN, owner_set.model_type),
        "createTime": zulu(row.created_at),
        "modifyTime": zulu(row.modified_at),
        "sourceInfo": await _source_info(call, row),
        "isSupportModelComp": False,
        "lineage": await lineage.trace(call.tx, row, call.platform.catalogue),
    }


@router.v2(routes.MODEL_V2_DELETE, bodies.ModelRef)
async def delete_model(call: Call) -> Any:
    presets.must_be_own(call.platform.catalogue, call.body["modelId"])
    await operations.delete_versions(call.tx, call.owner, [call.body["modelId"]])
    return {}


@router.v2(routes.MODEL_V2_EXPORT, bodies.ExportModel)
async def start_export(call: Call) -> Any:
    """Write a model out as safetensors, GGUF or for Ollama; DescribeModelExportTask tells how it goes."""
    presets.must_be_own(call.platform.catalogue, call.body["modelId"])
    row = await operations.start_export(
        call.platform, call.tx, call.owner, call.body["modelId"], call.body  # type: ignore[arg-type]
    )  # fmt: skip
    return {"exportTaskId": row.public_id}


@router.v2(routes.MODEL_V2_EXPORT_INFO, bodies.ModelExportRef, write=False)
async def describe_export(call: Call) -> Any:
    """An export: status creating, running, succeeded or failed; links are good for a day."""
    if "exportTaskId" in call.body:
        row = await operations.export(call.tx, call.owner, call.body["exportTaskId"])
    elif "modelId" in call.body:
        presets.must_be_own(call.platform.catalogue, call.body["modelId"])
        row = await operations.newest_export(call.tx, call.owner, call.body["modelId"])
    else:
        raise Fault(CONSOLE_PARAMETER, "neither exportTaskId nor modelId was sent", "send one of them")
    version = await operations.version(call.tx, call.owner, row.version_id)
    return {
        "exportTaskId": row.public_id,
        "modelId": version.public_id,
        "format": row.format,
        "merged": row.merged,
        "dtype": row.dtype,
        "status": row.status,
        "failedReason": row.reason,
        "proof": row.proof,
        "files": [_file(call, row, one) for one in row.files],
        "createTime": zulu(row.created_at),
        "finishTime": zulu(row.finished_at),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if _busy(row) else {},
    }


def _busy(row: ModelExport) -> bool:
    return row.status in ("creating", "running")


def _file(call: Call, row: ModelExport, one: dict[str, Any]) -> dict[str, Any]:
    assert row.folder is not None
    link = links.make(call.platform.link_key, row.folder)
    return {**one, "downloadUrl": f"{call.base_url}/v2/files/{row.folder}/{quote(one['name'])}?{link}"}


@router.raw("/v2/files/{file_id}/{name}", methods=["GET"], public=True)
async def download(visit: Visit) -> Response:
    """Give one file of a folder, or a range of it, to whoever holds a link that this server made."""
    file_id, name = visit.request.path_params["file_id"], visit.request.path_params["name"]
    platform, query = visit.platform, visit.query
    if not links.holds(platform.link_key, file_id, query.get("until", ""), query.get("mark", "")):
        return Response("this link is not valid, or its time is over: ask for the export again", 403)
    folder = await platform.files.local(file_id)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if name not in names:
        raise Fault(NOT_FOUND, f"{file_id} holds no file {name[:100]!r}")
    return FileResponse(folder / name, media_type="application/octet-stream", filename=name)


@router.v2(routes.MODEL_GATE_SET, bodies.SetModelGate)
async def set_gate(call: Call) -> Any:
    """What versions of a model must be shown to be before they are deployed, or published; replaces the one before."""
    catalogue = call.platform.catalogue
    gate = await gates.put(catalogue, call.tx, call.owner, call.body["modelSetId"], call.body)
    return await gates.gate_view(catalogue, call.tx, gate)


@router.v2(routes.MODEL_GATE_DESCRIBE, bodies.ModelSetRef, write=False)
async def describe_gate(call: Call) -> Any:
    """The gate of a model; `gate` is null when it has none."""
    row = await operations.get(call.tx, call.owner, _required_set(call))
    gate = await gates.of_model(call.tx, row)
    return {"gate": gate and await gates.gate_view(call.platform.catalogue, call.tx, gate)}


@router.v2(routes.MODEL_GATE_DELETE, bodies.ModelSetRef)
async def delete_gate(call: Call) -> Any:
    await gates.remove(call.tx, call.owner, _required_set(call))
    return {}


def _required_set(call: Call) -> Any:
    if "modelSetId" not in call.body:
        raise Fault(CONSOLE_PARAMETER, "param[modelSetId] invalid: it is required")
    return call.body["modelSetId"]


_NO_COMPRESSION: Final = (
    "models are not compressed here",
    "export with CreateModelExportTask and dtype q8_0 for a smaller file, or import a quantised GGUF",
)
_NO_CUSTOM_CONF: Final = (
    "images and start commands of your own are not taken here: a model is weights, and the engine serves them",
    "import safetensors or GGUF with CreateCustomModel, sourceType Import",
)


async def _no_compression(call: Call) -> Any:
    """Not part of this platform."""
    raise Fault(CONSOLE_PARAMETER, *_NO_COMPRESSION)


async def _no_custom_conf(call: Call) -> Any:
    """Not part of this platform."""
    raise Fault(CONSOLE_PARAMETER, *_NO_CUSTOM_CONF)


for _route in (
    routes.MODEL_V2_CREATE_COMPRESSION,
    routes.MODEL_V2_COMPRESSIONS,
    routes.MODEL_V2_COMPRESSION,
    routes.MODEL_V2_CANCEL_COMPRESSION,
    routes.MODEL_V2_DELETE_COMPRESSION,
):
    router.v2(_route, write=False)(_no_compression)
for _route in (
    routes.MODEL_V2_CUSTOM_CONF,
    routes.MODEL_V2_SYSTEM_ADVANCED_CONF,
    routes.MODEL_V2_CUSTOM_ADVANCED_CONF,
):
    router.v2(_route, write=False)(_no_custom_conf)


def _size(call: Call) -> int:
    return min(int(call.body.get("maxKeys", PAGE)), MOST)


def _preset_set(preset: Preset) -> dict[str, Any]:
    return {
        "modelSetId": preset.public_id,
        "modelSetName": preset.name,
        "source": ModelSource.PlatformPreset.value,
        "modelType": PRESET[preset.model_type],
        "description": preset.description,
        "createTime": zulu(None),
        "modifyTime": zulu(None),
        "modelIds": [preset.version_public_id],
    }


async def _set(call: Call, row: Model) -> dict[str, Any]:
    versions = await operations.versions(call.tx, row)
    return {
        "modelSetId": row.public_id,
        "modelSetName": row.name,
        "source": ModelSource.UserCreate.value,
        "modelType": OWN.get(row.model_type, "Text2Text"),
        "labels": row.tags or [],
        "description": row.description,
        "createTime": zulu(row.created_at),
        "modifyTime": zulu(row.modified_at),
        "modelIds": [version.public_id for version in versions],
    }


def _common(shown: dict[str, Any], types: dict[int, str], model_type: int) -> dict[str, Any]:
    """The members of a V1 version under the names of V2."""
    return {
        "modelId": shown["modelVersionIdStr"],
        "modelName": shown["modelName"],
        "modelSetId": shown["modelIdStr"],
        "modelSetName": shown["modelName"],
        "modelType": types.get(model_type, "Text2Text"),
        "version": shown["version"],
        "description": shown["description"],
        "sourceType": shown["sourceType"],
        "runStatus": shown["state"],
        "state": shown["state"],
        "framework": shown["framework"],
        "algorithm": shown["algorithm"],
        "trainType": shown["trainType"],
        "supportOptions": shown["supportOptions"],
        "reason": shown["reason"],
        "proof": shown["proof"],
        "progressDetail": {"pollAfter": POLL_AFTER_S} if shown["state"] == ModelState.Creating else {},
    }


async def _source_info(call: Call, row: ModelVersion) -> dict[str, Any]:
    """`trainTaskId` is what the next run goes on from."""
    if not row.run_id:
        return {"importSource": (row.origin or {}).get("source", "")}
    run, task = await lineage.run_and_task(call.tx, row)
    return {
        "trainJobId": task.public_id,
        "trainJobName": task.name,
        "trainTaskId": run.public_id,
        "step": row.step,
    }
