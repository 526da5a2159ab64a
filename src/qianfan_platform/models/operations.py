"""What can be done with the registry: publish a run, import, export, list, look, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qianfan.contract import errors
from qianfan.contract.bodies import ExportModel, Id, PublishModel
from qianfan.contract.enums import ModelSourceType, ModelState, TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform import jobs
from qianfan_platform.catalogue.catalogue import Catalogue
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx
from qianfan_platform.training import deletion
from qianfan_platform.training import operations as training
from qianfan_platform.training.tables import TrainRun

from . import gates
from .tables import Model, ModelExport, ModelVersion

ENDED_BADLY = (TrainStatus.Fail.value, TrainStatus.Stop.value)


async def publish(catalogue: Catalogue, tx: Tx, owner: int, spec: PublishModel) -> tuple[Model, ModelVersion]:
    """A version of a new or an existing model, made of a run. It is Creating until the run is done and
    its weights are packed; a run that failed or was stopped is refused, and one that a gate holds back."""
    meta = spec["versionMeta"]
    run = await training.run_of(tx, owner, meta.get("taskId"), meta["iterationId"])
    _must_give_a_result(run)
    if spec["isNewModel"]:
        name = spec.get("modelName")
        if not name:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                "param[modelName] invalid: a new model needs a name",
                "send modelName",
            )
        model = await create(tx, owner, name, spec.get("tags", []))
    else:
        if "modelId" not in spec:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                "param[modelId] invalid: it is missing",
                "send the id of the model to extend",
            )
        model = await get(tx, owner, spec["modelId"])
        model.tags = list(dict.fromkeys([*model.tags, *spec.get("tags", [])]))
    gate = spec.get("gate")
    return model, await add_trained(catalogue, tx, model, run, meta.get("step"), gate=gate)


@deletion.held_by
async def made_of(tx: Tx, run: TrainRun) -> str | None:
    """The version that a run may not be deleted for, in words."""
    row = await tx.maybe(ModelVersion, ModelVersion.run_id == run.id)
    return None if row is None else f"model version {row.id} ({row.public_id})"


def _must_give_a_result(run: TrainRun) -> None:
    if run.status in ENDED_BADLY:
        raise Fault(
            errors.RUN_STATE,
            f"training run {run.id} ended as {run.status} and has no result to publish",
            f"see why with trainer.get_log(); {run.reason}" if run.reason else "train again",
        )


async def create(
    tx: Tx,
    owner: int,
    name: str,
    tags: Sequence[str] = (),
    *,
    model_type: int = 0,
    description: str = "",
) -> Model:
    """A model without versions. Names may repeat: published clients make them of ids, people do not."""
    return await tx.add(
        Model(owner_id=owner, name=name, tags=list(tags), model_type=model_type, description=description)
    )


async def add_trained(
    catalogue: Catalogue,
    tx: Tx,
    model: Model,
    run: TrainRun,
    step: int | None = None,
    description: str = "",
    *,
    gate: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """The next version of `model`, made of a run; the job that packs and proves it is enqueued.

    gate: what must have been shown of the run, besides what the model's own gate asks."""
    _must_give_a_result(run)
    await gates.require(catalogue, tx, model, gates.Weights(run.id, step or None), "publish", gate)
    if not model.train_type:
        model.train_type, model.base_train_type = run.train_type, run.base_train_type
    version = await tx.add(
        ModelVersion(
            owner_id=model.owner_id,
            model_id=model.id,
            version=1 + await _newest_number(tx, model.id),
            source_type=ModelSourceType.Train.value,
            run_id=run.id,
            task_id=run.task_id,
            step=step or None,
            entry=run.entry,
            method=run.peft_type,
            train_type=run.train_type,
            description=description,
        )
    )
    queued = await jobs.enqueue(tx, "models.publish", owner=model.owner_id, args={"version_id": version.id})
    version.job_id = queued.id
    return version


