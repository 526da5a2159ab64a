"""One conversation in, an answer out: check, find who answers, generate, count."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from qianfan.contract import errors
from qianfan.contract.chat import messages_problem
from qianfan.contract.errors import ErrorRow, Fault
from qianfan_platform.engines.protocol import Delta, Engine, EngineFailed, PromptTooLong, Sampling
from qianfan_platform.platform import Platform
from qianfan_platform.serving import operations as serving
from qianfan_platform.serving.operations import Answering

log = logging.getLogger("qianfan_platform.inference")

DEFAULT_MAX_TOKENS: Final = 512
DEFAULT_TEMPERATURE: Final = 0.2  # a small model wanders above this
FINDING_LASTS_S: Final = 1.0  # how long an endpoint's answer is remembered
MAX_STOPS: Final = 16


@dataclass(frozen=True)
class Prompt:
    """A checked conversation and how to answer it."""

    messages: list[dict[str, str]]
    sampling: Sampling


class Finder:
    """Who answers for an endpoint. Presets need no database; a service is looked up once a second."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._found: dict[tuple[int, str], tuple[float, Answering]] = {}
        self._presets: dict[str, Answering] = {}  # as many as the catalogue has names
        self._told: set[str] = set()

    async def find(self, owner: int, endpoint: str) -> Answering:
        """Raises Fault when nobody answers."""
        preset = self._presets.get(endpoint) or serving.preset(self._platform, endpoint)
        if preset is not None:
            self._presets[endpoint] = preset
            self._tell(endpoint, preset)
            return preset
        key, now = (owner, endpoint), time.monotonic()
        known = self._found.get(key)
        if known and known[0] > now:
            return known[1]
        async with self._platform.store.reading() as tx:
            found = await serving.deployed(self._platform, tx, owner, endpoint)
        if len(self._found) > 10_000:
            self._found.clear()
        self._found[key] = (now + FINDING_LASTS_S, found)
        return found

    def _tell(self, endpoint: str, answering: Answering) -> None:
        served = answering.served
        if served is not None and served.stand_in and endpoint not in self._told:
            self._told.add(endpoint)
            log.warning("%s", served.note)


def v1_prompt(body: Mapping[str, Any]) -> Prompt:
    """A chat body of the V1 interface, checked. Raises Fault naming the member."""
    problem = messages_problem(body.get("messages"))
    if problem:
        raise Fault(errors.MESSAGES, problem, "")
    messages = [{"role": _role(turn["role"]), "content": turn["content"]} for turn in body["messages"]]
    system = body.get("system")
    if system is not None:
        if not isinstance(system, str):
            raise Fault(errors.SYSTEM_INVALID)
        if system:
            messages.insert(0, {"role": "system", "content": system})
    return Prompt(messages, _sampling(body, errors.PARAMETER, limit="max_output_tokens"))


def completion_prompt(body: Mapping[str, Any]) -> Prompt:
    """A completion body: the prompt becomes one user message."""
    text = body.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise Fault(errors.PARAMETER, "prompt must be a text that is not empty", "")
    return Prompt(
        [{"role": "user", "content": text}], _sampling(body, errors.PARAMETER, limit="max_output_tokens")
    )


def v2_prompt(body: Mapping[str, Any]) -> Prompt:
    """A chat body of the V2 interface: roles system, user, assistant, tool; content text or text parts."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Fault(errors.MESSAGES, "messages must be a list with at least one message", "")
    turns = []
    for number, turn in enumerate(messages):
        if not isinstance(turn, dict) or turn.get("role") not in ("system", "user", "assistant", "tool"):
            raise Fault(
                errors.MESSAGES, f"message {number} needs a role: system, user, assistant or tool", ""
            )
        turns.append({"role": turn["role"], "content": _text(turn.get("content"), number)})
    limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    return Prompt(turns, _sampling(body, errors.INVALID_ARGUMENT, limit=limit, zero=True))


def _text(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        return "".join(str(part.get("text", "")) for part in content)
    raise Fault(
        errors.MESSAGES, f"the content of message {number} must be a text", "this model reads no images"
    )


def _role(role: str) -> str:
    return "user" if role == "function" else role


def _number(
    body: Mapping[str, Any], name: str, low: float, high: float, row: ErrorRow, above: bool = False
) -> Any:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(row, f"{name} must be a number", "")
    if not low <= value <= high or (above and value == low):
        raise Fault(
            row,
            f"{name} must be {'above' if above else 'from'} {low:g} {'and at most' if above else 'to'} {high:g}",
            "",
        )
    return value


def _sampling(body: Mapping[str, Any], row: ErrorRow, *, limit: str, zero: bool = False) -> Sampling:
    stop = body.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    if (
        not isinstance(stops, list)
        or len(stops) > MAX_STOPS
        or not all(isinstance(s, str) and s for s in stops)
    ):
        raise Fault(row, f"stop must be a list of at most {MAX_STOPS} texts", "")
    temperature = _number(body, "temperature", 0, 2 if zero else 1, row, above=not zero)
    top_k = _number(body, "top_k", 1, 1_000_000, row)
    most = _number(body, limit, 1, 1_000_000, row)
    seed = _number(body, "seed", 0, 2**53, row)
    penalty = _number(body, "penalty_score", 1, 2, row)
    return Sampling(
        temperature=DEFAULT_TEMPERATURE if temperature is None else float(temperature),
        top_p=_number(body, "top_p", 0, 1, row),
        top_k=None if top_k is None else int(top_k),
        penalty_score=None if penalty is None else float(penalty),
        stop=tuple(stops),
        max_tokens=DEFAULT_MAX_TOKENS if most is None else int(most),
        seed=None if seed is None else int(seed),
    )


@asynccontextmanager
async def answer(
    platform: Platform, answering: Answering, prompt: Prompt
) -> AsyncIterator[AsyncIterator[Delta]]:
    """The pieces of an answer, inside the time an engine is held. Leaving early stops the engine's work."""
    async with platform.fleet.use(answering.want) as (engine, adapter):
        pieces = _pieces(engine, prompt, adapter)
        try:
            yield pieces
        finally:
            await pieces.aclose()


async def _pieces(engine: Engine, prompt: Prompt, adapter: str | None) -> Any:
    try:
        async for delta in engine.generate(prompt.messages, prompt.sampling, adapter=adapter):
            yield delta
    except PromptTooLong as long:
        raise Fault(errors.TOKENS_TOO_LONG, f"Prompt tokens too long: {long}") from long
    except EngineFailed as failed:
        log.error("an engine failed: %s", failed)
        raise Fault(errors.UNAVAILABLE, "the engine stopped in the middle of an answer") from failed
