"""Proof that a service serves what it says: tokens come out, and they are those of the version, not of its base."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any, Final

import orjson

from qianfan.contract.errors import UNAVAILABLE, Fault
from qianfan_platform.engines.llamacpp.engine import LlamaCppEngine
from qianfan_platform.engines.protocol import EngineFailed, RequestRefused, Sampling
from qianfan_platform.models import operations as models
from qianfan_platform.models.steps import NothingToPublish, result_of
from qianfan_platform.platform import Platform
from qianfan_platform.training import operations as training

from .fleet import Want

PROBE: Final = [{"role": "user", "content": "hi"}]
CASES: Final = 1  # of those the trainer left
TOKENS: Final = 4  # of each: the first ones
SURE: Final = math.log(0.9)  # a token to which the trainer gave so much must come out


async def prove(platform: Platform, want: Want, cases: list[dict[str, Any]]) -> None:
    """Return when tokens came out of what `want` asks for, and they were those of the version.

    An engine proves of each adapter that it changes the model's mind when it loads it; here the trainer's own
    answers (`cases`, as in parity.json) must come out. Raises Fault."""
    tokens = 0
    try:
        async with platform.fleet.use(want) as (engine, adapter):
            async for delta in engine.generate(
                PROBE, Sampling(max_tokens=1, temperature=0.0), adapter=adapter
            ):
                tokens = delta.completion_tokens or tokens
            if not tokens:
                raise Fault(UNAVAILABLE, "the engine is up but gave no token", "see the server's log")
            if isinstance(engine, LlamaCppEngine):
                for case in cases:
                    await _first_tokens(engine, adapter, case)
    except (EngineFailed, RequestRefused) as failed:
        why = failed.told if isinstance(failed, EngineFailed) else str(failed)
        raise Fault(
            UNAVAILABLE, f"the engine is up but does not answer: {why}", "see the server's log"
        ) from failed


async def _first_tokens(engine: LlamaCppEngine, adapter: str | None, case: dict[str, Any]) -> None:
    """The trainer's first tokens must come out, up to the first of which it was not sure."""
    expected: list[int] = []
    for token, chance in zip(case["answer_ids"][:TOKENS], case["logprobs"], strict=False):
        if chance < SURE:
            break
        expected.append(token)
    if not expected:
        return
    given = await engine.complete(case["prompt_ids"], len(expected), adapter=adapter)
    if given != expected:
        place = next(
            (n for n, pair in enumerate(zip(given, expected, strict=False)) if pair[0] != pair[1]), len(given)
        )
        raise Fault(
            UNAVAILABLE,
            f"the engine does not answer as the trained version does: to {case['messages'][-1]['content']!r} token "
            f"{place} should be {expected[place]}, and is {given[place] if place < len(given) else 'missing'}",
            "deploy it again; if that does not help, publish the version again",
        )


async def cases(platform: Platform, version_id: int) -> list[dict[str, Any]]:
    """What the trainer of a version answered, [{messages, prompt_ids, answer_ids, logprobs}]: those it was surest
    of first. Nothing for versions that were not trained here."""
    async with platform.store.reading() as tx:
        version = await models.version(tx, None, version_id)
        if not version.run_id:
            return []
        run = await training.finished(tx, version.run_id)
    try:
        folder = await platform.files.local(result_of(run, version.step))
    except (Fault, NothingToPublish):  # it was deleted since
        return []
    found = await asyncio.to_thread(_read, folder / "parity.json")
    found.sort(key=lambda case: case["logprobs"][0], reverse=True)
    return found[:CASES]


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [case for case in orjson.loads(path.read_bytes()) if case["answer_ids"]]
