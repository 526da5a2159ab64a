"""Checkpoints: whole or absent. Weights, optimiser, random state, place in the data, metrics so far.

Tensors are safetensors, the rest is JSON; nothing is ever unpickled."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from qianfan_platform.trainers.child import starting
from qianfan_platform.trainers.child.model import Trainee
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec

MANIFEST = "manifest.json"
NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.int64: "I64",
}


@dataclass
class Progress:
    """Where a run is: `step` steps are done, and the next batch is batch `position` of `epoch`."""

    step: int = 0
    epoch: int = 0
    position: int = 0
    tokens: int = 0  # seen so far, without padding
    seconds: float = 0.0  # of its steps, over all its processes
    elapsed: float = 0.0  # the same with evaluations and checkpoints
    loss: float | None = None
    at_once: int = 0  # padded tokens of a micro-batch; its cut changes the last digits
    estimate: dict[str, Any] = field(default_factory=dict)  # as it was before step 1
    evaluations: list[dict[str, Any]] = field(default_factory=list)


def identity(spec: TrainSpec) -> dict[str, Any]:
    """What two runs must share, so that one may go on from the other's checkpoint."""
    config = (spec.base / "config.json").read_bytes()
    hyper = json.loads(json.dumps(asdict(spec.hyper)))  # as it reads back from a checkpoint
    return {
        "mode": spec.mode,
        "method": spec.method,
        "rows": sha256(spec.rows),
        "base": hashlib.sha256(config).hexdigest(),
        "start_from": starting.fingerprint(spec.start_from) if spec.start_from else None,
        "held_out": spec.held_out,
        "seed": spec.seed,
        "dtype": spec.dtype,
        **{f"hyper.{name}": value for name, value in hyper.items() if name != "logging_steps"},
    }


def save(folder: Path, trainee: Trainee, progress: Progress, who: dict[str, Any]) -> Path:
    """Write folder/<step>, drop all but the newest ones, return it. Raises OSError; then nothing changed."""
    optimiser: dict[str, Tensor] = {}
    count = 0
    for name, weight in trainee.weights.items():
        state = trainee.optimiser.state.get(weight)
        if state:
            count = int(state["step"])
            optimiser |= {f"mean.{name}": state["exp_avg"], f"square.{name}": state["exp_avg_sq"]}
    random = random_state(trainee.spec.device)
    state = {"identity": who, "threads": trainee.spec.threads, "updates": count, "progress": asdict(progress)}

    def write(into: Path) -> None:
        write_tensors(into / "weights.safetensors", trainee.weights)
        write_tensors(into / "optimiser.safetensors", optimiser)
        write_tensors(into / "random.safetensors", random)
        write_file(into / "state.json", json.dumps(state, indent=1).encode())

    place = folder / str(progress.step)
    write_folder(place, write)
    # What lies after this step was torn, or the run would not stand here: it must not push out a whole one.
    there = steps_in(folder)
    torn = [old for old in there if int(old.name) > progress.step]
    kept = there[len(torn) :]
    for old in (*torn, *kept[max(1, trainee.spec.checkpoints_kept) :]):
        shutil.rmtree(old, ignore_errors=True)
    return place


def random_state(device: str) -> dict[str, Tensor]:
    """What dropout draws from."""
    found = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def set_random_state(state: dict[str, Tensor], device: str) -> None:
    """Put back what `random_state` found."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.startswith("cuda"):
        torch.cuda.set_rng_state(state["cuda"])


def newest(folder: Path, not_after: int | None = None) -> Path | None:
    """The newest whole checkpoint of a run. Torn or altered ones are passed over."""
    return next(
        (p for p in steps_in(folder) if (not_after is None or int(p.name) <= not_after) and whole(p)), None
    )


def progress_of(place: Path) -> Progress:
    """Where a run was at a checkpoint."""
    return Progress(**json.loads((place / "state.json").read_bytes())["progress"])


def steps_in(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first, whole or not."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: -int(p.name))


def restore(place: Path, trainee: Trainee, who: dict[str, Any]) -> tuple[Progress, list[str]]:
    """Put the trainee where the checkpoint was; returns that place and warnings.

    Raises Refused when the checkpoint is of a run with other data or settings."""
    state = json.loads((place / "state.json").read_bytes())
    other = [name for name, value in who.items() if state["identity"].get(name) != value]
    if other:
        raise Refused(
            f"the checkpoint at step {place.name} is of a run with other {', '.join(other)}; "
            "start a new run without it, or give back its settings"
        )
    device = trainee.spec.device
    weights = load_file(place / "weights.safetensors", device=device)
    optimiser = load_file(place / "optimiser.safetensors", device=device)
    with torch.no_grad():
        for name, weight in trainee.weights.items():
            weight.copy_(weights[name])
            if f"mean.{name}" in optimiser:
                trainee.optimiser.state[weight] = {
                    "step": torch.tensor(float(state["updates"]), device=device),
                    "exp_avg": optimiser[f"mean.{name}"],
                    "exp_avg_sq": optimiser[f"square.{name}"],
                }
        for name, shadow in trainee.shadows.items():
            shadow.copy_(trainee.weights[name])
    set_random_state(load_file(place / "random.safetensors"), device)
    warnings = []
    if state["threads"] != trainee.spec.threads:
        warnings.append(
            f"the checkpoint was made with {state['threads']} threads and goes on with {trainee.spec.threads}: "
            "the result may differ in the last digits"
        )
    return Progress(**state["progress"]), warnings


# -- files ----------------------------------------------------------------------------------------------


def write_folder(place: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `place`, add a manifest of hashes, flush, and rename it there.

    Raises OSError, and leaves what was at `place` before."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".part-*"):
        shutil.rmtree(left, ignore_errors=True)
    part = place.parent / f".part-{place.name}-{os.getpid()}"
    part.mkdir()
    try:
        write(part)
        hashes = {str(p.relative_to(part)): sha256(p) for p in sorted(part.rglob("*")) if p.is_file()}
        write_file(part / MANIFEST, json.dumps(hashes, indent=1).encode())
        sync(part)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
        sync(place.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def whole(place: Path) -> bool:
    """Whether every file of the manifest is there and unchanged."""
    try:
        hashes: dict[str, str] = json.loads((place / MANIFEST).read_bytes())
        return bool(hashes) and all(sha256(place / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, written tensor by tensor: no second copy in memory, and a full disk is an OSError."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)

    def pieces() -> Iterator[Any]:
        yield struct.pack("<Q", len(head)) + head
        for tensor in tensors.values():
            yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()

    write_file(path, *pieces())


def write_file(path: Path, *pieces: Any) -> None:
    """Write and flush to the disk."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Flush a folder's list of names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_space(error: OSError) -> bool:
    """Whether the disk, a quota or a file size limit is the cause."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
