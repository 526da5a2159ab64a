"""Train→serve parity: the engine must give the trainer's own answers, or the version is not published.

The trainer leaves `parity.json`: prompts, its greedy answers as token ids, and the log-probability it gave
to each. The packed model is asked the same: its chat template must make the same tokens of each prompt, and
it is run over the same answers, teacher-forced. Trainer and engine round differently; how much they differ on
the untrained base is measured, and the trained model may not differ by much more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan_platform.catalogue.noise import Noise
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import Adapter, EngineSpec

TIMES: Final = 4.0  # a trained model is surer than its base, and its differences are that much larger
LEAST: Final = (
    0.01  # nats a token: right packs of quiet bases differ by 0.004 at most, one lost matrix by more
)
MOST: Final = 0.35  # nats a token: above this answers change, so a noisier base cannot be proved upon
SURE: Final = math.log(0.9)  # a token the trainer gave at least this much to …
KEPT: Final = math.log(0.5)  # … must get at least this much from the engine
ADAPTER: Final = "proof"
TURNS: Final = ("system", "user", "assistant")  # a case of other roles is a text, without a template


class NotTheSame(Exception):
    """Trainer and engine differ. `proof` holds the figures; the text shows the first differing token."""

    def __init__(self, message: str, proof: dict[str, Any]) -> None:
        self.proof = proof
        super().__init__(message)


@dataclass(frozen=True)
class Packed:
    """What an engine is given: a whole model, or a base and the adapter on it."""

    model: Path
    adapter: Path | None = None


def bound_of(noise: Noise | None, least: float = LEAST) -> float:
    """The mean difference that is let pass, nats a token; None: nothing was measured."""
    return least if noise is None else round(min(MOST, max(least, TIMES * noise.mean)), 6)


def cases_in(folder: Path) -> list[dict[str, Any]]:
    """What the trainer left in a result folder, or an import in its package."""
    return list(orjson.loads((folder / "parity.json").read_bytes()))


async def prove(
    packed: Packed, cases: Sequence[dict[str, Any]], noise: Noise | None = None, *, least: float = LEAST
) -> dict[str, Any]:
    """Compare and return the figures: {tokens, mean_difference, largest_difference, bound, noise}.

    least: the smallest bound, larger for weights of fewer bits. Raises NotTheSame, EngineFailed."""
    engine = await LlamaCppEngine.start(_spec(packed, cases))
    adapter = ADAPTER if packed.adapter else None
    bound = bound_of(noise, least)
    differences: list[float] = []
    try:
        for case in cases:
            await _same_prompt(engine, case, _figures(differences, bound, noise))
            served = await engine.logprobs(case["prompt_ids"], case["answer_ids"], adapter)
            for place, (ours, theirs) in enumerate(zip(case["logprobs"], served, strict=True)):
                if ours is None or math.isnan(theirs):  # within a character; null where the engine gave both
                    continue
                differences.append(abs(ours - theirs))
                if ours >= SURE and theirs < KEPT:
                    where = await _token(engine, case, place, adapter)
                    raise NotTheSame(
                        f"train→serve parity failed at {where}: the trainer gave it {math.exp(ours):.2f}, "
                        f"the engine {math.exp(theirs):.2f}",
                        _figures(differences, bound, noise),
                    )
        proof = _figures(differences, bound, noise)
        if not differences and any(case["answer_ids"] for case in cases):
            raise NotTheSame(
                "train→serve parity cannot be shown: no token of the answers can be compared", proof
            )
        if proof["mean_difference"] > bound:
            first = await _first_difference(engine, cases, adapter)
            raise NotTheSame(
                f"train→serve parity failed: over {proof['tokens']} tokens the log-probabilities differ by "
                f"{proof['mean_difference']:.3f} nats on average, more than {bound:.3f}{first}",
                proof,
            )
    finally:
        await engine.close()
    return proof


def _spec(packed: Packed, cases: Sequence[dict[str, Any]]) -> EngineSpec:
    longest = max((len(case["prompt_ids"]) + len(case["answer_ids"]) for case in cases), default=0)
    adapters = (Adapter(ADAPTER, packed.adapter),) if packed.adapter else ()
    return EngineSpec("llamacpp", packed.model, adapters, context=16 + longest, parallel=1)


def has_template(case: dict[str, Any]) -> bool:
    """True for a conversation, which the chat template makes tokens of."""
    messages = case.get("messages") or []
    return bool(messages) and all(message["role"] in TURNS for message in messages)


async def _same_prompt(engine: LlamaCppEngine, case: dict[str, Any], figures: dict[str, Any]) -> None:
    """The engine's template and tokenizer make the trainer's tokens of a prompt. Raises NotTheSame."""
    if not has_template(case):
        return
    ours, theirs = list(case["prompt_ids"]), await engine.prompt(case["messages"])
    if ours == theirs:
        return
    both = zip(ours, theirs, strict=False)
    place = next((n for n, (a, b) in enumerate(both) if a != b), min(len(ours), len(theirs)))
    trainer, served = await _shown(engine, ours[place:]), await _shown(engine, theirs[place:])
    raise NotTheSame(
        f"train→serve parity failed: the prompt of {_question(case)} is another one when it is served; token "
        f"{place} is {trainer} in training and {served} in serving, so the chat template or the tokenizer differs",
        figures,
    )


async def _token(engine: LlamaCppEngine, case: dict[str, Any], place: int, adapter: str | None) -> str:
    """A token of an answer, and what the engine would have said in its place."""
    ids = case["answer_ids"]
    instead = await engine.complete([*case["prompt_ids"], *ids[:place]], 1, adapter=adapter)
    before = await engine.detokenize(ids[:place])
    return (
        f"token {place} of the answer to {_question(case)}, {await _shown(engine, ids[place:])} after {before!r}, "
        f"where the engine says {await _shown(engine, instead)}"
    )


async def _first_difference(
    engine: LlamaCppEngine, cases: Sequence[dict[str, Any]], adapter: str | None
) -> str:
    """Where the engine, answering by itself, first says something else; "" when it never does."""
    for case in cases:
        said = await engine.complete(case["prompt_ids"], len(case["answer_ids"]), adapter=adapter)
        both = zip(case["answer_ids"], said, strict=False)
        place = next((n for n, (a, b) in enumerate(both) if a != b), None)
        if place is not None:
            return f"; the first that differs is {await _token(engine, case, place, adapter)}"
    return ""


async def _shown(engine: LlamaCppEngine, ids: Sequence[int]) -> str:
    """The first of some tokens as text and id."""
    return f"{await engine.detokenize(ids[:1])!r} (id {ids[0]})" if ids else "nothing"


def _question(case: dict[str, Any]) -> str:
    text = case["messages"][-1]["content"] if case.get("messages") else ""
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _figures(differences: list[float], bound: float, noise: Noise | None) -> dict[str, Any]:
    seen = Noise.of(differences)
    return {
        "tokens": seen.tokens,
        "mean_difference": round(seen.mean, 5),
        "largest_difference": round(seen.largest, 5),
        "bound": bound,
        "noise": noise.as_json() if noise else None,
    }
