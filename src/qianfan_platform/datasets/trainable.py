"""What a run trains on: which datasets may be used, and their records mixed into one file of rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from qianfan.contract import errors
from qianfan.contract.bodies import Id
from qianfan.contract.enums import DataReleaseStatus, DataTemplateType, TrainMode
from qianfan.contract.errors import Fault
from qianfan_platform.platform import Platform
from qianfan_platform.store import Tx

from .contents import settled
from .tables import Dataset

TEMPLATES: Final = {
    TrainMode.SFT: DataTemplateType.NonSortedConversation,
    TrainMode.PostPretrain: DataTemplateType.GenericText,
    TrainMode.DPO: DataTemplateType.PromptChosenRejected,
}
WORDS: Final = {
    TrainMode.SFT: "an annotated non-sorted conversation set (template 2000)",
    TrainMode.PostPretrain: "a generic text set (template 40100)",
    TrainMode.DPO: "a preference set with chosen and rejected answers (template 2002)",
}
FEW_RECORDS: Final = 32  # the cloud trains on no less; here it is a warning
LEAST_RATE: Final = 0.01
MOST_RATE: Final = 10.0


@dataclass(frozen=True)
class Share:
    """How much of a dataset goes into a run. rate: 0.01–10 times its records."""

    dataset_id: int
    rate: float = 1.0


async def check(tx: Tx, owner: int, ident: Id, mode: TrainMode) -> Dataset:
    """The dataset, if a model can be tuned on it in this mode; else a Fault that says what is missing."""
    dataset = await tx.one(Dataset, ident, owner=owner, missing=errors.BAD_DATASET, noun="dataset")
    what = f"dataset {dataset.id} ({dataset.name})"
    if dataset.template_type != TEMPLATES[mode]:
        raise Fault(
            errors.BAD_DATASET,
            f"{what} has template {dataset.template_type}",
            f"{mode.value} needs {WORDS[mode]}",
        )
    if dataset.release_status != DataReleaseStatus.Finished:
        raise Fault(errors.BAD_DATASET, f"{what} is not released", "call Data.release_dataset first")
    if dataset.entity_count == 0:
        raise Fault(errors.BAD_DATASET, f"{what} has no records", "import some first")
    if mode is not TrainMode.PostPretrain and dataset.annotated_count < dataset.entity_count:
        missing = dataset.entity_count - dataset.annotated_count
        raise Fault(
            errors.BAD_DATASET,
            f"{what}: {missing} of {dataset.entity_count} records have no response",
            "every turn needs one response",
        )
    return dataset


def drawn(records: int, rate: float) -> int:
    """How many rows a dataset of so many records gives at a rate; at least one."""
    return max(1, round(records * rate))


def layout(datasets: Sequence[Dataset], rates: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """What comes from where when released datasets are mixed: [{dataset, name, records, rate, seed, first, last,
    file}], lines from 1. With it `origin` names the record behind a line."""
    parts: list[dict[str, Any]] = []
    line = 0
    for place, (dataset, rate) in enumerate(zip(datasets, rates, strict=True)):
        count = drawn(dataset.entity_count, rate)
        parts.append(
            {
                "dataset": dataset.id,
                "name": dataset.name,
                "records": dataset.entity_count,
                "rate": rate,
                "seed": f"{seed} {place}",
                "first": line + 1,
                "last": line + count,
                "file": dataset.file_id,
            }
        )
        line += count
    return parts


async def mix(
    platform: Platform,
    shares: Sequence[Share],
    into: Path,
    mode: TrainMode,
    seed: int,
    *,
    laid_out: Sequence[dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Write the records of several datasets after one another as JSONL, each as often as its rate says.

    laid_out: the layout that was made with the run: a dataset that was deleted since is no matter then, for its
    content stays while jobs of before may read it.
    Returns what came from where, as `layout` tells it. The same call writes the same bytes."""
    parts = list(laid_out or ())
    if not parts or any("file" not in part for part in parts):
        found = [await settled(platform, share.dataset_id) for share in shares]
        parts = layout(found, [share.rate for share in shares], seed)
    into.parent.mkdir(parents=True, exist_ok=True)
    with closing(await asyncio.to_thread(into.open, "wb")) as out:
        for part in parts:
            if part["file"] is None:
                raise Fault(errors.BAD_DATASET, f"dataset {part['dataset']} has lost its content")
            content = await platform.files.local(part["file"])
            await asyncio.to_thread(_write, content, part, out, mode)
    return parts


def origin(parts: Sequence[dict[str, Any]], line: int) -> tuple[dict[str, Any], int] | None:
    """(the part, the line in its dataset from 1) of a line that `mix` wrote; None for no such line."""
    for part in parts:
        if part["first"] <= line <= part["last"]:
            at = line - part["first"]
            records = part.get("records", part["last"] - part["first"] + 1)
            if at < records * (repeats := int(part.get("rate", 1))):
                return part, at % records + 1
            chosen = draw(records, part["last"] - part["first"] + 1 - records * repeats, part["seed"])
            return part, chosen[at - records * repeats] + 1
    return None


@lru_cache(maxsize=8)
def draw(records: int, count: int, seed: str) -> tuple[int, ...]:
    """Which records a share takes: `count` different ones of `records`, by a seeded draw, in their order."""
    return tuple(sorted(random.Random(f"share {seed}").sample(range(records), count)))


async def record(
    platform: Platform, parts: Sequence[dict[str, Any]], line: int, mode: TrainMode
) -> bytes | None:
    """The row that `mix` wrote as `line`, made anew; None when it, or its dataset, is not there any more."""
    found = origin(parts, line)
    if found is None:
        return None
    part, number = found
    async with platform.store.reading() as tx:
        dataset = await tx.maybe(Dataset, Dataset.id == part["dataset"])
    if dataset is None or dataset.file_id is None:
        return None
    content = await platform.files.local(dataset.file_id)
    return await asyncio.to_thread(lambda: next(islice(_lines(content, mode), number - 1, None), None))


def _write(content: Path, part: dict[str, Any], out: BinaryIO, mode: TrainMode) -> None:
    """Whole repeats first, then the draw for what is left."""
    repeats = int(part["rate"])
    for _ in range(repeats):
        out.writelines(_lines(content, mode))
    left = part["last"] - part["first"] + 1 - repeats * part["records"]
    if left:
        wanted = set(draw(part["records"], left, part["seed"]))
        out.writelines(row for at, row in enumerate(_lines(content, mode)) if at in wanted)


def _lines(content: Path, mode: TrainMode) -> Iterator[bytes]:
    with content.open("rb") as file:
        for line in file:
            yield line if mode is not TrainMode.DPO else orjson.dumps(_preference(orjson.loads(line))) + b"\n"


def _preference(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns of template 2002 in the words of the other conversations, as the trainer reads them."""
    told = []
    for turn in turns:
        row: dict[str, Any] = {
            key: turn[key] for key in ("system", "prompt", "chosen", "rejected") if key in turn
        }
        row.setdefault("prompt", turn.get("user"))
        if "assistant" in turn:
            row["response"] = [[turn["assistant"]]]
        told.append(row)
    return told
