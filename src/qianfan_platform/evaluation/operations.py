"""What can be done with evaluations: create, look, stop, delete, export, and list what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, delete, not_, or_, select, type_coerce

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import (
    DataExportDestinationType,
    DataStorageType,
    DataTemplateType,
    EvaluationTaskStatus,
)
from qianfan.contract.errors import Fault
from qianfan.contract.evaluation import CreateEvaluation, EvaluatedVersion, ExportResults
from qianfan.contract.lifecycle import EVALUATION
from qianfan_platform import jobs
from qianfan_platform.datasets import buckets
from qianfan_platform.datasets.freeing import KEEPERS, free
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.inference.operations import Finder
from qianfan_platform.models import operations as models
from qianfan_platform.models import presets
from qianfan_platform.models.tables import Model, ModelVersion
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering
from qianfan_platform.store import Tx

from . import conf as settings
from .questions import checked_params, checked_prefix
from .tables import EvalAnswer, EvalExport, Evaluation, EvalUnit

PRESET_VERSION: Final = "1"
SLOT: Final = "evaluate"
_CONVERSATIONS: Final = (
    DataTemplateType.NonSortedConversation.value,
    DataTemplateType.SortedConversation.value,
    DataTemplateType.QuerySet.value,
)
TO_BUCKET: Final = DataExportDestinationType.PrivateBos.value
_RUNNING: Final = (EvaluationTaskStatus.Pending, EvaluationTaskStatus.Doing, EvaluationTaskStatus.Stopping)


def _storage(platform: Platform, owner: int, spec: CreateEvaluation) -> list[str] | None:
    """Where the dataset of answers is to lie: a bucket and a folder in it, None for the platform's own storage."""
    kind = spec.get("resultDatasetStorageType", DataStorageType.PublicBos.value)
    if kind not in (DataStorageType.PublicBos.value, DataStorageType.PrivateBos.value):
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[resultDatasetStorageType] invalid: {kind[:60]!r}",
            "use sysBos or usrBos",
        )
    if kind == DataStorageType.PublicBos.value:
        return None
    place = {
        "storageId": spec.get("resultDatasetStorageId"),
        "rawStoragePath": spec.get("resultDatasetRawPath"),
    }
    return list(buckets.chosen(platform.objects, owner, place))


async def create(platform: Platform, tx: Tx, owner: int, spec: CreateEvaluation) -> Evaluation:
    """An evaluation of one to five versions on a dataset; its work is queued.

    With `id`, an evaluation that has not begun is changed instead. Raises Fault naming what is wrong."""
    storage = _storage(platform, owner, spec)
    dataset = await _dataset(tx, owner, spec["datasetId"])
    conf = settings.checked(spec["evalStandardConf"], dataset)
    units = [await unit_of(platform, tx, owner, item) for item in spec["versionEvalInfo"]]
    assert dataset.file_id is not None  # `_dataset` refuses an empty one
    values = {
        "name": spec["name"],
        "description": spec.get("description", ""),
        "dataset_id": dataset.id,
        "content_file": dataset.file_id,
        "conf": conf,
        "compute": spec.get("computeResourceConf", {}),
        "storage": storage,
    }
    if "id" in spec:
        row = await get(tx, owner, spec["id"], lock=True)
        if row.status != EvaluationTaskStatus.Pending:
            raise Fault(
                errors.WRONG_STATE,
                f"evaluation {row.id} is {row.status}, it can not be changed",
                "create another",
            )
        for name, value in values.items():
            setattr(row, name, value)
        await tx.execute(delete(EvalUnit).where(EvalUnit.evaluation_id == row.id))
    else:
        row = await tx.add(Evaluation(owner_id=owner, **values))
    for ordinal, unit in enumerate(units):
        unit.evaluation_id, unit.ordinal = row.id, ordinal
        await tx.add(unit)
    if row.job_id is None:
        queued = await jobs.enqueue(
            tx, "evaluation.run", owner=owner, args={"evaluation_id": row.id}, slot=SLOT
        )
        row.job_id = queued.id
    return row


async def _dataset(tx: Tx, owner: int, ident: Id) -> Dataset:
    """The dataset, if models can be asked its questions."""
    dataset = await tx.one(Dataset, ident, owner=owner, missing=errors.BAD_DATASET, noun="dataset")
    what = f"dataset {dataset.id} ({dataset.name})"
    if dataset.template_type not in _CONVERSATIONS:
        raise Fault(
            errors.BAD_DATASET,
            f"{what} has template {dataset.template_type}, which holds no questions",
            "evaluate on conversations (2000, 2001) or a query set (40200)",
        )
    if dataset.file_id is None or not dataset.entity_count:
        raise Fault(errors.BAD_DATASET, f"{what} has no records", "import some first")
    return dataset


