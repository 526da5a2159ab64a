"""What can be done with the registry: publish a run, list, look, delete."""

from __future__ import annotations

from collections.abc import Sequence

from qianfan.contract import errors
from qianfan.contract.bodies import Id, PublishModel
from qianfan.contract.enums import ModelState, TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform import jobs
from qianfan_platform.store import Tx
from qianfan_platform.training import operations as training
from qianfan_platform.training.tables import TrainRun, TrainTask

from .tables import Model, ModelVersion


async def publish(tx: Tx, owner: int, spec: PublishModel) -> tuple[Model, ModelVersion]:
    """A version of a new or an existing model, made of a run. It is Creating until the run is done and
    its weights are packed; a run that failed or was stopped is refused."""
    meta = spec["versionMeta"]
    run = await training.run_of(tx, owner, meta.get("taskId"), meta["iterationId"])
    if run.status in (TrainStatus.Fail.value, TrainStatus.Stop.value):
        raise Fault(
            errors.RUN_STATE,
            f"training run {run.id} ended as {run.status} and has no result to publish",
            f"see why with trainer.get_log(); {run.reason}" if run.reason else "train again",
        )
    if spec["isNewModel"]:
        name = spec.get("modelName")
        if not name:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                "param[modelName] invalid: a new model needs a name",
                "send modelName",
            )
        model = await tx.add(
            Model(
                owner_id=owner,
                name=name,
                tags=list(spec.get("tags", [])),
                train_type=run.train_type,
                base_train_type=run.base_train_type,
            )
        )
    else:
        if "modelId" not in spec:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                "param[modelId] invalid: it is missing",
                "send the id of the model to extend",
            )
        model = await get(tx, owner, spec["modelId"])
    version = await tx.add(
        ModelVersion(
            owner_id=owner,
            model_id=model.id,
            version=1 + await _newest_number(tx, model.id),
            run_id=run.id,
            task_id=run.task_id,
            entry=run.entry,
            method=run.peft_type,
            train_type=run.train_type,
        )
    )
    queued = await jobs.enqueue(tx, "models.publish", owner=owner, args={"version_id": version.id})
    version.job_id = queued.id
    return model, version


async def _newest_number(tx: Tx, model_id: int) -> int:
    newest = await tx.find(
        ModelVersion, ModelVersion.model_id == model_id, order_by=ModelVersion.version.desc(), limit=1
    )
    return newest[0].version if newest else 0


async def get(tx: Tx, owner: int, ident: Id) -> Model:
    return await tx.one(Model, ident, owner=owner, noun="model")


async def version(tx: Tx, owner: int | None, ident: Id) -> ModelVersion:
    return await tx.one(ModelVersion, ident, owner=owner, noun="model version")


async def versions(tx: Tx, model: Model) -> list[ModelVersion]:
    """Newest first: published clients take the first."""
    return await tx.find(
        ModelVersion, ModelVersion.model_id == model.id, order_by=ModelVersion.version.desc()
    )


async def lineage(tx: Tx, row: ModelVersion) -> tuple[TrainRun, TrainTask]:
    """The run a version was made of, and its container."""
    look = await training.look(tx, row.owner_id, row.run_id)
    return look.run, look.task


async def page(
    tx: Tx, owner: int, number: int, size: int, name: str | None, by: str | None, order: str | None
) -> tuple[list[Model], int]:
    """One page of the account's models, newest first unless asked, and how many there are in all."""
    where = [Model.name.contains(name, autoescape=True)] if name else []
    column = {"name": Model.name, "modify_time": Model.modified_at}.get(by or "", Model.created_at)
    total = await tx.count(Model, *where, owner=owner)
    ordered = column.asc() if order == "asc" else column.desc()
    rows = await tx.find(Model, *where, owner=owner, order_by=ordered, limit=size, offset=(number - 1) * size)
    return rows, total


async def delete_models(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete models with all their versions. None goes when one of them still serves."""
    for ident in idents:
        model = await get(tx, owner, ident)
        for row in await versions(tx, model):
            await _delete_version(tx, row)
        await tx.delete(model)


async def delete_versions(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    for ident in idents:
        await _delete_version(tx, await version(tx, owner, ident))


async def _delete_version(tx: Tx, row: ModelVersion) -> None:
    if row.serving:
        raise Fault(
            errors.WRONG_STATE,
            f"model version {row.id} is deployed as a service",
            "take the service offline first",
        )
    await tx.delete(row)


async def mark_serving(tx: Tx, ident: int, count: int) -> None:
    """How many services use a version; the room of services keeps it true."""
    row = await version(tx, None, ident)
    row.serving = count


def is_ready(row: ModelVersion) -> bool:
    return row.status == ModelState.Ready
