"""Durable work of publishing: wait for the run, pack its weights for the engine, prove that both agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qianfan.contract.enums import ModelState, TrainStatus
from qianfan.contract.errors import Fault
from qianfan.contract.lifecycle import MODEL_VERSION
from qianfan_platform.catalogue.noise import noise
from qianfan_platform.engines.llamacpp import pack
from qianfan_platform.jobs import Job, JobStep, Retry, Step, Unfit, job
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx
from qianfan_platform.training import operations as training
from qianfan_platform.training import places
from qianfan_platform.training.tables import TrainRun

from . import operations, packages
from .packages import weights_in
from .parity import NotTheSame, Packed, cases_in, prove
from .scratch import keep, scratch
from .tables import ModelVersion

__all__ = ["publish", "weights_in"]

WAIT_FOR_RUN_S: Final = 0.3
MAKES_FILES: Final = ("pack", "keep")  # steps whose result is the id of a blob


class NothingToPublish(Unfit):
    """The run ended without a result."""


async def failed(step: Step, error: BaseException, *, version_id: int) -> None:
    """A version that cannot be Ready says why, and leaves no files."""
    reason = error.text if isinstance(error, Fault) else str(error) or type(error).__name__
    async with step.transaction() as tx:
        row = await operations.version(tx, None, version_id)
        proof = error.proof if isinstance(error, NotTheSame) else row.proof
        await tx.move(row, MODEL_VERSION, ModelState.Fail, reason=reason, proof=proof)
        await _free_steps(tx, step.job_id, row.owner_id)
        await operations.free(tx, row.owner_id, operations.uploaded(row))


async def dropped(tx: Tx, job: Job, *, version_id: int) -> None:
    """The version was deleted while it was made: what was made of it goes, too."""
    await _free_steps(tx, job.id, job.owner_id)


async def _free_steps(tx: Tx, job_id: int, owner: int) -> None:
    made = await tx.find(JobStep, JobStep.job_id == job_id, JobStep.name.in_(MAKES_FILES))
    await operations.free(tx, owner, [row.result for row in made if isinstance(row.result, str)])


@job("models.publish", on_failure=failed, on_cancel=dropped)
async def publish(step: Step, *, version_id: int) -> None:
    """Pack and prove; a version is Ready only when the engine answers as the trainer did."""
    platform: Platform = step.platform
    async with platform.store.reading() as tx:
        row = await operations.version(tx, None, version_id)
        run = await training.finished(tx, row.run_id)
    if run.status == TrainStatus.Running:
        raise Retry(WAIT_FOR_RUN_S)
    result = result_of(run, row.step)
    package = await step("pack", _pack, step, row, result)
    proof = await step("prove", _prove, platform, row, package, result, run.dtype)
    async with step.transaction(last=True) as tx:
        row = await operations.version(tx, None, version_id)
        await tx.move(row, MODEL_VERSION, ModelState.Ready, package_file=package, proof=proof)


def result_of(run: TrainRun, step: int | None) -> str:
    """The blob of what a run left at its end, or at a checkpoint. Raises NothingToPublish."""
    result = places.result_of(run, step)
    if step is not None and result is None:
        there = places.steps_of(run)
        known = f"it kept {', '.join(map(str, there))}" if there else "it kept none for publishing"
        raise NothingToPublish(f"training run {run.id} has no checkpoint of step {step}; {known}")
    if run.status != TrainStatus.Finish or result is None:
        raise NothingToPublish(f"training run {run.id} ended as {run.status}: {run.reason}")
    return result


async def _pack(step: Step, row: ModelVersion, result: str) -> str:
    platform: Platform = step.platform
    base = await platform.weights.served(platform.catalogue.entries[row.entry])
    trained = await platform.files.local(result)
    kind = packages.kind_of_result(trained)
    async with scratch(step, "pack") as folder:
        if kind == "adapter":
            await pack.adapter(trained, base, folder / packages.ADAPTER)
        else:
            dtype = _whole_dtype(platform, row.entry)
            await pack.model(trained, folder / packages.WHOLE, template_gguf=base, dtype=dtype)
        packages.write_page(folder, kind=kind, method=row.method, entry=row.entry)
        return await keep(step, row, folder, "package")


async def _prove(
    platform: Platform, row: ModelVersion, package: str, result: str, dtype: str
) -> dict[str, Any]:
    entry = platform.catalogue.entries[row.entry]
    adapter, whole = weights_in(await platform.files.local(package))
    packed = Packed(whole or await platform.weights.served(entry), adapter)
    cases = cases_in(await platform.files.local(result))
    return await prove(packed, cases, await noise(platform.weights, entry, dtype))


def _whole_dtype(platform: Platform, entry: str) -> Any:
    """Weights that were tuned as a whole keep 16 bits: 8 would add noise of their own to the proof."""
    return "f32" if platform.catalogue.entries[entry].dtype == "f32" else "bf16"


@job("models.free", max_attempts=5)
async def free(step: Step, *, files: Sequence[str]) -> None:
    """Delete blobs that no row names any more."""
    for ident in files:
        await step.platform.files.delete(ident)
