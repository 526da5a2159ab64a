"""Durable work of publishing: wait for the run, pack its weights for the engine, prove that both agree."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import orjson

from qianfan.contract.enums import ModelState, TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import MODEL_VERSION
from qianfan_platform.engines.llamacpp import pack
from qianfan_platform.jobs import Retry, Step, job
from qianfan_platform.platform import Platform
from qianfan_platform.training import operations as training

from . import operations
from .parity import NotTheSame, prove

WAIT_FOR_RUN_S = 0.3


class NothingToPublish(Exception):
    """The run ended without a result."""


async def _failed(step: Step, error: BaseException, *, version_id: int) -> None:
    reason = error.text if isinstance(error, Fault) else str(error) or type(error).__name__
    async with step.transaction() as tx:
        row = await operations.version(tx, None, version_id)
        proof = error.proof if isinstance(error, NotTheSame) else row.proof
        await tx.move(row, MODEL_VERSION, ModelState.Fail, reason=reason, proof=proof)


@job("models.publish", on_failure=_failed)
async def publish(step: Step, *, version_id: int) -> None:
    """Pack and prove; a version is Ready only when the engine answers as the trainer did."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.version(tx, None, version_id)
        run = await training.finished(tx, row.run_id)
    if run.status == TrainStatus.Running:
        raise Retry(WAIT_FOR_RUN_S)
    if run.status != TrainStatus.Finish or run.result_file is None:
        raise NothingToPublish(f"training run {run.id} ended as {run.status}: {run.reason}")
    package = await step("pack", _pack, platform, version_id, run.result_file, row.entry, row.method)
    proof = await step("prove", _prove, platform, version_id, package, run.result_file, row.entry, row.method)
    async with step.transaction(last=True) as tx:
        row = await operations.version(tx, None, version_id)
        await tx.move(row, MODEL_VERSION, ModelState.Ready, package_file=package, proof=proof)


async def _pack(platform: Platform, version_id: int, result_file: str, entry: str, method: str) -> str:
    base = await platform.weights.served(platform.catalogue.entries[entry])
    trained = await platform.files.local(result_file)
    scratch = platform.settings.work / f"pack-{version_id}"
    await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if method == "LoRA":
        await pack.adapter(trained, base, scratch / "adapter.gguf")
    else:
        dtype = _whole_dtype(platform, entry)
        await pack.model(trained, scratch / "model.gguf", template_gguf=base, dtype=dtype)
    (scratch / "package.json").write_bytes(orjson.dumps({"method": method, "entry": entry}))
    kept = await platform.files.put_path(scratch, name="package", move=True)
    return kept.id


async def _prove(
    platform: Platform, version_id: int, package: str, result_file: str, entry: str, method: str
) -> dict[str, Any]:
    base = await platform.weights.served(platform.catalogue.entries[entry])
    return await prove(
        base=base,
        package=await platform.files.local(package),
        trained=await platform.files.local(result_file),
        method=method,
    )


def _whole_dtype(platform: Platform, entry: str) -> Any:
    """Weights that were tuned as a whole keep 16 bits: 8 would add noise of their own to the proof."""
    return "f32" if platform.catalogue.entries[entry].dtype == "f32" else "bf16"


def weights_in(package: Path) -> tuple[Path | None, Path | None]:
    """(adapter, whole model) in a package folder; one of them is None."""
    adapter, whole = package / "adapter.gguf", package / "model.gguf"
    return (adapter if adapter.exists() else None, whole if whole.exists() else None)
