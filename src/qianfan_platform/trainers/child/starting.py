"""What a run starts from: the base, or what an earlier run made of it. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qianfan_platform.trainers.child import virtual
from qianfan_platform.trainers.child.encoder import Encoder, tokenizer_of
from qianfan_platform.trainers.child.wire import Refused
from qianfan_platform.trainers.protocol import TrainSpec

ADAPTER = "adapter_config.json"
RECORD = "training.json"


def foundation(spec: TrainSpec) -> Path:
    """The folder of the whole model that is trained: the base, or the whole model of an earlier run."""
    before = spec.start_from
    return before if before is not None and not (before / ADAPTER).is_file() else spec.base


def earlier_adapter(spec: TrainSpec) -> Path | None:
    """The folder of the earlier run's adapter, where that is what it left. Raises Refused."""
    before = spec.start_from
    if before is None or not (before / ADAPTER).is_file():
        return None
    base = record_of(before).get("identity", {}).get("base")
    if base not in (None, shape(spec.base)):
        raise Refused(
            "the earlier run's adapter was trained on another base model than this run's: start from a run of "
            "the same base"
        )
    return before


def kind(spec: TrainSpec) -> str:
    """What the run leaves: "adapter" or "model". An adapter on what is no base of the catalogue is merged."""
    return "adapter" if spec.method == "LoRA" and foundation(spec) == spec.base else "model"


def record(spec: TrainSpec) -> dict[str, Any]:
    """What the record of a run says of its making."""
    return {
        "kind": kind(spec),
        "mode": spec.mode,
        "method": spec.method,
        "base": spec.base.name,
        "start_from": lineage(spec),
    }


def lineage(spec: TrainSpec) -> dict[str, Any] | None:
    """Of the earlier run, what tells it from others; None without one."""
    if spec.start_from is None:
        return None
    before = record_of(spec.start_from)
    known = {name: before.get(name) for name in ("kind", "mode", "method", "base", "seed", "start_from")}
    return {"fingerprint": fingerprint(spec.start_from), **known}


def fingerprint(folder: Path) -> str:
    """The SHA-256 of the weights in a result folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digest.update(hashlib.file_digest(weights, "sha256").digest())
    return digest.hexdigest()


def record_of(folder: Path) -> dict[str, Any]:
    """The record of the run that left `folder`; {} for a folder that no run of ours left."""
    file = folder / RECORD
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def shape(folder: Path) -> str:
    """The SHA-256 of a model's config.json."""
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def config_of(spec: TrainSpec) -> dict[str, Any]:
    """config.json of the foundation."""
    return dict(json.loads((foundation(spec) / "config.json").read_bytes()))


def limit_of(spec: TrainSpec) -> int:
    """Tokens that a sequence may have: what was asked for, or the model's own limit where that is smaller."""
    asked = spec.hyper.max_seq_len
    return min(asked, config_of(spec).get("max_position_embeddings") or asked)


def encoder_of(spec: TrainSpec) -> Encoder:
    """The encoder of a run. Raises Refused when the model has no chat template."""
    tokenizer = tokenizer_of(foundation(spec))
    if spec.method == "P-tuning":
        virtual.extend(tokenizer, spec.hyper.virtual_tokens)
    return Encoder(tokenizer, prefix=virtual.ids_of(tokenizer))