async def add_imported(
    tx: Tx, model: Model, origin: dict[str, Any], *, description: str = ""
) -> ModelVersion:
    """The next version of `model`, made of weights from elsewhere; the job that checks them is enqueued.

    origin: {"files": [{"name", "id"}]} uploaded files, or {"source": text, "sha256"?: hex}.
    Refused where a gate stands before publishing: weights that are not here yet can hold no verdict."""
    await gates.refuse_imports(tx, model)
    version = await tx.add(
        ModelVersion(
            owner_id=model.owner_id,
            model_id=model.id,
            version=1 + await _newest_number(tx, model.id),
            source_type=ModelSourceType.Import.value,
            run_id=0,
            task_id=0,
            origin=origin,
            entry="",
            method="",
            train_type="",
            description=description,
        )
    )
    queued = await jobs.enqueue(tx, "models.import", owner=model.owner_id, args={"version_id": version.id})
    version.job_id = queued.id
    return version


async def _newest_number(tx: Tx, model_id: int) -> int:
    newest = await tx.find(
        ModelVersion, ModelVersion.model_id == model_id, order_by=ModelVersion.version.desc(), limit=1
    )
    return newest[0].version if newest else 0


async def get(tx: Tx, owner: int, ident: Id) -> Model:
    return await tx.one(Model, ident, owner=owner, noun="model")


async def named(tx: Tx, owner: int, name: str) -> Model:
    """The newest of the account's models with this name. Raises Fault(NOT_FOUND)."""
    found = await tx.find(Model, Model.name == name, owner=owner, order_by=Model.id.desc(), limit=1)
    if not found:
        raise Fault(errors.NOT_FOUND, f"no model is called {name[:100]!r}")
    return found[0]


async def version(tx: Tx, owner: int | None, ident: Id) -> ModelVersion:
    return await tx.one(ModelVersion, ident, owner=owner, noun="model version")


async def versions(tx: Tx, model: Model) -> list[ModelVersion]:
    """Newest first: published clients take the first."""
    return await tx.find(
        ModelVersion, ModelVersion.model_id == model.id, order_by=ModelVersion.version.desc()
    )


async def page(
    tx: Tx,
    owner: int,
    number: int,
    size: int,
    *,
    name: str | None = None,
    types: Sequence[int] = (),
    by: str | None = None,
    order: str | None = None,
) -> tuple[list[Model], int]:
    """One page of the account's models, newest first unless asked, and how many there are in all.

    name: a part of it, in any case. types: model types, () for all. by: create_time, modify_time, name."""
    where: list[Any] = [Model.name.icontains(name, autoescape=True)] if name else []
    if types:
        where.append(Model.model_type.in_(types))
    column: Any = {"name": Model.name, "modify_time": Model.modified_at}.get(by or "", Model.created_at)
    total = await tx.count(Model, *where, owner=owner)
    ordered = (column.asc(), Model.id.asc()) if order == "asc" else (column.desc(), Model.id.desc())
    rows = await tx.find(Model, *where, owner=owner, order_by=ordered, limit=size, offset=(number - 1) * size)
    return rows, total


async def following(
    tx: Tx, owner: int, marker: Id | None, size: int, oldest_first: bool
) -> tuple[list[Model], Model | None]:
    """A page of V2, newest first, and the model that the next page begins with."""
    where = []
    if marker is not None:
        first = await get(tx, owner, marker)
        where.append(Model.id >= first.id if oldest_first else Model.id <= first.id)
    order = Model.id if oldest_first else Model.id.desc()
    rows = await tx.find(Model, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size] if len(rows) > size else None


async def ready(tx: Tx, owner: int) -> list[tuple[Model, list[ModelVersion]]]:
    """Models with at least one version that is Ready, newest first, and those versions."""
    rows = await tx.find(
        ModelVersion,
        ModelVersion.status == ModelState.Ready.value,
        owner=owner,
        order_by=(ModelVersion.model_id.desc(), ModelVersion.version.desc()),
    )
    found: dict[int, list[ModelVersion]] = {}
    for row in rows:
        found.setdefault(row.model_id, []).append(row)
    return [(await get(tx, owner, ident), own) for ident, own in found.items()]


