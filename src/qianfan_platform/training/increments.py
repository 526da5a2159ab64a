"""Training further: a new run that starts from the weights of a finished one, on other data.

Not to be mixed up with resuming, which goes on with a stopped run on its own data, from its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import TrainStatus
from qianfan.contract.errors import Fault
from qianfan_platform.store import Tx
from qianfan_platform.trainers.protocol import Hyper

from . import keys, places
from .hyper import Plan, Wish
from .tables import TrainRun

# What an adapter cannot change any more, and how it is spelt on the wire.
ADAPTER: Final = {
    "loraRank": "lora_rank",
    "loraAlpha": "lora_alpha",
    "loraAllLinear": "lora_targets",
    "loraTargetModules": "lora_targets",
}


@dataclass(frozen=True)
class From:
    """What a run starts from. step: of which checkpoint, None for the end of the run."""

    run: Id
    step: int | None = None


def check(before: TrainRun, step: int | None, *, entry: str, name: str) -> str:
    """Refuse what a run of train type `name` on `entry` cannot start from, with 510404; returns what is done."""
    what = f"run {before.id} ({before.public_id})"
    if before.status != TrainStatus.Finish or before.result_file is None:
        raise Fault(
            errors.NO_INCREMENT,
            f"{what} is {before.status}; only a finished run can be trained further",
            "wait until it is Done"
            if before.status == TrainStatus.Running
            else "a stopped or failed run is resumed by creating the same run again in its task",
        )
    if before.entry != entry or before.train_type != name:
        raise Fault(
            errors.NO_INCREMENT,
            f"{what} trained {before.train_type}, this one is to train {name}",
            "train the same model further, or start without the earlier run",
        )
    there = places.steps_of(before)
    if step is not None and step not in there:
        raise Fault(
            errors.NO_INCREMENT,
            f"{what} has kept no checkpoint of step {step}",
            f"it has {', '.join(map(str, there)) or 'its end'}; without incrementCheckpointStep its end is taken",
        )
    return f"trains the weights of run {before.public_id} further, which learned {before.train_mode}"


async def is_adapter(tx: Tx, run: TrainRun) -> bool:
    """Whether the run's result is a LoRA adapter on the base. LoRA upon other weights ends as a whole model."""
    if run.peft_type != "LoRA":
        return False
    if run.starts_from is None:
        return True
    before = await tx.maybe(TrainRun, TrainRun.id == run.starts_from)
    return before is None or await is_adapter(tx, before)


async def with_its_adapter(tx: Tx, plan: Plan, before: TrainRun, wish: Wish) -> Plan:
    """`plan` with the adapter's shape taken from the run it goes on with.

    Raises Fault(BAD_TRAIN_CONFIG) when the caller wants another shape."""
    if plan.method != "LoRA" or not await is_adapter(tx, before):
        return plan
    old = Hyper(**{**before.hyper, "lora_targets": tuple(before.hyper.get("lora_targets", ()))})
    for spelt, name in ADAPTER.items():
        if spelt in wish.config and getattr(plan.hyper, name) != getattr(old, name):
            allowed = f"left out: the adapter of run {before.id}, made with {getattr(old, name)!r}, is trained further"
            raise keys.refusal(spelt, getattr(plan.hyper, name), allowed, v2=wish.v2)
    kept: dict[str, Any] = {name: getattr(old, name) for name in ADAPTER.values()}
    return replace(plan, hyper=replace(plan.hyper, **kept))
