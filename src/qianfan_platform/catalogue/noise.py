"""How much engine and trainer differ on a model that nobody has trained yet.

Both compute the same weights with other roundings: 16 bits here and there, keys and values kept short,
quantised matrices. The differences on the base are the measure of what is noise, measured once and kept.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from qianfan_platform.catalogue import fetch
from qianfan_platform.catalogue.fetch import WeightsFailed
from qianfan_platform.catalogue.rows import Entry
from qianfan_platform.catalogue.weights import Weights
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import EngineSpec


@dataclass(frozen=True)
class Noise:
    """Absolute differences of log-probabilities, nats a token, over `tokens` tokens."""

    tokens: int
    mean: float
    largest: float

    @classmethod
    def of(cls, differences: list[float]) -> Noise:
        count = len(differences)
        return cls(
            count,
            round(sum(differences) / count, 6) if count else 0.0,
            round(max(differences), 6) if count else 0.0,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def noise(weights: Weights, entry: Entry, dtype: str) -> Noise:
    """The noise of an entry whose trainer computes in `dtype`. Measured when nobody has yet; seconds.

    Raises WeightsFailed, EngineFailed."""
    served, folder = await weights.served(entry), await weights.hf(entry)

    async def make(part: Path) -> Path:
        cases = await _reference(entry, folder, dtype, part / "reference.json")
        found = await measured(served, cases)
        out = part / "noise.json"
        out.write_bytes(orjson.dumps(found.as_json()))
        return out

    kept = await weights.derived(entry, f"noise-{dtype}-{_engine_version()}.json", make)
    return Noise(**orjson.loads(kept.read_bytes()))


async def measured(gguf: Path, cases: list[dict[str, Any]]) -> Noise:
    """The noise of the engine against answers that the trainer gave. Raises EngineFailed."""
    longest = max((len(case["prompt_ids"]) + len(case["answer_ids"]) for case in cases), default=0)
    engine = await LlamaCppEngine.start(EngineSpec("llamacpp", gguf, context=16 + longest, parallel=1))
    try:
        differences: list[float] = []
        for case in cases:
            served = await engine.logprobs(case["prompt_ids"], case["answer_ids"])
            both = zip(case["logprobs"], served, strict=True)
            differences += [abs(a - b) for a, b in both if not math.isnan(b)]
    finally:
        await engine.close()
    return Noise.of(differences)


async def _reference(entry: Entry, folder: Path, dtype: str, out: Path) -> list[dict[str, Any]]:
    """The trainer's answers of the base, computed in a process that holds torch."""
    command = [sys.executable, "-m", "qianfan_platform.trainers.child.reference"]
    last = await fetch.told([*command, str(folder), dtype, str(out)])
    if "finished" not in last:
        raise WeightsFailed(
            f"the noise of {entry.name} could not be measured: {last.get('failed') or 'the process ended without a word'}"
        )
    return list(orjson.loads(out.read_bytes()))


def _engine_version() -> str:
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return "0"
