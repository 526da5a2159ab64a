"""What a run is to learn from: its training sets, how much of each, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import DataReleaseStatus, TrainMode
from qianfan.contract.errors import Fault
from qianfan_platform.datasets import pinned, trainable
from qianfan_platform.datasets.pinned import InBucket
from qianfan_platform.datasets.tables import Dataset
from qianfan_platform.files.objects import Objects
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .places import newest_checkpoint, work_of
from .tables import TrainRun

UNCOUNTED: Final = 1_000_000  # records, for warnings only
CLOUD_HOLDS_OUT: Final = 20  # percent, at most, in V2; V1 goes as far as the trainer does


@dataclass(frozen=True)
class Sets:
    """The training sets of a run, checked. found: a dataset, or a path of which nobody knows yet what is there.

    held_out: percent, as asked for."""

    found: Sequence[Dataset | InBucket]
    rates: Sequence[float]
    held_out: float

    @property
    def names(self) -> list[int | str]:
        """What tells them from others: the number of a dataset, or the path."""
        return [one.path if isinstance(one, InBucket) else one.id for one in self.found]

    @property
    def datasets(self) -> list[Dataset] | None:
        """The datasets, when all are there already."""
        there = [one for one in self.found if isinstance(one, Dataset)]
        return there if len(there) == len(self.found) else None

    @property
    def records(self) -> int:
        """How many records they come to; UNCOUNTED while nobody knows, so that nothing is said of it."""
        if self.datasets is None:
            return UNCOUNTED
        pairs = zip(self.datasets, self.rates, strict=True)
        return sum(trainable.drawn(one.entity_count, rate) for one, rate in pairs)

    @property
    def percent(self) -> int:
        """The share that is held out, as the trainer takes it."""
        return round(self.held_out)

    def notes(self, *, v2: bool, stand_in: bool) -> list[str]:
        """What somebody who asks for this should know."""
        said = []
        if self.records < trainable.FEW_RECORDS:
            said.append(
                f"{self.records} records are few; the cloud asks for at least {trainable.FEW_RECORDS}"
            )
        share = "splitRatio" if v2 else "trainsetRate"
        if self.percent != self.held_out:
            said.append(f"{share} {self.held_out:g} is taken as {self.percent} percent")
        if v2 and stand_in and self.percent > CLOUD_HOLDS_OUT:
            said.append(
                f"the cloud takes {share} up to {CLOUD_HOLDS_OUT}, not {self.percent}; this platform goes on"
            )
        twice = len(set(self.names)) < len(self.names)
        if self.percent and (twice or any(rate > 1 for rate in self.rates)):
            why = "a training set that is named twice" if twice else "samplingRate above 1"
            said.append(
                f"{why} repeats records, so that some held-out ones are trained on as well; "
                f"{share} 0 holds none out"
            )
        return said


async def look(
    tx: Tx, owner: int, asked: Sequence[tuple[Id | InBucket, float]], mode: TrainMode, held_out: float
) -> Sets:
    """The sets that are asked for, with their rates. Raises Fault(BAD_DATASET) for what cannot be trained on."""
    found = [
        data if isinstance(data, InBucket) else await trainable.check(tx, owner, data, mode)
        for data, _ in asked
    ]
    return Sets(found, [_rate(rate) for _, rate in asked], held_out)


def _rate(rate: float) -> float:
    if not trainable.LEAST_RATE <= rate <= trainable.MOST_RATE:
        raise Fault(
            errors.BAD_DATASET,
            f"param[samplingRate] invalid: it is {rate:g}",
            f"it must be between {trainable.LEAST_RATE:g} and {trainable.MOST_RATE:g}",
        )
    return float(rate)


async def frozen_by(platform: Platform, tx: Tx, owner: int, run: TrainRun | None) -> list[Dataset] | None:
    """What a stopped run has learned from, if it has left a checkpoint that goes on with just that.

    Without one nothing is lost by looking into the bucket again, where the data may have been mended."""
    if run is None or newest_checkpoint(work_of(platform, run)) is None:
        return None
    there = [await tx.maybe(Dataset, Dataset.id == ident, owner=owner) for ident in run.trainset]
    frozen = [one for one in there if one and _frozen(one)]
    return frozen if len(frozen) == len(run.trainset) else None


def _frozen(dataset: Dataset) -> bool:
    return dataset.release_status == DataReleaseStatus.Finished.value


async def pin(tx: Tx, owner: int, sets: Sets, mode: TrainMode, objects: Objects) -> list[Dataset]:
    """Every set as a dataset; what lies in a bucket is imported, and frozen as it is now."""
    return [
        await pinned.pin(tx, owner, one, mode, objects) if isinstance(one, InBucket) else one
        for one in sets.found
    ]


def layout(datasets: Sequence[Dataset], rates: Sequence[float], seed: int) -> list[dict[str, Any]] | None:
    """Which rows come from where, so that a dataset may be deleted afterwards; None while one is being imported."""
    return trainable.layout(datasets, rates, seed) if all(map(_frozen, datasets)) else None
