"""Durable work on datasets besides import and export: freezing a release."""

from __future__ import annotations

from qianfan.contract.enums import DataReleaseStatus
from qianfan.contract.errors import WRONG_STATE, Fault
from qianfan.contract.lifecycle import DATASET_RELEASE
from qianfan_platform.jobs import Step, job
from qianfan_platform.jobs.definitions import reason_of
from qianfan_platform.platform import Platform

from . import buckets
from .contents import settled
from .tables import Dataset


async def _release_failed(step: Step, error: BaseException, *, dataset_id: int) -> None:
    async with step.transaction() as tx:
        dataset = await tx.one(Dataset, dataset_id)
        failed, why = DataReleaseStatus.Failed, reason_of(error)
        await tx.move(dataset, DATASET_RELEASE, failed, field="release_status", failure=why)


@job("datasets.release", on_failure=_release_failed)
async def release(step: Step, *, dataset_id: int) -> None:
    """Verify that the content is whole, then freeze it."""
    platform: Platform = step.platform
    dataset = await settled(platform, dataset_id)
    if dataset.file_id is None:
        raise Fault(WRONG_STATE, f"dataset {dataset_id} has no content", "import data first")
    await platform.files.local(dataset.file_id)  # checks the hash
    await buckets.write_release(platform, dataset)
    async with step.transaction(last=True) as tx:
        dataset = await tx.one(Dataset, dataset_id)
        await tx.move(dataset, DATASET_RELEASE, DataReleaseStatus.Finished, field="release_status")