async def delete_models(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete models with all their versions. None goes when one of them still serves."""
    models = {model.id: model for model in [await get(tx, owner, ident) for ident in idents]}
    for model in models.values():
        for row in await versions(tx, model):
            await _delete_version(tx, row)
        await tx.delete(model)


async def delete_versions(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete versions; their model stays. None goes when one of them still serves."""
    rows = {row.id: row for row in [await version(tx, owner, ident) for ident in idents]}
    for row in rows.values():
        await _delete_version(tx, row)


async def _delete_version(tx: Tx, row: ModelVersion) -> None:
    if row.serving:
        raise Fault(
            errors.WRONG_STATE,
            f"model version {row.id} is deployed as {_services(row.serving)}",
            "take the service offline first",
        )
    files: list[str | None] = [row.package_file, row.weights_file, *uploaded(row)]
    for export in await tx.find(ModelExport, ModelExport.version_id == row.id):
        files.append(export.folder)
        if export.job_id is not None:
            await jobs.cancel(tx, export.job_id)
        await tx.delete(export)
    if row.job_id is not None:
        await jobs.cancel(tx, row.job_id)
    await tx.delete(row)
    await free(tx, row.owner_id, files)


def uploaded(row: ModelVersion) -> list[str]:
    """Blobs that were uploaded for an import that is not done."""
    return [one["id"] for one in (row.origin or {}).get("files", ())]


def _services(count: int) -> str:
    return "a service" if count == 1 else f"{count} services"


async def free(tx: Tx, owner: int, files: Sequence[str | None]) -> None:
    """Delete blobs once this transaction is committed, by a job, so that a crash leaves none behind."""
    idents = [ident for ident in files if ident]
    if idents:
        await jobs.enqueue(tx, "models.free", owner=owner, args={"files": idents})


async def start_export(platform: Platform, tx: Tx, owner: int, ident: Id, spec: ExportModel) -> ModelExport:
    """Write a version out in a format of others, as a job. Refused unless the version is Ready."""
    row = await version(tx, owner, ident)
    if not is_ready(row):
        raise Fault(
            errors.WRONG_STATE,
            f"model version {row.id} is {row.status} and cannot be exported",
            row.reason or "wait until it is Ready",
        )
    export = await tx.add(
        ModelExport(
            owner_id=owner,
            version_id=row.id,
            format=spec.get("format", "safetensors"),
            merged=spec.get("merged", True),
            dtype=_export_dtype(platform, row, spec),
        )
    )
    await _replace(tx, export)
    queued = await jobs.enqueue(tx, "models.export", owner=owner, args={"export_id": export.id})
    export.job_id = queued.id
    return export


def _export_dtype(platform: Platform, row: ModelVersion, spec: ExportModel) -> str:
    """Of the matrices in a GGUF file: as asked, else 16 bits, or as an import has them ("")."""
    if spec.get("format", "safetensors") == "safetensors":
        return ""
    entry = platform.catalogue.entries.get(row.entry)
    usual = "" if not row.run_id else "f32" if entry is not None and entry.dtype == "f32" else "f16"
    return spec.get("dtype", usual)


async def _replace(tx: Tx, new: ModelExport) -> None:
    """Earlier exports of the same kind that have ended go: their files would only lie there."""
    same = (
        ModelExport.version_id == new.version_id,
        ModelExport.format == new.format,
        ModelExport.merged == new.merged,
        ModelExport.dtype == new.dtype,
        ModelExport.id != new.id,
        ModelExport.finished_at.is_not(None),
    )
    for row in await tx.find(ModelExport, *same):
        await free(tx, row.owner_id, [row.folder])
        await tx.delete(row)


async def export(tx: Tx, owner: int | None, ident: Id) -> ModelExport:
    return await tx.one(ModelExport, ident, owner=owner, noun="export")


async def newest_export(tx: Tx, owner: int, ident: Id) -> ModelExport:
    """The newest export of a version. Raises Fault(NOT_FOUND)."""
    row = await version(tx, owner, ident)
    found = await tx.find(
        ModelExport, ModelExport.version_id == row.id, order_by=ModelExport.id.desc(), limit=1
    )
    if not found:
        raise Fault(
            errors.NOT_FOUND, f"model version {row.id} was never exported", "start with CreateModelExportTask"
        )
    return found[0]


async def mark_serving(tx: Tx, ident: int, count: int) -> None:
    """How many services use a version; the room of services keeps it true."""
    row = await version(tx, None, ident)
    row.serving = count


def is_ready(row: ModelVersion) -> bool:
    return row.status == ModelState.Ready