async def unit_of(platform: Platform, tx: Tx, owner: int, item: EvaluatedVersion) -> EvalUnit:
    """Who is to answer, and how; not kept yet. Raises Fault for who cannot be asked."""
    prefix = item.get("prompt", {})
    content = prefix.get("content", "") if prefix.get("enable", True) else ""
    unit = EvalUnit(
        params=checked_params(item.get("params", {})), prefix=checked_prefix(content) if content else ""
    )
    if "endpoint" in item:
        unit.endpoint = unit.model_name = item["endpoint"]
        if serving.preset(platform, item["endpoint"], "chat") is None:
            await serving.deployed(platform, tx, owner, item["endpoint"], "chat")
        return unit
    if "modelVersionId" not in item:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            "param[versionEvalInfo.modelVersionId] invalid: it is missing",
            "send the version to evaluate, or endpoint",
        )
    preset = presets.find(platform.catalogue, item["modelVersionId"])
    if preset is not None and preset.first.kind in ("chat", "completions"):
        unit.endpoint = unit.model_name = preset.name
        unit.version_id, unit.model_id, unit.model_version = preset.version_id, preset.id, PRESET_VERSION
        return unit
    version = await models.version(tx, owner, item["modelVersionId"])
    model = await models.get(tx, owner, version.model_id)
    if "modelId" in item and (await models.get(tx, owner, item["modelId"])).id != model.id:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"model version {version.id} belongs to model {model.id}, not to {item['modelId']}",
            "send ids that belong together",
        )
    if not models.is_ready(version):
        raise Fault(
            errors.WRONG_STATE,
            f"model version {version.id} is {version.status} and cannot be evaluated",
            version.reason or "wait until it is Ready",
        )
    unit.version_id, unit.model_id = version.id, model.id
    unit.model_name, unit.model_version = model.name, str(version.version)
    return unit


async def answering(platform: Platform, owner: int, endpoint: str, version_id: int | None) -> Answering:
    """Who answers under an endpoint, or else for a version, which needs no service. Raises Fault."""
    if endpoint or version_id is None:
        return await Finder(platform).find(owner, endpoint, "chat")
    async with platform.store.reading() as tx:
        version = await models.version(tx, owner, version_id)
        return await serving.of_version(platform, version)


async def get(tx: Tx, owner: int | None, ident: Id, *, lock: bool = False) -> Evaluation:
    return await tx.one(Evaluation, ident, owner=owner, noun="evaluation", lock=lock)


async def units(tx: Tx, row: Evaluation) -> list[EvalUnit]:
    """In the order in which they were sent."""
    return await tx.find(EvalUnit, EvalUnit.evaluation_id == row.id, order_by=EvalUnit.ordinal)


async def version_of(tx: Tx, unit: EvalUnit) -> tuple[ModelVersion, Model] | None:
    """The version of a unit and its model; None for a service, and when it was deleted."""
    if unit.version_id is None or unit.endpoint:
        return None
    version = await tx.maybe(ModelVersion, ModelVersion.id == unit.version_id)
    model = version and await tx.maybe(Model, Model.id == version.model_id)
    return (version, model) if version and model else None


async def answers(platform: Platform, unit: EvalUnit) -> list[EvalAnswer]:
    """What a unit has answered so far, in the order of the dataset."""
    async with platform.store.reading() as tx:
        return await tx.find(
            EvalAnswer, EvalAnswer.unit_id == unit.id, order_by=(EvalAnswer.line, EvalAnswer.turn)
        )


async def _keeps(tx: Tx, file_id: str) -> bool:
    """Whether an evaluation was made on this content, so that its questions can be shown."""
    return await tx.count(Evaluation, Evaluation.content_file == file_id) > 0


KEEPERS.append(_keeps)


async def answered(tx: Tx, row: Evaluation) -> int:
    """How many questions have been dealt with, of `row.total`."""
    return await tx.count(EvalAnswer, EvalAnswer.unit_id.in_(unit_ids(row)))


def unit_ids(row: Evaluation) -> Any:
    """The numbers of its units, for a condition."""
    return select(EvalUnit.id).where(EvalUnit.evaluation_id == row.id)


async def dataset_of(tx: Tx, row: Evaluation) -> Dataset | None:
    """The dataset that is asked; None when it was deleted."""
    return await tx.maybe(Dataset, Dataset.id == row.dataset_id, owner=row.owner_id)


async def result_of(tx: Tx, row: Evaluation) -> Dataset | None:
    """The dataset of answers, once there is one and as long as it is not deleted."""
    if row.result_dataset_id is None:
        return None
    return await tx.maybe(Dataset, Dataset.id == row.result_dataset_id, owner=row.owner_id)


async def judged(tx: Tx, row: Evaluation) -> int:
    """How many answers the judge has dealt with."""
    return await tx.count(
        EvalAnswer, EvalAnswer.unit_id.in_(unit_ids(row)), EvalAnswer.judge_score.is_not(None)
    )


async def waiting(tx: Tx, row: Evaluation) -> str:
    """Why an evaluation has not begun, "" when it has."""
    if row.status != EvaluationTaskStatus.Pending or row.job_id is None:
        return ""
    found = await jobs.waiting(tx, row.job_id)
    return found["why"] if found else ""


async def cancel(tx: Tx, owner: int, ident: Id) -> None:
    """Stop an evaluation: Stopping now, Stopped when its last answer has been let go. Once more is no error."""
    row = await get(tx, owner, ident)
    if row.status in (EvaluationTaskStatus.Stopping, EvaluationTaskStatus.Stopped):
        return
    await tx.move(row, EVALUATION, EvaluationTaskStatus.Stopping)
    job = await tx.maybe(jobs.Job, jobs.Job.id == row.job_id)
    if job is None or job.state not in (jobs.JobState.Waiting, jobs.JobState.Running):
        await stopped(tx, row)  # answers are there, and people were scoring them
    else:
        await jobs.cancel(tx, job)


async def stopped(tx: Tx, row: Evaluation) -> None:
    """The work of an evaluation has ended on request."""
    await tx.move(row, EVALUATION, EvaluationTaskStatus.Stopped)
    for unit in await units(tx, row):
        if unit.status in (EvaluationTaskStatus.Pending, EvaluationTaskStatus.Doing):
            unit.status = EvaluationTaskStatus.Stopped.value


async def remove(tx: Tx, owner: int, idents: Sequence[Id]) -> None:
    """Delete evaluations with their answers; their result datasets stay. None goes when one is running."""
    rows = [await get(tx, owner, ident) for ident in dict.fromkeys(idents)]
    for row in rows:
        if row.status in _RUNNING:
            raise Fault(errors.WRONG_STATE, f"evaluation {row.id} is {row.status}", "stop it first")
    for row in rows:
        await tx.execute(delete(EvalAnswer).where(EvalAnswer.unit_id.in_(unit_ids(row))))
        await tx.execute(delete(EvalExport).where(EvalExport.evaluation_id == row.id))
        await tx.execute(delete(EvalUnit).where(EvalUnit.evaluation_id == row.id))
        await free(tx, owner, row.content_file)
        await tx.delete(row)


async def page(
    tx: Tx, owner: int, marker: str | None, size: int, kind: str = ""
) -> tuple[list[Evaluation], str | None]:
    """Evaluations of the account, newest first, and the marker of the next page.

    kind: manual, those that people score; auto, those that they do not; "" for all."""
    where: list[ColumnElement[bool]] = []
    if kind:
        by_people = or_(*(_has_mode(joined) for joined in settings.joined_modes() if "manual" in joined))
        where.append(by_people if kind == "manual" else not_(by_people))
    if marker:
        where.append(Evaluation.id <= (await get(tx, owner, marker)).id)
    rows = await tx.find(Evaluation, *where, owner=owner, order_by=Evaluation.id.desc(), limit=size + 1)
    return rows[:size], rows[size].public_id if len(rows) > size else None


def _has_mode(joined: str) -> ColumnElement[bool]:
    """The mode is the first member of a configuration, which is kept as a text."""
    return type_coerce(Evaluation.conf, Text).startswith(f'{{"evalMode":"{joined}"')


async def export(platform: Platform, tx: Tx, owner: int, spec: ExportResults) -> EvalExport:
    """Write the results out; which of both files a client gets is decided when it asks for them."""
    row = await get(tx, owner, spec["id"])
    if row.result_dataset_id is None:
        raise Fault(
            errors.WRONG_STATE, f"evaluation {row.id} is {row.status} and has no results", "wait for its end"
        )
    bucket = ""
    if spec.get("exportType", "local") != "local":
        bucket = buckets.export_bucket(platform.objects, owner, TO_BUCKET, spec.get("volumeId"), "volumeId")
    only: list[int] | None = None
    if spec.get("exportOpt", "total") == "part":
        given = spec.get("resultIds", [])
        found = await tx.execute(
            select(EvalAnswer.id).where(
                EvalAnswer.unit_id.in_(unit_ids(row)), EvalAnswer.id.in_(_numbers(given))
            )
        )
        only = sorted(found.scalars())
        if len(only) != len(set(map(str, given))) or not only:
            raise Fault(
                errors.CONSOLE_PARAMETER,
                f"param[resultIds] invalid: {len(only)} of {len(given)} are results of evaluation {row.id}",
                "eval/result/list tells their ids",
            )
    content = spec.get("exportContent") or list(settings.EXPORTED)
    unknown = sorted(set(content) - set(settings.EXPORTED))
    if unknown:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"param[exportContent] invalid: {unknown[0][:60]!r}",
            f"use some of {', '.join(settings.EXPORTED)}",
        )
    made = await tx.add(
        EvalExport(owner_id=owner, evaluation_id=row.id, content=content, only=only, bucket=bucket)
    )
    queued = await jobs.enqueue(tx, "evaluation.export", owner=owner, args={"export_id": made.id})
    made.job_id = queued.id
    return made


def _numbers(idents: Sequence[Id]) -> list[int]:
    return [int(ident) for ident in idents if str(ident).isdigit() and len(str(ident)) < 19]


async def export_of(tx: Tx, owner: int | None, ident: Id) -> EvalExport:
    return await tx.one(EvalExport, ident, owner=owner, noun="evaluation export")
