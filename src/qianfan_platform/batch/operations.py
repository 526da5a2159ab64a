"""What can be done with batch inference: create, look, list, stop."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from qianfan.contract import errors
from qianfan.contract.batch import CreateBatchInference
from qianfan.contract.bodies import Id
from qianfan.contract.enums import BatchInferenceStatus
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import EvaluatedVersion
from qianfan.contract.lifecycle import BATCH_INFERENCE
from qianfan_platform import jobs
from qianfan_platform.datasets.operations import LOCAL_PREFIX, local_file
from qianfan_platform.evaluation import operations as evaluation
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .tables import BatchAnswer, BatchTask


async def create(platform: Platform, tx: Tx, owner: int, spec: CreateBatchInference) -> BatchTask:
    """A task that lets a model answer every line of a file; its work is queued. Raises Fault."""
    if "afsConfig" in spec:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[afsConfig] invalid: this platform reaches no AFS",
            "send inputBosUri and outputBosUri",
        )
    if "inputBosUri" not in spec:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[inputBosUri] invalid: it is missing",
            f"upload a file to /v2/files and send the path it answers ({LOCAL_PREFIX}…)",
        )
    source, target = spec["inputBosUri"], spec.get("outputBosUri") or LOCAL_PREFIX
    given = local_file(source)
    if given is not None:
        await platform.files.info(given, owner=owner)
    else:
        platform.objects.at(source, owner)
    if not stays_here(target):
        platform.objects.at(target, owner)
    item: EvaluatedVersion = {"params": spec.get("inferenceParams", {})}
    if spec.get("endpoint"):
        item["endpoint"] = spec["endpoint"]
    if spec.get("modelId"):
        item["modelVersionId"] = spec["modelId"]
    if len(item) != 2:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[modelId] invalid: either modelId or endpoint is needed, and not both",
            "modelId is a model version (amv-…), endpoint a service or a preset by its address or name",
        )
    unit = await evaluation.unit_of(platform, tx, owner, item)
    row = await tx.add(
        BatchTask(
            owner_id=owner,
            name=spec["name"],
            description=spec.get("description", ""),
            version_id=unit.version_id,
            endpoint=unit.endpoint,
            model_name=unit.model_name,
            params=unit.params,
            input_path=source,
            output_path=target,
        )
    )
    slot = evaluation.SLOT  # evaluations and batches ask the same engines
    queued = await jobs.enqueue(tx, "batch.run", owner=owner, args={"task_id": row.id}, slot=slot)
    row.job_id = queued.id
    return row


def stays_here(target: str) -> bool:
    """Whether the platform itself keeps the output."""
    return target.rstrip("/") + "/" == LOCAL_PREFIX or local_file(target) is not None


async def get(tx: Tx, owner: int | None, ident: Id, *, lock: bool = False) -> BatchTask:
    return await tx.one(BatchTask, ident, owner=owner, noun="batch inference", lock=lock)


async def page(
    tx: Tx, owner: int, marker: str | None, size: int, oldest_first: bool, states: Sequence[str] = ()
) -> tuple[list[BatchTask], str | None]:
    """Tasks of the account, newest first, and the marker of the next page: its first item."""
    where: list[ColumnElement[bool]] = []
    if marker:
        first = await get(tx, owner, marker)
        where.append(BatchTask.id >= first.id if oldest_first else BatchTask.id <= first.id)
    if states:
        where.append(BatchTask.status.in_(states))
    order = BatchTask.id if oldest_first else BatchTask.id.desc()
    rows = await tx.find(BatchTask, *where, owner=owner, order_by=order, limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


async def done(tx: Tx, row: BatchTask) -> int:
    """How many lines have been dealt with."""
    if row.status == BatchInferenceStatus.Done:
        return row.total
    return await tx.count(BatchAnswer, BatchAnswer.task_id == row.id)


async def stop(tx: Tx, owner: int, ident: Id) -> None:
    """Stopping now, Stopped when the last answer has been let go; there is no output. Once more is no error."""
    row = await get(tx, owner, ident)
    if row.status in (BatchInferenceStatus.Stopping, BatchInferenceStatus.Stopped):
        return
    await tx.move(row, BATCH_INFERENCE, BatchInferenceStatus.Stopping)
    assert row.job_id is not None
    await jobs.cancel(tx, row.job_id)
