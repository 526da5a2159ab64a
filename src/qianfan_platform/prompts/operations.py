"""What can be done with prompt templates and labels: create, look, change, list, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Text, case, or_, type_coerce

from qianfan.contract import errors, prompt_text
from qianfan.contract.bodies import Id
from qianfan.contract.enums import PromptFrameworkType, PromptSceneType
from qianfan.contract.errors import Fault
from qianfan.contract.ids import as_number, random_word
from qianfan.contract.prompts import CreatePrompt, OptimisePrompt, UpdatePrompt
from qianfan_platform import jobs
from qianfan_platform.store import Tx

from . import presets
from .presets import Preset, PresetLabel
from .tables import PromptLabel, PromptOptimisation, PromptTemplate

Template = PromptTemplate | Preset
Label = PromptLabel | PresetLabel
IMAGE: Final = PromptSceneType.Text2Image.value
MOST_TEMPLATES: Final = 10_000  # that one V2 listing looks through


def variables(text: str, identifier: str) -> list[str]:
    """Names of the variables in a template. Raises Fault naming the one that cannot be used."""
    try:
        return prompt_text.variables_of(text, identifier)
    except prompt_text.BadVariable as bad:
        raise Fault(errors.CONSOLE_PARAMETER, str(bad), bad.advice) from None


def _given(names: str | None, text: str, identifier: str) -> list[str]:
    """The names that were sent, each checked; found in the text when none were."""
    if not names:
        return variables(text, identifier)
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found:
        if not prompt_text.NAME.fullmatch(name):
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[templateVariables] invalid: {name[:60]!r} cannot be the name of a variable",
                "use 2 to 30 letters, digits and underscores, not beginning with a digit",
            )
    return found


async def create(tx: Tx, owner: int, spec: CreatePrompt, labels: Sequence[int] = ()) -> PromptTemplate:
    """A template of the account; its name is its own. Negative texts count for images only."""
    identifier = spec.get("variableIdentifier", "{}")
    scene = spec.get("sceneType", PromptSceneType.Text2Text.value)
    negative = spec.get("negativeTemplateContent", "") if scene == IMAGE else ""
    given = spec.get("negativeTemplateVariables") if scene == IMAGE else None
    chosen = [(await label(tx, owner, ident)).id for ident in spec.get("labelIds", [])]
    row = PromptTemplate(
        owner_id=owner,
        name=spec["templateName"],
        content=spec["templateContent"],
        variables=_given(spec.get("templateVariables"), spec["templateContent"], identifier),
        identifier=identifier,
        scene=scene,
        framework=spec.get("frameworkType", PromptFrameworkType.NotUse.value),
        negative_content=negative,
        negative_variables=_given(given, negative, identifier),
        labels=list(dict.fromkeys([*chosen, *labels])),
        hyper_parameters=spec.get("hyperParameters", {}),
    )
    return await tx.add_unique(row, _taken(row.name))


def _taken(name: str) -> Fault:
    return Fault(errors.NAME_TAKEN, f"the name {name[:100]!r} is taken", "choose another name")


async def get(tx: Tx, owner: int, ident: Id) -> Template:
    """A template of the platform or of the account, by either id."""
    preset = presets.template(ident)
    return preset if preset is not None else await tx.one(PromptTemplate, ident, owner=owner)


async def _own(tx: Tx, owner: int, ident: Id, what: str) -> PromptTemplate:
    if presets.template(ident) is not None:
        raise Fault(
            errors.WRONG_STATE,
            f"prompt template {ident} ships with the platform and cannot be {what}",
            "create one of your own with its content",
        )
    return await tx.one(PromptTemplate, ident, owner=owner, lock=True)


async def update(
    tx: Tx, owner: int, spec: UpdatePrompt, labels: Sequence[int] | None = None
) -> PromptTemplate:
    """Change what is given; the variables are found anew."""
    row = await _own(tx, owner, spec["templateId"], "changed")
    row.identifier = spec.get("variableIdentifier", row.identifier)
    row.content = spec.get("templateContent", row.content)
    if row.scene == IMAGE:
        row.negative_content = spec.get("negativeTemplateContent", row.negative_content)
    row.variables = variables(row.content, row.identifier)
    row.negative_variables = variables(row.negative_content, row.identifier)
    row.hyper_parameters = spec.get("hyperParameters", row.hyper_parameters)
    if labels is not None:
        row.labels = list(labels)
    elif "labelIds" in spec:
        row.labels = [(await label(tx, owner, ident)).id for ident in spec["labelIds"]]
    name = spec.get("templateName", row.name)
    if name != row.name:
        if await tx.maybe(PromptTemplate, PromptTemplate.name == name, owner=owner) is not None:
            raise _taken(name)
        row.name = name
    return row


async def delete(tx: Tx, owner: int, ident: Id) -> None:
    """Delete a template of the account."""
    await tx.delete(await _own(tx, owner, ident, "deleted"))


async def page(
    tx: Tx, owner: int, *, name: str, labels: Sequence[Id], offset: int, limit: int
) -> tuple[list[PromptTemplate], int]:
    """The account's templates whose name holds `name`, those that are called so first, then the newest."""
    where: list[Any] = []
    if name:
        where.append(PromptTemplate.name.contains(name, autoescape=True))
    numbers = [number for ident in labels if (number := await _label_number(tx, owner, ident)) is not None]
    if labels:
        where.append(or_(*(_has_label(number) for number in numbers)) if numbers else PromptTemplate.id < 0)
    exact = case((PromptTemplate.name == name, 0), else_=1)
    rows = await tx.find(
        PromptTemplate,
        *where,
        owner=owner,
        order_by=(exact, PromptTemplate.id.desc()),
        limit=limit,
        offset=offset,
    )
    return rows, await tx.count(PromptTemplate, *where, owner=owner)


