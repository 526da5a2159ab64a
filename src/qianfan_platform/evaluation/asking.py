"""One question to a model through the same road as everybody's, tried again when it is the engine that failed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from qianfan.contract import errors
from qianfan.contract.errors import Fault
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.inference import operations as inference
from qianfan_platform.inference.conversations import Prompt
from qianfan_platform.platform import Platform
from qianfan_platform.serving.operations import Answering

TRIES: Final = 3  # of a question that the engine failed at
IN_A_ROW: Final = 8  # questions at which the engine failed before a model is given up
LONGEST_PAUSE_S: Final = 10.0
# No question will be answered any more; asking on would only fail once for each row.
_NEVER: Final = frozenset(
    row.code
    for row in (errors.DAILY_LIMIT, errors.TOTAL_LIMIT, errors.MISSING_EXTRA, errors.UNSUPPORTED_METHOD)
)
_ENGINE: Final = frozenset(row.code for row in (errors.UNAVAILABLE, errors.INTERNAL, errors.UNKNOWN))


class GivenUp(Exception):
    """No further question to this model makes sense. The text says why."""


@dataclass(frozen=True)
class Answered:
    """What came of a question. error: why there is no answer. Times in seconds, waiting for a place included."""

    text: str = ""
    error: str = ""
    finish_reason: str = ""
    first_token_s: float | None = None
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    broken: bool = False  # it was the engine that failed, not the question


async def ask(platform: Platform, caller: Caller, answering: Answering, prompt: Prompt) -> Answered:
    """The answer, or why this question has none. Waits while the quota is used up. Raises GivenUp."""
    failures, waits = 0, 0
    while True:
        try:
            return await _once(platform, caller, answering, prompt)
        except Fault as fault:
            code = fault.row.code
            if code in _NEVER:
                raise GivenUp(fault.text) from fault
            if code in errors.PASSING:
                waits += 1
                told_s = float(getattr(fault, "headers", {}).get("Retry-After", 0))
                pause_s = min(LONGEST_PAUSE_S, told_s or 0.25 * 2 ** min(waits, 10))
            elif code in _ENGINE and failures + 1 < TRIES:
                failures += 1
                pause_s = 0.2 * failures
            else:
                return Answered(error=fault.text, broken=code in _ENGINE)
        await asyncio.sleep(pause_s)


def _storable(text: str) -> str:
    """The text without what no database or JSON takes: NUL, and halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


async def _once(platform: Platform, caller: Caller, answering: Answering, prompt: Prompt) -> Answered:
    began = time.monotonic()
    first: float | None = None
    texts: list[str] = []
    prompt_tokens, completion_tokens, reason = prompt.estimate, 0, ""
    async with inference.answer(platform, caller, answering, prompt) as deltas:
        async for delta in deltas:
            if delta.text or delta.reasoning:
                first = time.monotonic() if first is None else first
                texts.append(delta.text)
                completion_tokens += 1
            if delta.finish_reason is not None:
                reason = delta.finish_reason
                prompt_tokens = delta.prompt_tokens or prompt_tokens
                if delta.completion_tokens is not None:
                    completion_tokens = delta.completion_tokens
    return Answered(
        text=_storable("".join(texts)),
        finish_reason="normal" if reason == "stop" else reason,
        first_token_s=None if first is None else round(first - began, 4),
        latency_s=round(time.monotonic() - began, 4),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )
