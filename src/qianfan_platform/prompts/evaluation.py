"""How well answers to a prompt are: scores against what was expected, and a summary in words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import regex

from qianfan.contract import errors
from qianfan.contract.enums import PromptScoreStandard
from qianfan.contract.errors import Fault
from qianfan.contract.prompts import PromptAnswers, ScoreAnswers, SummariseAnswers
from qianfan_platform.accounts.gate import Caller
from qianfan_platform.inference import operations as inference
from qianfan_platform.platform import Platform

from .asking import CHAT, ask

EMBEDDER: Final = "Embedding-V1"
PATTERN_S: Final = 1.0  # an answer may keep a pattern busy for so long
AT_ONCE: Final = 16  # texts of one embedding call
PATTERN_CHARS: Final = 2000
SHOWN: Final = 2000  # characters of an answer that a summary reads

SUMMARISE: Final = (
    "Judge how well a prompt works. Below are the prompt and, for some scenes, what was expected and what the "
    "model answered. Say in a few short Markdown bullet points what works, what does not, and one change to the "
    "prompt that would help most. Write in the language of the prompt."
)


def answers_of(given: Sequence[str] | Mapping[str, str]) -> list[str]:
    """The answers; a mapping counts as its values."""
    return list(given.values()) if isinstance(given, Mapping) else list(given)


async def scores(platform: Platform, caller: Caller, spec: ScoreAnswers) -> list[list[float]]:
    """A score from 0 to 1 for each answer of each scene: `scores[scene][prompt]`.

    Exact: equal but for spaces around. Regex: the expected text, as a pattern, is found. Semantic: the cosine of
    both texts' embeddings. Raises Fault for a pattern that cannot be used, and as any embedding does."""
    pairs = [(item["scene"], answers_of(item["response_list"])) for item in spec["data"]]
    match spec["type"]:
        case PromptScoreStandard.ExactMatching:
            return [
                [float(answer.strip() == expected.strip()) for answer in answers]
                for expected, answers in pairs
            ]
        case PromptScoreStandard.RegexMatching:
            return [
                [await asyncio.to_thread(_found, expected, answer) for answer in answers]
                for expected, answers in pairs
            ]
    return await _semantic(platform, caller, pairs)


def _found(pattern: str, answer: str) -> float:
    if len(pattern) > PATTERN_CHARS:
        raise Fault(errors.CONSOLE_PARAMETER, f"the pattern has more than {PATTERN_CHARS} characters")
    try:
        return float(regex.search(pattern, answer, timeout=PATTERN_S) is not None)
    except regex.error as bad:
        raise Fault(
            errors.CONSOLE_PARAMETER, f"{pattern[:60]!r} is no regular expression: {bad}", "mend the pattern"
        ) from None
    except TimeoutError:
        raise Fault(
            errors.CONSOLE_PARAMETER,
            f"the pattern {pattern[:60]!r} takes longer than {PATTERN_S:g} s on one answer",
            "write it without repetitions inside repetitions",
        ) from None


async def _semantic(
    platform: Platform, caller: Caller, pairs: Sequence[tuple[str, list[str]]]
) -> list[list[float]]:
    texts = list(
        dict.fromkeys(text for expected, answers in pairs for text in (expected, *answers) if text.strip())
    )
    answering = await inference.Finder(platform).find(caller.owner, EMBEDDER, "embeddings")
    vectors: dict[str, list[float]] = {}
    for at in range(0, len(texts), AT_ONCE):
        some = texts[at : at + AT_ONCE]
        found = await inference.embed(platform, caller, answering, some)
        vectors.update(zip(some, found.rows, strict=True))
    return [[_alike(vectors, expected, answer) for answer in answers] for expected, answers in pairs]


def _alike(vectors: Mapping[str, list[float]], one: str, other: str) -> float:
    """The cosine of two texts, 0 when they have nothing in common; 1 for two that are empty."""
    if not one.strip() or not other.strip():
        return float(one.strip() == other.strip())
    cosine = sum(x * y for x, y in zip(vectors[one], vectors[other], strict=True))
    return round(min(1.0, max(0.0, cosine)), 6)


async def summaries(platform: Platform, caller: Caller, spec: SummariseAnswers) -> list[str]:
    """For each prompt, a model's words on how it did, as Markdown."""
    return [await ask(platform, caller, CHAT, SUMMARISE, _case(item)) for item in spec["data"]]


def _case(item: PromptAnswers) -> str:
    """What the model reads of a prompt, its scenes and its answers."""
    scenes: list[dict[str, Any]] = item.get("scenes") or item.get("scene") or []
    answers = answers_of(item.get("response_list", []))
    lines = [f"Prompt: {item['prompt'][:SHOWN]}"]
    for number, scene in enumerate(scenes):
        answer = scene.get("response") or (answers[number] if number < len(answers) else "")
        lines += [
            f"Scene {number + 1}",
            f"Expected: {str(scene.get('expected_target', ''))[:SHOWN]}",
            f"Answer: {str(answer)[:SHOWN]}",
        ]
    if not scenes:
        lines += [f"Answer {number + 1}: {answer[:SHOWN]}" for number, answer in enumerate(answers)]
    return "\n".join(lines)
