"""Where a run's files lie: in its work folder while it works, among the platform's files afterwards."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qianfan_platform.platform import Platform
from qianfan_platform.trainers.run import export

from .tables import TrainRun

LEDGER: Final = "ledger"
TENSORBOARD: Final = "tensorboard"
CHECKPOINT: Final = "checkpoint-"  # and the step: weights in the form of a result, to be published

DOWNLOADS: Final = (LEDGER, TENSORBOARD)


def work_of(platform: Platform, run: TrainRun) -> Path:
    """Folder of a run: rows, checkpoints, result. It goes when the run is finished."""
    return platform.settings.work / "runs" / run.public_id


def newest_checkpoint(work: Path) -> Path | None:
    """The folder of the newest checkpoint in a work folder."""
    folder = work / "checkpoints"
    if not folder.is_dir():
        return None
    whole = [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]
    return max(whole, key=lambda path: int(path.name), default=None)


def steps_of(run: TrainRun) -> list[int]:
    """Steps of the checkpoints that can be published or trained further, in order."""
    names = [name for name in run.files or {} if name.startswith(CHECKPOINT)]
    return sorted(int(name.removeprefix(CHECKPOINT)) for name in names)


def result_of(run: TrainRun, step: int | None) -> str | None:
    """The blob of the weights at the end of a run, or at a checkpoint; None when there is none."""
    return run.result_file if step is None else (run.files or {}).get(f"{CHECKPOINT}{step}")


async def keep_checkpoints(
    platform: Platform, work: Path, steps: Sequence[int]
) -> tuple[dict[str, str], list[str]]:
    """Keep checkpoints of a work folder as results; (name → file id, why the others could not be)."""
    kept, failed = {}, []
    for step in steps:
        out = work / f"exported-{step}"
        why = await export(work, step, out)
        if why is not None:
            failed.append(f"the checkpoint of step {step} cannot be kept: {why}")
            continue
        kept[f"{CHECKPOINT}{step}"] = (await platform.files.put_path(out, name="result", move=True)).id
    return kept, failed


async def keep(platform: Platform, work: Path, owner: int) -> dict[str, str]:
    """Keep what of a work folder people ask for later: the ledger, and the events of TensorBoard as a zip."""
    kept = {}
    ledger, board = work / "ledger.jsonl", work / TENSORBOARD
    if ledger.is_file():
        kept[LEDGER] = (await platform.files.put_path(ledger, name="ledger.jsonl", owner=owner)).id
    if board.is_dir():
        packed = await asyncio.to_thread(_zip, board, work / "tensorboard.zip")
        kept[TENSORBOARD] = (await platform.files.put_path(packed, name="tensorboard.zip", owner=owner)).id
    return kept


async def ledger(platform: Platform, run: TrainRun) -> Path | None:
    """The ledger of a run; None while there is none yet."""
    kept = (run.files or {}).get(LEDGER)
    if kept:
        return await platform.files.local(kept)
    path = work_of(platform, run) / "ledger.jsonl"
    return path if path.is_file() else None


def _zip(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return target
