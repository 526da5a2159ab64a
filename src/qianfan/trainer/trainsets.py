"""What a training reads: datasets by object or id, places in BOS, and how much of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qianfan.dataset import state as saved_state
from qianfan.errors import InvalidArgumentError
from qianfan.utils.logging import logger

if TYPE_CHECKING:
    from qianfan.dataset import Dataset

_BOS: Final = re.compile(r"bos:/[\w-]+(/[\w.-]+)*/?")


@saved_state.saved
@dataclass
class Trainset:
    """One thing that a training reads: a dataset, or a place in BOS.

    sampling_rate: how often each of its records is seen in an epoch, 0.01 to 10; None is once."""

    kind: ClassVar[str] = "trainset"

    dataset: Dataset | None = None
    bos_uri: str | None = None
    sampling_rate: float | None = None

    def to_state(self) -> dict[str, Any]:
        """What is saved."""
        return {"dataset": self.dataset, "bos_uri": self.bos_uri, "sampling_rate": self.sampling_rate}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Trainset:
        """A trainset of a saved state."""
        return cls(**state)


def trainsets(given: Any) -> list[Trainset]:
    """What was given as `dataset` in one shape: a Dataset, an id, a BOS path, a DatasetConfig or a list of them.

    Raises InvalidArgumentError for anything else, and for a mix of platform and BOS."""
    if getattr(given, "kind", "") == "dataset-config":
        rates = given.sampling_rates or [None] * len(given.datasets)
        found = [_one(item, rate) for item, rate in zip(given.datasets, rates, strict=True)]
    elif isinstance(given, Sequence) and not isinstance(given, (str, bytes)) and not _is_dataset(given):
        found = [_one(item, None) for item in given]
    else:
        found = [_one(given, None)]
    if not found:
        raise InvalidArgumentError("dataset must be set: the list is empty", advice="name at least one")
    if len({item.bos_uri is None for item in found}) > 1:
        raise InvalidArgumentError(
            "a training reads datasets of the platform or places in BOS, not both",
            advice="import what lies in BOS into a dataset",
        )
    told, known = getattr(given, "source_type", None), "Platform" if found[0].bos_uri is None else "Bos"
    if told is not None and told != known:
        raise InvalidArgumentError(
            f"source_type is {told!r}, but the datasets are of {known}", advice="leave source_type out"
        )
    return found


def bos_place(path: str) -> str:
    """The place in BOS that a training is told: a folder, or a file with its extension.

    Raises InvalidArgumentError for what is no BOS path."""
    if not _BOS.fullmatch(path):
        raise InvalidArgumentError(
            f"invalid bos_path {path!r}",
            advice="write it as bos:/bucket/folder/, in letters, digits, - and _",
        )
    if path.endswith("/") or "." in path.rpartition("/")[2] or path.count("/") < 3:
        return path
    folder = path.rpartition("/")[0]
    logger.warning("%s has no / at its end, so its folder %s is trained on", path, folder)
    return folder


def as_v1(datasets: Any) -> list[dict[str, Any]]:
    """`trainset` of the V1 interface, of what either generation of LoadDataSetAction gave."""
    if isinstance(datasets, Mapping) and datasets.get("versions"):
        return [_of_version(one) for one in datasets["versions"]]
    if isinstance(datasets, Mapping) or not all(isinstance(item, Mapping) for item in datasets):
        raise InvalidArgumentError(
            "the datasets are not of the V1 shape",
            advice='give [{"type": 1, "id": 111}], one for each dataset',
        )
    return [{"type": 1, **{name: value for name, value in one.items() if name != "name"}} for one in datasets]


def as_v2(datasets: Any) -> dict[str, Any]:
    """`datasetConfig` of the V2 interface, of what either generation of LoadDataSetAction gave."""
    if isinstance(datasets, Mapping):
        return dict(datasets)
    of_bos = any(one.get("type") == 2 for one in datasets)
    name, key = ("versionBosUri", "bosPath") if of_bos else ("versionId", "id")
    rates = [{"samplingRate": one["samplingRate"]} if "samplingRate" in one else {} for one in datasets]
    return {
        "sourceType": "Bos" if of_bos else "Platform",
        "versions": [{name: one[key], **rate} for one, rate in zip(datasets, rates, strict=True)],
    }


def _of_version(version: Mapping[str, Any]) -> dict[str, Any]:
    rate = {"samplingRate": version["samplingRate"]} if "samplingRate" in version else {}
    if "versionBosUri" in version:
        return {"type": 2, "bosPath": version["versionBosUri"], **rate}
    return {"type": 1, "id": version["versionId"], **rate}


def _one(given: Any, rate: float | None) -> Trainset:
    from qianfan.dataset import Dataset
    from qianfan.dataset.bos import BosDataSource

    if isinstance(given, Trainset):
        return given
    if given is None:
        raise InvalidArgumentError("dataset must be set", advice="give dataset=Dataset.load(…)")
    if isinstance(given, str) and given.startswith(("bos:", "/bos:")):
        return Trainset(bos_uri=bos_place(given.lstrip("/")), sampling_rate=rate)
    if (isinstance(given, str) and (given.startswith("ds-") or given.isdigit())) or (
        isinstance(given, int) and not isinstance(given, bool)
    ):
        return Trainset(Dataset(id=int(given) if str(given).isdigit() else given), sampling_rate=rate)
    if isinstance(given, (str, Path)):
        raise InvalidArgumentError(
            f"{str(given)!r} is neither the id of a dataset nor a BOS path: invalid bos_path",
            advice="a file of this machine is Dataset.load(data_file=…)",
        )
    if not _is_dataset(given):
        raise InvalidArgumentError(
            f"invalid dataset: {type(given).__name__}", advice="give a qianfan.dataset.Dataset"
        )
    source = getattr(given, "inner_data_source_cache", None)
    if isinstance(source, BosDataSource) and not given.is_changed:
        return Trainset(bos_uri=source.uri, sampling_rate=rate)
    return Trainset(given, sampling_rate=rate)


def _is_dataset(given: Any) -> bool:
    return hasattr(given, "to_platform")
