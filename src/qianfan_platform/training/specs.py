"""From the row of a run to the trainer's specification, for training and for looking at one sample."""

from __future__ import annotations

from pathlib import Path

from qianfan.contract.enums import TrainMode
from qianfan.contract.errors import RUN_STATE, Fault
from qianfan_platform.platform import Platform
from qianfan_platform.trainers.protocol import Hyper, TrainSpec

from . import places
from .tables import TrainRun


async def spec(platform: Platform, run: TrainRun, *, base: Path, rows: Path, work: Path) -> TrainSpec:
    """What the trainer is told of `run`. Raises Fault when the run that it trains further is gone."""
    return TrainSpec(
        base=base,
        rows=rows,
        work=work,
        mode=TrainMode(run.train_mode).value,
        method=run.peft_type,  # type: ignore[arg-type]
        hyper=Hyper(**{**run.hyper, "lora_targets": tuple(run.hyper.get("lora_targets", ()))}),
        held_out=run.trainset_rate / 100,
        seed=run.seed,
        threads=run.threads,
        dtype="float32" if run.dtype == "float32" else "bfloat16",
        checkpoint_steps=run.checkpoint_steps,
        checkpoints_kept=run.checkpoints_kept,
        device=platform.settings.train_device,
        start_from=await _start(platform, run),
        cache=platform.settings.cache / "rows",
    )


async def _start(platform: Platform, run: TrainRun) -> Path | None:
    if run.starts_from is None:
        return None
    async with platform.store.reading() as tx:
        before = await tx.maybe(TrainRun, TrainRun.id == run.starts_from)
    kept = None if before is None else places.result_of(before, run.starts_step)
    if kept is None:
        raise Fault(
            RUN_STATE,
            f"the weights that run {run.public_id} trains further are gone",
            "start again from a run that is there",
        )
    return await platform.files.local(kept)
