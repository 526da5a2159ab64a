"""The Prompt interface, V1 and V2: HTTP in, HTTP out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qianfan.contract import bodies, errors, prompt_text, prompts, routes
from qianfan.contract.enums import PromptSceneType, PromptTaskStatus, PromptType
from qianfan.contract.errors import Fault
from qianfan.contract.ids import as_number
from qianfan.contract.times import china, plain, zulu
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.web import Call, Router
from qianfan_platform.web.pages import page_info

from . import evaluation, operations, presets
from .operations import Label, Template
from .presets import Preset, PresetLabel

router = Router(aliases={"maker": "marker"})
PAGE: Final = 10
MOST: Final = 100
V2_SCENES: Final = {
    "TextToText": PromptSceneType.Text2Text.value,
    "TextToImage": PromptSceneType.Text2Image.value,
}
POLL_AFTER_S: Final = 0.3


async def _labels(call: Call, row: Template) -> list[dict[str, Any]]:
    known = {label.id: label for label in await operations.labels_of(call.tx, call.owner)}
    return [
        {"labelId": known[number].id, "labelName": known[number].name, "color": known[number].color}
        for number in row.labels
        if number in known
    ]


def _names(variables: Sequence[str], v2: bool) -> Any:
    return list(variables) if v2 else ",".join(variables)


async def _template(call: Call, row: Template, *, v2: bool = False) -> dict[str, Any]:
    """A template as lists show it. V2 has the string id alone, and variables as a list."""
    own = not isinstance(row, Preset)
    shown: dict[str, Any] = {
        "templateId": row.public_id if v2 else row.id,
        **({} if v2 else {"templatePK": row.public_id}),
        "templateName": row.name,
        "templateContent": row.content,
        "templateVariables": _names(row.variables, v2),
        "variableIdentifier": row.identifier,
        "labels": await _labels(call, row),
        "creatorName": presets.CREATOR if not own else "",
        "type": PromptType.User.value if own else PromptType.Preset.value,
        "sceneType": row.scene,
        "frameworkType": row.framework,
        "hyperParametersStatus": bool(row.hyper_parameters),
        "hyperParameters": row.hyper_parameters,
    }
    if v2:
        shown["type"] = "Custom" if own else "System"
        shown["sceneType"] = next(word for word, scene in V2_SCENES.items() if scene == row.scene)
        shown["createTime"], shown["modifyTime"] = zulu(row.created_at), zulu(row.modified_at)
    if row.scene == PromptSceneType.Text2Image:
        shown["negativeTemplateContent"] = row.negative_content
        shown["negativeTemplateVariables"] = _names(row.negative_variables, v2)
    return shown


async def _rendered(
    call: Call, row: Template, values: Mapping[str, Any], *, v2: bool = False
) -> dict[str, Any]:
    shown = await _template(call, row, v2=v2)
    shown["content"] = prompt_text.render(row.content, row.identifier, values)
    if row.scene == PromptSceneType.Text2Image:
        shown["negativeContent"] = prompt_text.render(row.negative_content, row.identifier, values)
    return shown


def _ident(body: Mapping[str, Any], name: str) -> Any:
    ident = body.get(name)
    if isinstance(ident, bool) or not isinstance(ident, int | str) or ident == "":
        raise Fault(
            errors.CONSOLE_PARAMETER, f"param[{name}] invalid: it is required", "send a template's id"
        )
    return ident


@router.v1(routes.PROMPT_CREATE, prompts.CreatePrompt)
async def create(call: Call) -> Any:
    row = await operations.create(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"templateId": row.id, "templatePK": row.public_id}


@router.v1(routes.PROMPT_INFO, write=False)  # any member of the body may be a variable
async def info(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, _ident(call.body, "id"))
    return await _rendered(call, row, call.body)


@router.v1(routes.PROMPT_UPDATE, prompts.UpdatePrompt)
async def update(call: Call) -> Any:
    row = await operations.update(call.tx, call.owner, call.body)  # type: ignore[arg-type]
    return {"templateId": row.id, "templatePK": row.public_id}


@router.v1(routes.PROMPT_DELETE, prompts.PromptRef)
async def delete(call: Call) -> Any:
    await operations.delete(call.tx, call.owner, call.body["templateId"])
    return True


@router.v1(routes.PROMPT_LIST, prompts.ListPrompts, write=False)
async def list_templates(call: Call) -> Any:
    body = call.body
    name, labels = body.get("name", ""), body.get("labelIds", [])
    offset, size = body.get("offset", 0), body.get("pageSize", PAGE)
    rows: Sequence[Template]
    if body.get("type") == PromptType.Preset:
        rows, total = operations.preset_page(name, labels, offset, size)
    else:
        rows, total = await operations.page(
            call.tx, call.owner, name=name, labels=labels, offset=offset, limit=size
        )
    return {"total": total, "items": [await _template(call, row) for row in rows]}


def _label(row: Label, *, v2: bool = False) -> dict[str, Any]:
    own = not isinstance(row, PresetLabel)
    return {
        "labelId": row.public_id if v2 else row.id,
        **({} if v2 else {"labelPK": row.public_id}),
        "labelName": row.name,
        "color": row.color,
        "type": PromptType.User.value if own else PromptType.Preset.value,
        "creatorName": "" if own else presets.CREATOR,
        "createTime": china(row.created_at),
        "updateTime": china(row.modified_at),
    }


@router.v1(routes.PROMPT_LABEL_LIST, prompts.ListLabels, write=False)
async def list_labels(call: Call) -> Any:
    rows = await operations.labels_of(call.tx, call.owner)
    offset, size = call.body.get("offset", 0), call.body.get("pageSize", PAGE)
    return {"total": len(rows), "items": [_label(row) for row in rows[offset : offset + size]]}


@router.v1(routes.PROMPT_OPTIMIZE_CREATE, prompts.OptimisePrompt)
async def optimise(call: Call) -> Any:
    app = as_number(call.app) or 0
    row = await operations.optimise(call.tx, call.owner, app, call.body)  # type: ignore[arg-type]
    return {"id": row.public_id}


@router.v1(routes.PROMPT_OPTIMIZE_INFO, prompts.OptimisationRef, write=False)
async def optimisation(call: Call) -> Any:
    row = await operations.optimisation(call.tx, call.owner, call.body["id"])
    running = row.status == PromptTaskStatus.Running
    return {
        "id": row.public_id,
        "content": row.content,
        "optimizeContent": row.improved,
        "qingfanResult": "",
        "operations": row.operations,
        "processStatus": row.status,
        "reason": row.reason,
        "appId": row.app_id,
        "serviceName": row.service_name,
        "projectId": "",
        "creator": "",
        "inference": row.inference,
        "createTime": plain(row.created_at),
        "modifyTime": plain(row.modified_at),
        "progressDetail": {"pollAfter": POLL_AFTER_S} if running else {},
    }


def _caller(call: Call) -> Caller:
    return Caller(call.owner, call.app, "iam")


@router.v1(routes.PROMPT_EVALUATE_SCORE, prompts.ScoreAnswers, write=False)
async def score(call: Call) -> Any:
    scores = await evaluation.scores(call.platform, _caller(call), call.body)  # type: ignore[arg-type]
    return {"logID": 0, "scores": scores, "errorCode": 0, "errorMsg": ""}


@router.v1(routes.PROMPT_EVALUATE_SUMMARY, prompts.SummariseAnswers, write=False)
async def summary(call: Call) -> Any:
    texts = await evaluation.summaries(call.platform, _caller(call), call.body)  # type: ignore[arg-type]
    return {"responses": [{"response": text, "id": "", "errorCode": 0, "errorMsg": ""} for text in texts]}


# -- V2 ---------------------------------------------------------------------------------------------------


@router.v2(routes.PROMPT_V2_CREATE, prompts.V2CreatePrompt)
async def v2_create(call: Call) -> Any:
    spec = {**call.body, "sceneType": V2_SCENES[call.body.get("sceneType", "TextToText")]}
    labels = await operations.labels_named(call.tx, call.owner, spec.pop("labels", []))
    row = await operations.create(call.tx, call.owner, spec, [label.id for label in labels])  # type: ignore[arg-type]
    return {"templateId": row.public_id}


@router.v2(routes.PROMPT_V2_INFO, write=False)
async def v2_info(call: Call) -> Any:
    row = await operations.get(call.tx, call.owner, _ident(call.body, "templateId"))
    return await _rendered(call, row, call.body, v2=True)


@router.v2(routes.PROMPT_V2_UPDATE, prompts.V2UpdatePrompt)
async def v2_update(call: Call) -> Any:
    spec = dict(call.body)
    names = spec.pop("labels", None)
    labels = None if names is None else await operations.labels_named(call.tx, call.owner, names)
    numbers = None if labels is None else [label.id for label in labels]
    row = await operations.update(call.tx, call.owner, spec, numbers)  # type: ignore[arg-type]
    return {"templateId": row.public_id}


@router.v2(routes.PROMPT_V2_DELETE, prompts.PromptRef)
async def v2_delete(call: Call) -> Any:
    await operations.delete(call.tx, call.owner, call.body["templateId"])
    return True


@router.v2(routes.PROMPT_V2_LIST, prompts.V2ListPrompts, write=False)
async def v2_list(call: Call) -> Any:
    body = call.body
    rows: Sequence[Template]
    name, labels = body.get("name", ""), body.get("labelIds", [])
    if body.get("type") == "System":
        rows, _ = operations.preset_page(name, labels, 0, len(presets.templates()))
    else:
        rows, _ = await operations.page(
            call.tx, call.owner, name=name, labels=labels, offset=0, limit=operations.MOST_TEMPLATES
        )
    shown, page = _v2_page(rows, body)
    return {"items": [await _template(call, row, v2=True) for row in shown], "pageInfo": page}


def _v2_page(rows: Sequence[Any], body: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """One page of rows that are all there. A marker names the first item of the page."""
    if body.get("pageReverse"):
        rows = rows[::-1]
    marker, size = body.get("marker"), min(body.get("maxKeys", PAGE), MOST)
    first = 0
    if marker:
        number = as_number(marker)
        places = [at for at, row in enumerate(rows) if marker == row.public_id or number == row.id]
        if not places:
            raise Fault(errors.NOT_FOUND, f"marker {str(marker)[:60]} names nothing of this list")
        first = places[0]
    following = rows[first + size].public_id if len(rows) > first + size else None
    return rows[first : first + size], page_info(marker, size, following)


@router.v2(routes.PROMPT_LABEL_V2_CREATE, prompts.CreateLabels)
async def v2_create_labels(call: Call) -> Any:
    rows = await operations.labels_named(call.tx, call.owner, call.body["name"])
    return {"items": [_label(row, v2=True) for row in rows]}


@router.v2(routes.PROMPT_LABEL_V2_LIST, bodies.V2Page, write=False)
async def v2_list_labels(call: Call) -> Any:
    shown, page = _v2_page(await operations.labels_of(call.tx, call.owner), call.body)
    return {"items": [_label(row, v2=True) for row in shown], "pageInfo": page}


@router.v2(routes.PROMPT_LABEL_V2_DELETE, prompts.LabelRef)
async def v2_delete_label(call: Call) -> Any:
    await operations.delete_label(call.tx, call.owner, call.body["labelId"])
    return True