def _has_label(number: int) -> Any:
    """The column is JSON kept as text, `[1,900002]`: a number stands between brackets and commas."""
    column = type_coerce(PromptTemplate.labels, Text)
    ways = (f"[{number}]", f"[{number},%", f"%,{number},%", f"%,{number}]")
    return or_(*(column.like(way) for way in ways))


def preset_page(name: str, labels: Sequence[Id], offset: int, limit: int) -> tuple[list[Preset], int]:
    """The platform's templates, chosen in the same way."""
    wanted = {row.id for ident in labels if (row := presets.label(ident)) is not None}
    rows = [
        one
        for one in presets.templates()
        if name in one.name and (not labels or not wanted.isdisjoint(one.labels))
    ]
    rows.sort(key=lambda one: one.name != name)
    return rows[offset : offset + limit], len(rows)


async def label(tx: Tx, owner: int, ident: Id) -> Label:
    """A label of the platform or of the account, by either id."""
    preset = presets.label(ident)
    return preset if preset is not None else await tx.one(PromptLabel, ident, owner=owner)


async def _label_number(tx: Tx, owner: int, ident: Id) -> int | None:
    preset = presets.label(ident)
    if preset is not None:
        return preset.id
    number = as_number(ident)
    which = PromptLabel.id == number if number is not None else PromptLabel.public_id == ident
    row = await tx.maybe(PromptLabel, which, owner=owner)
    return row.id if row else None


async def labels_of(tx: Tx, owner: int) -> list[Label]:
    """Every label: those of the platform, then the account's in the order they were made."""
    return [*presets.labels(), *await tx.find(PromptLabel, owner=owner)]


async def labels_named(tx: Tx, owner: int, names: Sequence[str]) -> list[Label]:
    """The labels with these names; those that are new are made."""
    known = {row.name: row for row in await labels_of(tx, owner)}
    for name in names:
        if name not in known:
            known[name] = await tx.add(PromptLabel(owner_id=owner, name=name))
    return [known[name] for name in dict.fromkeys(names)]


async def delete_label(tx: Tx, owner: int, ident: Id) -> None:
    """Delete a label of the account; templates lose it."""
    if presets.label(ident) is not None:
        raise Fault(errors.WRONG_STATE, f"prompt label {ident} ships with the platform and cannot be deleted")
    row = await tx.one(PromptLabel, ident, owner=owner)
    for template in await tx.find(PromptTemplate, _has_label(row.id), owner=owner):
        template.labels = [number for number in template.labels if number != row.id]
    await tx.delete(row)


async def optimise(tx: Tx, owner: int, app: int, spec: OptimisePrompt) -> PromptOptimisation:
    """Have a model improve a prompt, as a job."""
    kinds = [operation["opType"] for operation in spec["operations"]]
    if len(set(kinds)) != len(kinds):
        raise Fault(errors.CONSOLE_PARAMETER, "param[operations] invalid: an opType is given twice")
    row = await tx.add(
        PromptOptimisation(
            owner_id=owner,
            public_id=f"task-{random_word(16)}",
            content=spec["content"],
            operations=[dict(operation) for operation in spec["operations"]],
            app_id=spec.get("appID", app),
            service_name=spec.get("serviceName", ""),
        )
    )
    queued = await jobs.enqueue(tx, "prompts.optimise", owner=owner, args={"task_id": row.id})
    row.job_id = queued.id
    return row


async def optimisation(tx: Tx, owner: int | None, ident: Id) -> PromptOptimisation:
    return await tx.one(PromptOptimisation, ident, owner=owner)
