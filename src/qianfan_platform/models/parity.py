"""Train→serve parity: the engine must give the trainer's own answers, or the version is not published.

The trainer leaves `parity.json`: prompts, its greedy answers as token ids, and the log-probability it gave
to each. The packed model is run over the same tokens, teacher-forced. Trainer and engine round differently,
quantised weights more so: the mean difference must stay within that noise, and every token that the trainer
was sure of must stay the engine's choice too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import Adapter, EngineSpec

MEAN_BOUND: Final = (
    0.35  # nats a token, mean absolute difference: 16 bits differ by hundredths, four by tenths
)
SURE: Final = math.log(0.9)  # a token the trainer gave at least this much to …
KEPT: Final = math.log(0.5)  # … must get at least this much from the engine
ADAPTER: Final = "proof"


class NotTheSame(Exception):
    """Trainer and engine differ. `proof` holds the figures; the text shows the first differing token."""

    def __init__(self, message: str, proof: dict[str, Any]) -> None:
        self.proof = proof
        super().__init__(message)


async def prove(*, base: Path, package: Path, trained: Path, method: str) -> dict[str, Any]:
    """Compare and return the figures: {tokens, mean_difference, largest_difference, bound}.

    Raises NotTheSame."""
    cases = orjson.loads((trained / "parity.json").read_bytes())
    adapter = package / "adapter.gguf"
    spec = EngineSpec(
        kind="llamacpp",
        model=base if method == "LoRA" else package / "model.gguf",
        adapters=(Adapter(ADAPTER, adapter),) if method == "LoRA" else (),
        context=16 + max((len(case["prompt_ids"]) + len(case["answer_ids"]) for case in cases), default=0),
        parallel=1,
    )
    engine = await LlamaCppEngine.start(spec)
    try:
        differences: list[float] = []
        for case in cases:
            served = await engine.logprobs(
                case["prompt_ids"], case["answer_ids"], ADAPTER if method == "LoRA" else None
            )
            for position, (ours, theirs) in enumerate(zip(case["logprobs"], served, strict=True)):
                differences.append(abs(ours - theirs))
                if ours >= SURE and theirs < KEPT:
                    raise NotTheSame(
                        f"train→serve parity failed at token {position} (id {case['answer_ids'][position]}) of the "
                        f"answer to {case['messages'][-1]['content']!r}: the trainer gave it "
                        f"{math.exp(ours):.2f}, the engine {math.exp(theirs):.2f}",
                        _figures(differences),
                    )
    finally:
        await engine.close()
    proof = _figures(differences)
    if proof["mean_difference"] > MEAN_BOUND:
        raise NotTheSame(
            f"train→serve parity failed: over {proof['tokens']} tokens the log-probabilities differ by "
            f"{proof['mean_difference']:.3f} nats on average, more than {MEAN_BOUND}",
            proof,
        )
    return proof


def _figures(differences: list[float]) -> dict[str, Any]:
    count = len(differences)
    return {
        "tokens": count,
        "mean_difference": round(sum(differences) / count, 5) if count else 0.0,
        "largest_difference": round(max(differences), 5) if count else 0.0,
        "bound": MEAN_BOUND,
    }
