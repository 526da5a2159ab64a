"""Tokenised rows, kept on disk for later runs of the same data, template, tokenizer and policy.

A file is a digest and what it is the digest of, written beside its place and renamed: whole or absent. What
does not read back as it was written is made anew. The folder is bounded; what was used longest ago goes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from qianfan_platform.engines import chat_template
from qianfan_platform.trainers.child import starting
from qianfan_platform.trainers.child.checkpoint import sha256
from qianfan_platform.trainers.child.ledger import Entry, Ledger
from qianfan_platform.trainers.child.samples import plain, revived
from qianfan_platform.trainers.protocol import TrainSpec

BYTES_AT_MOST = 2 << 30  # of all files
SUFFIX = ".tokens"
CODE = ("encoder.py", "ledger.py", "readers.py", "rows.py", "samples.py", "tokenised.py", "virtual.py")
LIBRARIES = ("jinja2", "tokenizers", "transformers")


def ledger_of(spec: TrainSpec, limit: int, make: Callable[[], Ledger]) -> tuple[Ledger, bool]:
    """(the ledger, whether it was there already). What `make` raises is not kept, and raised."""
    if spec.cache is None:
        return make(), False
    place = spec.cache / f"{key(spec, limit)}{SUFFIX}"
    found = read(place)
    if found is not None:
        return found, True
    ledger = make()
    with contextlib.suppress(OSError):  # a full disk costs time later, never the run
        write(place, ledger)
        shrink(spec.cache, BYTES_AT_MOST)
    return ledger, False


def key(spec: TrainSpec, limit: int) -> str:
    """The digest of all that decides what a row becomes: rows, tokenizer and template, settings, code."""
    parts: dict[str, Any] = {
        "rows": sha256(spec.rows),
        "mode": spec.mode,
        "virtual_tokens": spec.hyper.virtual_tokens if spec.method == "P-tuning" else 0,
        "too_long": spec.hyper.too_long,
        "limit": limit,
        "held_out": [spec.held_out, spec.seed],
        "least": [spec.least_trained_tokens, spec.hyper.most_dropped],
    }
    for file in sorted(starting.foundation(spec).iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt"):
            parts[f"base/{file.name}"] = sha256(file)
    parts |= {name: sha256(Path(__file__).with_name(name)) for name in CODE}
    parts["chat_template.py"] = sha256(Path(chat_template.__file__))
    parts |= {name: version(name) for name in LIBRARIES}
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def write(place: Path, ledger: Ledger) -> None:
    """Raises OSError, and then leaves nothing."""
    body = orjson.dumps(
        {
            "entries": [asdict(entry) for entry in ledger.entries],
            "train": [plain(sample) for sample in ledger.train],
            "held_out": [plain(sample) for sample in ledger.held_out],
        }
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(hashlib.sha256(body).digest())
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def read(place: Path) -> Ledger | None:
    """What was written; None when it is not there, or not as it was written."""
    try:
        whole = place.read_bytes()
        digest, body = whole[:32], memoryview(whole)[32:]
        if hashlib.sha256(body).digest() != digest:
            return None
        os.utime(place)  # used just now
    except OSError:
        return None
    found = orjson.loads(body)
    return Ledger(
        [Entry(**entry) for entry in found["entries"]],
        [revived(sample) for sample in found["train"]],
        [revived(sample) for sample in found["held_out"]],
    )


def shrink(folder: Path, most: int) -> None:
    """Remove what was used longest ago until at most `most` bytes are left, and what dead processes left."""
    for part in folder.glob(f".*{SUFFIX}.*"):
        if not alive(part.suffix[1:]):
            part.unlink(missing_ok=True)
    files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: -file.stat().st_mtime)
    left = most
    for file in files:
        left -= file.stat().st_size
        if left < 0:
            file.unlink(missing_ok=True)


def alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
