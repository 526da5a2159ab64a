"""A folder that a step of this room fills and keeps as one blob. No failure and no kill leaves a half of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from qianfan_platform.files.reference import derived_id
from qianfan_platform.jobs import Step

from .tables import ModelExport, ModelVersion


@asynccontextmanager
async def scratch(step: Step, what: str) -> AsyncIterator[Path]:
    """An empty folder for `what`, of this job alone; it is gone when the block ends, however that is."""
    folder: Path = step.platform.settings.work / f"model-{what}-{step.job_id}"
    await asyncio.to_thread(
        shutil.rmtree, folder, ignore_errors=True
    )  # a killed process may have left something
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def keep(step: Step, row: ModelVersion | ModelExport, folder: Path, name: str) -> str:
    """The folder as a blob of the platform; its id. `folder` itself goes.

    A run of this job that was killed may have kept one that no row names: it goes, too."""
    files = step.platform.files
    for attempt in range(1, step.attempt):
        await files.delete(_id(row, name, attempt))
    kept = await files.put_path(folder, name=name, move=True, ident=_id(row, name, step.attempt))
    return str(kept.id)


def _id(row: ModelVersion | ModelExport, name: str, attempt: int) -> str:
    return derived_id(f"{row.public_id} {name} {attempt}")


def linked(source: Path, place: Path) -> None:
    """The same bytes under another name, without a copy where the disk can. Neither may be written to."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
