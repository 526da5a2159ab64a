"""Training data in buckets: what a path names becomes a dataset that nobody changes any more."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from qianfan.contract import errors
from qianfan.contract.enums import DataImportStatus, DataReleaseStatus, DataSetType, DataSourceType, TrainMode
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import DATASET_RELEASE
from qianfan_platform.files.objects import Objects
from qianfan_platform.jobs import Step
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from . import operations, trainable, verdicts
from .tables import Dataset

LOOK_S: Final = 0.2  # between two looks at an import that runs


@dataclass(frozen=True)
class InBucket:
    """Training data by its path, `bos:/bucket/folder` or an object."""

    path: str


async def pin(tx: Tx, owner: int, data: InBucket, mode: TrainMode, objects: Objects) -> Dataset:
    """A dataset of what lies there, and its import, which begins at once. Raises Fault for a path not connected."""
    path = data.path
    if operations.local_file(path) is None:
        try:
            path = str(objects.at(path, owner))
        except Fault as refused:
            raise Fault(errors.BAD_DATASET, refused.message, refused.advice) from None
    template = trainable.TEMPLATES[mode]
    dataset = await operations.create(
        tx,
        owner,
        {
            "name": path,
            "dataType": DataSetType.TextOnly.value,
            "projectType": template.value // 100,
            "templateType": template.value,
        },
        objects,
    )
    source = DataSourceType.PrivateBos.value
    await operations.start_import(tx, owner, dataset.id, source, [path], objects, annotated=True)
    return dataset


async def ready(step: Step, platform: Platform, ident: int, mode: TrainMode) -> None:
    """Wait until a pinned dataset is there, then freeze it. For another dataset there is nothing to do.

    Raises Fault when its import failed, or a model cannot be tuned on what came."""
    while True:
        step.check()
        async with platform.store.reading() as tx:
            dataset = await tx.one(Dataset, ident, missing=errors.BAD_DATASET, noun="dataset")
        if dataset.release_status == DataReleaseStatus.Finished:
            return
        if dataset.import_status != DataImportStatus.Running:
            break
        await asyncio.sleep(LOOK_S)
    if dataset.import_status == DataImportStatus.Failed:
        why = verdicts.progress(dataset).get("reason") or "its import failed"
        raise Fault(
            errors.BAD_DATASET,
            f"{dataset.name} cannot be trained on: {why}",
            "mend the data, then train again",
        )
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, ident)
        for status in (DataReleaseStatus.Running, DataReleaseStatus.Finished):
            await tx.move(dataset, DATASET_RELEASE, status, field="release_status")
        await trainable.check(tx, dataset.owner_id, ident, mode)
